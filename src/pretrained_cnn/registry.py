"""Names to specs: the catalog, what the program registers, and what installed plugins offer.

Looking a name up goes through three layers, the first that has it wins: specs registered by the
program, the built-in catalog, plugins of the entry-point group ``pretrained_cnn.models``. A plugin
is known by its package's metadata and imported only when its name is asked for.
"""

from __future__ import annotations

import fnmatch
import functools
import threading
from importlib.metadata import EntryPoint, entry_points

from pretrained_cnn import _names
from pretrained_cnn.catalog import CATALOG
from pretrained_cnn.errors import InvalidSpecError, ModelExistsError, UnknownModelError
from pretrained_cnn.spec import ModelSpec

__all__ = ["get_spec", "list_models", "register", "unregister"]

GROUP = "pretrained_cnn.models"
"""The entry-point group in which other packages offer their backbones."""

_lock = threading.RLock()
_registered: dict[str, ModelSpec] = {}


_catalog = {_names.key(spec.name): spec for spec in CATALOG}


def list_models(pattern: str = "*") -> list[str]:
    """The names of all backbones that match a pattern, in natural order.

    ``pattern`` is a shell pattern (``*``, ``?``, ``[...]``) and ignores case, ``-`` and ``_``. Plugins
    are listed by their metadata, without importing them.

    >>> list_models("efficientnet-b[0-2]")
    ['EfficientNetB0', 'EfficientNetB1', 'EfficientNetB2']
    """
    with _lock:
        names = {key: points[0].name for key, points in _plugins().items()}
        for layer in (_catalog, _registered):
            names.update((key, spec.name) for key, spec in layer.items())
    found = [
        name
        for key, name in names.items()
        if fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) or fnmatch.fnmatchcase(key, _names.key(pattern))
    ]
    return sorted(found, key=_names.natural)


def get_spec(name: str) -> ModelSpec:
    """The spec registered under a name; case, ``-`` and ``_`` do not matter.

    Raises UnknownModelError, with the nearest names, if there is none, and InvalidSpecError if a
    plugin that offers the name is broken.

    >>> get_spec("resnet-50").input_size
    (224, 224)
    >>> get_spec("Xception").input_size
    (299, 299)
    """
    if not isinstance(name, str):
        raise InvalidSpecError(f"a model's name is a str, not {type(name).__name__}: {name!r}")
    key = _names.key(name)
    with _lock:
        spec = _registered.get(key) or _catalog.get(key)
        if spec is not None:
            return spec
        points = _plugins().get(key)
    if points is None:
        raise UnknownModelError(
            f"unknown model {name!r}; {_names.nearest(name, list_models())}list_models() gives all names"
        )
    return _names.load_plugin(points, ModelSpec)


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
    if not isinstance(spec, ModelSpec):
        raise InvalidSpecError(f"register takes a ModelSpec, not {type(spec).__name__}: {spec!r}")
    key = _names.key(spec.name)
    with _lock:
        if not overwrite and (key in _registered or key in _catalog or key in _plugins()):
            raise ModelExistsError(
                f"a model named {spec.name!r} exists already; choose another name, or pass overwrite=True to replace it"
            )
        _registered[key] = spec


def unregister(name: str) -> None:
    """Forget a backbone that `register` made known.

    If it had replaced a built-in one, that one is back. Raises UnknownModelError for any other name.

    >>> unregister("Xception")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.UnknownModelError: 'Xception' was not registered by this program, \
so it cannot be unregistered
    """
    with _lock:
        if _registered.pop(_names.key(name), None) is None:
            raise UnknownModelError(f"{name!r} was not registered by this program, so it cannot be unregistered")


@functools.cache
def _plugins() -> dict[str, list[EntryPoint]]:
    """The entry points by name; those named like a built-in are left out: none can shadow one."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        key = _names.key(point.name)
        if key not in _catalog:
            found.setdefault(key, []).append(point)
    return found
