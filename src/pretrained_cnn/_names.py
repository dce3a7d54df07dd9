"""Names that other packages may add to: how they are compared, suggested, sorted, and loaded from plugins."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from typing import Any, TypeVar, cast

from pretrained_cnn.errors import InvalidSpecError

__all__ = ["key", "load_plugin", "natural", "nearest"]

T = TypeVar("T")


def key(name: str) -> str:
    """How names are compared: ``resnet-50_v2`` is ``ResNet50V2``. What a pattern has in brackets stays."""
    return re.sub(r"(\[[^]]*\])|[-_]", r"\1", name).casefold()


def nearest(name: str, names: Iterable[str]) -> str:
    """The names that look like ``name``, as ``"did you mean 'a' or 'b'? "``; empty if none does."""
    known = {key(each): each for each in names}
    matches = [repr(known[match]) for match in difflib.get_close_matches(key(name), known, n=3, cutoff=0.7)]
    return f"did you mean {' or '.join(matches)}? " if matches else ""


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort ``B10`` behind ``B2``."""
    return [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name.casefold())
    ]


def load_plugin(points: list[EntryPoint], type_: type[T]) -> T:
    """What the entry points of one name offer, imported now. ``type_`` has a ``name``.

    Raises InvalidSpecError, which names the package, for more than one, and for what cannot be loaded, is of
    another type, or has another name.
    """
    if len(points) > 1:
        packages = " and ".join(_package(point) for point in points)
        kind = points[0].group.rpartition(".")[2].removesuffix("s")
        raise InvalidSpecError(f"several packages offer a {kind} named {points[0].name!r}: {packages}; uninstall one")
    found: T = _load_point(points[0], cast(Any, type_))
    return found


@functools.cache
def _load_point(point: EntryPoint, type_: Any) -> Any:
    where = f"the plugin {point.name!r} of {_package(point)} ({point.value})"
    try:
        found = point.load()
    except Exception as error:  # whatever a third party's import may raise
        raise InvalidSpecError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, type_):
        raise InvalidSpecError(f"{where} is not a {type_.__name__} but a {type(found).__name__}")
    if key(found.name) != key(point.name):
        raise InvalidSpecError(f"{where} names itself {found.name!r}")
    return found


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
