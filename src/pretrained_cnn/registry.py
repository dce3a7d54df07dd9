"""Models by name: the catalog, models that the program registers, and models of installed plugins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from pretrained_cnn._check import number
from pretrained_cnn._process import warn
from pretrained_cnn._registry import Registry, natural
from pretrained_cnn.catalog import CATALOG
from pretrained_cnn.errors import InvalidSpecError, ModelExistsError, UnknownModelError
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.weights import is_downloaded, is_installed

__all__ = ["MODELS", "get_spec", "list_models", "needs_no_download", "register", "unregister"]

MODELS = Registry(
    "model",
    ModelSpec,
    "pretrained_cnn.models",
    CATALOG,
    unknown=UnknownModelError,
    exists=ModelExistsError,
    size=lambda spec: spec.parameters or math.inf,
)
"""All models that are known by a name."""


def list_models(
    pattern: str = "*", *, max_params: float | None = None, min_top1: float | None = None, offline: bool = False
) -> list[str]:
    """The names of all models that match a pattern and the limits, in natural order.

    Args:
        pattern: A shell pattern (``*``, ``?``, ``[...]``) that ignores case, ``-`` and ``_``.
        max_params: The largest number of parameters, such as ``10e6``. Models without a known number are left out.
        min_top1: The least published top-1 accuracy on ImageNet, in percent. Models without one are left out.
        offline: Only models that need no download: the file of ImageNet weights is in Keras's folder, its package is
            installed, or the builder has its own weights. Hashes are not compared.

    A plugin is listed by its metadata, and imported only to compare it with a limit. If that import fails, the plugin
    is left out, with a `PretrainedCNNWarning`. Raises InvalidArgumentError for a limit that is not a number.

    >>> list_models("efficientnet-b[0-2]")
    ['EfficientNetB0', 'EfficientNetB1', 'EfficientNetB2']
    >>> list_models("efficientnetb*", max_params=10e6, min_top1=77)
    ['EfficientNetB0', 'EfficientNetB1', 'EfficientNetB2']
    """
    names = sorted(MODELS.names(pattern), key=natural)
    if max_params is not None:
        most = number("max_params", max_params, above=0)
        names = [spec.name for spec in _specs(names) if spec.parameters is not None and spec.parameters <= most]
    if min_top1 is not None:
        least = number("min_top1", min_top1, least=0, most=100)
        names = [spec.name for spec in _specs(names) if spec.published is not None and spec.published.top1 >= least]
    if offline:
        names = [spec.name for spec in _specs(names) if needs_no_download(spec)]
    return names


def needs_no_download(spec: ModelSpec) -> bool:
    """Whether the ImageNet weights of a model are on this machine. Hashes are not compared.

    >>> needs_no_download(get_spec("EfficientNetLite0"))
    True
    """
    if spec.weights_package is not None:
        return is_installed(spec.weights_package)
    return not spec.weights or is_downloaded(spec.weights_file(input_size=spec.input_size))


def get_spec(name: str) -> ModelSpec:
    """The spec registered under a name; case, ``-`` and ``_`` do not matter.

    The order of the search: models that the program registered, the built-in catalog, plugins of the
    entry-point group ``pretrained_cnn.models``. Raises UnknownModelError, with similar names, for an unknown name, and
    InvalidSpecError if the plugin of that name is broken.

    >>> get_spec("resnet-50").input_size
    (224, 224)
    >>> get_spec("Xception").input_size
    (299, 299)
    """
    return MODELS.get(name)


def register(spec: ModelSpec, *, overwrite: bool = False) -> None:
    """Register a backbone under its name, in this process.

    Raises ModelExistsError if the name is taken, unless ``overwrite=True``, which replaces the old
    spec and what it has imported.

    >>> from pretrained_cnn import ModelSpec
    >>> register(ModelSpec(name="MyNet", builder="my_package:build", input_size=(160, 160), labels=["cat", "dog"]))
    >>> list_models("my*")
    ['MyNet']
    >>> unregister("MyNet")
    """
    MODELS.register(spec, overwrite=overwrite)


def unregister(name: str) -> None:
    """Remove a backbone that `register` added.

    A built-in backbone of that name is available again. Raises UnknownModelError for any other name.

    >>> unregister("Xception")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.UnknownModelError: 'Xception' was not registered by this program, \
so it cannot be unregistered
    """
    MODELS.unregister(name)


def _specs(names: Iterable[str]) -> Iterator[ModelSpec]:
    for name in names:
        try:
            yield MODELS.get(name)
        except InvalidSpecError as error:
            warn(f"{error}; it is left out")
