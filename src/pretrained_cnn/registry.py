"""Models by name: the catalog, what the program registers, and what installed plugins offer."""

from __future__ import annotations

import math

from pretrained_cnn._registry import Registry, natural
from pretrained_cnn.catalog import CATALOG
from pretrained_cnn.errors import ModelExistsError, UnknownModelError
from pretrained_cnn.spec import ModelSpec

__all__ = ["MODELS", "get_spec", "list_models", "register", "unregister"]

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


def list_models(pattern: str = "*") -> list[str]:
    """The names of all backbones that match a pattern, in natural order.

    ``pattern`` is a shell pattern (``*``, ``?``, ``[...]``) and ignores case, ``-`` and ``_``. Plugins
    are listed by their metadata, without importing them.

    >>> list_models("efficientnet-b[0-2]")
    ['EfficientNetB0', 'EfficientNetB1', 'EfficientNetB2']
    """
    return sorted(MODELS.names(pattern), key=natural)


def get_spec(name: str) -> ModelSpec:
    """The spec registered under a name; case, ``-`` and ``_`` do not matter.

    What the program registered comes first, then the built-in catalog, then plugins of the entry-point group
    ``pretrained_cnn.models``. Raises UnknownModelError, with the nearest names, if none has the name, and
    InvalidSpecError if a plugin that offers the name is broken.

    >>> get_spec("resnet-50").input_size
    (224, 224)
    >>> get_spec("Xception").input_size
    (299, 299)
    """
    return MODELS.get(name)


def register(spec: ModelSpec, *, overwrite: bool = False) -> None:
    """Make a backbone known by its name, in this process.

    Raises ModelExistsError if the name is taken, unless ``overwrite=True``, which replaces the old
    spec and drops whatever it had imported.

    >>> from pretrained_cnn import ModelSpec
    >>> register(ModelSpec(name="MyNet", builder="my_package:build", input_size=(160, 160), labels=["cat", "dog"]))
    >>> list_models("my*")
    ['MyNet']
    >>> unregister("MyNet")
    """
    MODELS.register(spec, overwrite=overwrite)


def unregister(name: str) -> None:
    """Forget a backbone that `register` made known.

    If it had replaced a built-in one, that one is back. Raises UnknownModelError for any other name.

    >>> unregister("Xception")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.UnknownModelError: 'Xception' was not registered by this program, \
so it cannot be unregistered
    """
    MODELS.unregister(name)
