"""Pretrained image classifiers by name: a picture in, names and scores out.

>>> from pretrained_cnn import Classifier
>>> clf = Classifier("EfficientNetLite0")
>>> clf.predict("examples/images/clock.png").top.label
'analog_clock'
"""

from typing import TYPE_CHECKING, Any

from pretrained_cnn.bundle.manifest import Agreement
from pretrained_cnn.errors import (
    BundleError,
    ImageError,
    InvalidSpecError,
    MissingDependencyError,
    ModelExistsError,
    OutputError,
    PretrainedCNNError,
    UnknownModelError,
    WeightsError,
)
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.labels import Label, imagenet_labels
from pretrained_cnn.registry import get_spec, list_models, register, unregister
from pretrained_cnn.results import Prediction, Result
from pretrained_cnn.runtimes import RuntimeInfo, RuntimeSpec, list_runtimes, register_runtime
from pretrained_cnn.spec import ModelSpec, Published, ResizePolicy
from pretrained_cnn.tables import to_frame
from pretrained_cnn.weights import WeightsFile

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier

__version__ = "0.1.0"

__all__ = [
    "Agreement",
    "BundleError",
    "Classifier",
    "ImageError",
    "ImagePolicy",
    "InvalidSpecError",
    "Label",
    "MissingDependencyError",
    "ModelExistsError",
    "ModelSpec",
    "OutputError",
    "Prediction",
    "PretrainedCNNError",
    "Published",
    "ResizePolicy",
    "Result",
    "RuntimeInfo",
    "RuntimeSpec",
    "UnknownModelError",
    "WeightsError",
    "WeightsFile",
    "get_spec",
    "imagenet_labels",
    "list_models",
    "list_runtimes",
    "register",
    "register_runtime",
    "to_frame",
    "unregister",
]


def __getattr__(name: str) -> Any:
    """`Classifier` is imported when it is first used: it brings numpy and Pillow."""
    if name == "Classifier":
        from pretrained_cnn.classifier import Classifier

        globals()["Classifier"] = Classifier
        return Classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
