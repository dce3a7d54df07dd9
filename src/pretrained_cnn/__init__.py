"""Classify images with any pretrained Keras model, by name.

>>> from pretrained_cnn import Classifier
>>> clf = Classifier("EfficientNetLite0")
>>> clf.predict("examples/images/clock.png").top.label
'analog_clock'
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from pretrained_cnn._version import __version__ as __version__
from pretrained_cnn.bundle.formats import Format, get_format, list_formats, register_format, unregister_format
from pretrained_cnn.bundle.manifest import ExportCheck
from pretrained_cnn.errors import (
    BundleError,
    DataError,
    ImageError,
    InvalidArgumentError,
    InvalidSpecError,
    MissingDependencyError,
    ModelExistsError,
    ModelFileError,
    OutputError,
    PretrainedCNNError,
    PretrainedCNNWarning,
    UnknownModelError,
    WeightsError,
)
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.labels import Label, Prediction, imagenet_labels
from pretrained_cnn.registry import get_spec, list_models, register, unregister
from pretrained_cnn.results.result import EmbeddingResult, Result
from pretrained_cnn.results.rows import to_frame
from pretrained_cnn.runtimes import (
    PrecisionInfo,
    RuntimeInfo,
    RuntimeSpec,
    list_precisions,
    list_runtimes,
    register_runtime,
    unregister_runtime,
)
from pretrained_cnn.spec import ModelSpec, Published, ResizePolicy
from pretrained_cnn.weights import WeightsFile

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.evaluate import (
        ClassScore,
        Evaluation,
        LabelMistake,
        LabelScore,
        Mistake,
        MultiLabelEvaluation,
        ReliabilityBin,
    )
    from pretrained_cnn.explain import Explanation
    from pretrained_cnn.results.result import contact_sheet
    from pretrained_cnn.results.stream import ResultStream
    from pretrained_cnn.results.writing import Written, write_results
    from pretrained_cnn.selection import Candidate, Choice, choose
    from pretrained_cnn.transfer.history import TrainingHistory
    from pretrained_cnn.transfer.report import TrainingReport
    from pretrained_cnn.transfer.settings import MLP
    from pretrained_cnn.trust import Audit, Calibration, Comparison, Disagreement, Finding, audit

logging.getLogger(__name__).addHandler(logging.NullHandler())  # the program decides where its log goes

__all__ = [
    "MLP",
    "Audit",
    "BundleError",
    "Calibration",
    "Candidate",
    "Choice",
    "ClassScore",
    "Classifier",
    "Comparison",
    "DataError",
    "Disagreement",
    "EmbeddingResult",
    "Evaluation",
    "Explanation",
    "ExportCheck",
    "Finding",
    "Format",
    "ImageError",
    "ImagePolicy",
    "InvalidArgumentError",
    "InvalidSpecError",
    "Label",
    "LabelMistake",
    "LabelScore",
    "MissingDependencyError",
    "Mistake",
    "ModelExistsError",
    "ModelFileError",
    "ModelSpec",
    "MultiLabelEvaluation",
    "OutputError",
    "PrecisionInfo",
    "Prediction",
    "PretrainedCNNError",
    "PretrainedCNNWarning",
    "Published",
    "ReliabilityBin",
    "ResizePolicy",
    "Result",
    "ResultStream",
    "RuntimeInfo",
    "RuntimeSpec",
    "TrainingHistory",
    "TrainingReport",
    "UnknownModelError",
    "WeightsError",
    "WeightsFile",
    "Written",
    "audit",
    "choose",
    "contact_sheet",
    "get_format",
    "get_spec",
    "imagenet_labels",
    "list_formats",
    "list_models",
    "list_precisions",
    "list_runtimes",
    "register",
    "register_format",
    "register_runtime",
    "to_frame",
    "unregister",
    "unregister_format",
    "unregister_runtime",
    "write_results",
]


_LATE = {
    "Audit": "pretrained_cnn.trust",
    "Calibration": "pretrained_cnn.trust",
    "Candidate": "pretrained_cnn.selection",
    "Choice": "pretrained_cnn.selection",
    "ClassScore": "pretrained_cnn.evaluate",
    "Classifier": "pretrained_cnn.classifier",
    "Comparison": "pretrained_cnn.trust",
    "Disagreement": "pretrained_cnn.trust",
    "Evaluation": "pretrained_cnn.evaluate",
    "Explanation": "pretrained_cnn.explain",
    "Finding": "pretrained_cnn.trust",
    "LabelMistake": "pretrained_cnn.evaluate",
    "LabelScore": "pretrained_cnn.evaluate",
    "Mistake": "pretrained_cnn.evaluate",
    "MLP": "pretrained_cnn.transfer.settings",
    "MultiLabelEvaluation": "pretrained_cnn.evaluate",
    "ReliabilityBin": "pretrained_cnn.evaluate",
    "ResultStream": "pretrained_cnn.results.stream",
    "TrainingHistory": "pretrained_cnn.transfer.history",
    "TrainingReport": "pretrained_cnn.transfer.report",
    "Written": "pretrained_cnn.results.writing",
    "choose": "pretrained_cnn.selection",
    "audit": "pretrained_cnn.trust",
    "contact_sheet": "pretrained_cnn.results.result",
    "write_results": "pretrained_cnn.results.writing",
}


def __getattr__(name: str) -> Any:
    """What brings numpy and Pillow is imported when it is first used."""
    if name in _LATE:
        try:
            module = importlib.import_module(_LATE[name])
        except AttributeError as error:  # of a broken package; `from ... import` would hide an AttributeError
            raise ImportError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
        globals()[name] = getattr(module, name)
        return globals()[name]
    from pretrained_cnn._check import listed, similar

    found = [] if name.startswith("_") else similar(name, __all__)
    hint = f"; did you mean {listed(found)}?" if found else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
