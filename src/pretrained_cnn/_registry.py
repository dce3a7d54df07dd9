"""A registry of named things: built in, registered by the program, or offered by a plugin.

Models and runtimes are each one `Registry`, so both are looked up, replaced and refused in the same way.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pretrained_cnn._check import listed
from pretrained_cnn._lazy import Reference
from pretrained_cnn.errors import InvalidSpecError, PretrainedCNNError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Registry", "as_function", "natural", "nearest", "normalize"]

SUGGESTED = 3
"""How many names an error suggests."""

SHORT = 3
"""The name of a family, without its number, has more letters."""

FEW = 8
"""An error lists all names, if none is similar and there are at most this many."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


class Registry(Generic[T]):
    """Objects of one type by their names, in which case, ``-`` and ``_`` do not matter.

    The first of three layers that has a name wins: what the program registered, what is built in, what installed
    packages offer as entry points of ``group``. A plugin is known by its package's metadata and imported when its name
    is asked for; none can take a built-in name.

    Args:
        kind: What one of them is called, such as ``"model"``.
        type_: Their type.
        group: The entry-point group.
        builtin: What is there from the start.
        unknown: The error for a name that nothing has.
        exists: The error for a name that is taken.
        size: How large one is: of names that are equally near, the smallest are suggested first.
    """

    def __init__(
        self,
        kind: str,
        type_: type[T],
        group: str,
        builtin: Iterable[T],
        *,
        unknown: type[PretrainedCNNError],
        exists: type[PretrainedCNNError],
        size: Callable[[T], float] = lambda item: 0.0,
    ) -> None:
        self.group = group
        self._kind, self._type, self._unknown, self._exists, self._size = kind, type_, unknown, exists, size
        self._lock = threading.RLock()
        self._builtin = {normalize(each.name): each for each in builtin}
        self._registered: dict[str, T] = {}
        self._points: dict[str, list[EntryPoint]] | None = None
        self._loaded: dict[str, T] = {}

    def names(self, pattern: str = "*") -> list[str]:
        """The names that match a shell pattern: the built-in ones first, then the registered, then the plugins'."""
        with self._lock:
            known = {key: each.name for key, each in {**self._builtin, **self._registered}.items()}
            for key, points in self._plugins().items():
                known.setdefault(key, points[0].name)
        return [name for key, name in known.items() if _matches(name, key, pattern)]

    def __contains__(self, name: str) -> bool:
        key = normalize(name)
        with self._lock:
            return key in self._registered or key in self._builtin or key in self._plugins()

    def get(self, name: str) -> T:
        """What has that name. A plugin is imported now.

        Raises the error of unknown names, with the nearest ones; InvalidSpecError for a plugin that is broken.
        """
        found = self.peek(name)
        if found is not None:
            return found
        key = normalize(name)
        points = self._plugins().get(key)
        if points is None:
            names = sorted(self.names(), key=self._size_of)
            hint = nearest(name, names)
            longer = [each for each in names if key and normalize(each).startswith(key)]
            if len(longer) > SUGGESTED:
                hint += f"{len(longer)} names begin with {name!r}: list_{self._kind}s({name + '*'!r})"
            elif len(names) > FEW:
                hint += f"list_{self._kind}s() gives all names"
            elif not hint:
                hint = f"choose {listed(names)}"
            raise self._unknown(f"unknown {self._kind} {name!r}; {hint.rstrip()}")
        loaded = self._load(points)  # without the lock: an import may wait for another thread's import
        with self._lock:
            return self._loaded.setdefault(key, loaded)

    def _size_of(self, name: str) -> float:
        found = self.peek(name)  # a plugin is not imported for this
        return math.inf if found is None else self._size(found)

    def peek(self, name: str) -> T | None:
        """What has that name, unless a plugin would have to be imported to know; None if so, or if nothing has it."""
        if not isinstance(name, str):
            raise InvalidSpecError(f"a {self._kind}'s name is a str, not {type(name).__name__}: {name!r}")
        key = normalize(name)
        with self._lock:
            return self._registered.get(key) or self._builtin.get(key) or self._loaded.get(key)

    def register(self, item: T, *, overwrite: bool = False) -> None:
        """Make it known by its name in this process; ``overwrite`` replaces what has the name."""
        if not isinstance(item, self._type):
            raise InvalidSpecError(f"expected a {self._type.__name__}, not {type(item).__name__}: {item!r}")
        key = normalize(item.name)
        with self._lock:
            if item.name in self and not overwrite:
                raise self._exists(
                    f"a {self._kind} named {item.name!r} exists already; "
                    "choose another name, or pass overwrite=True to replace it"
                )
            self._registered[key] = item

    def origin(self, name: str) -> str | None:
        """What any process finds under that name: "built in", or a package and its version.

        None for what this program registered, which no other process knows.
        """
        key = normalize(name)
        with self._lock:
            if key in self._registered:
                return None
            return "built in" if key in self._builtin else " and ".join(map(_package, self._plugins().get(key, ())))

    def unregister(self, name: str) -> None:
        """Forget what was registered under that name. What it had replaced is back."""
        with self._lock:
            if self._registered.pop(normalize(name), None) is None:
                raise self._unknown(f"{name!r} was not registered by this program, so it cannot be unregistered")

    @contextlib.contextmanager
    def temporary(self, plugins: Iterable[EntryPoint] | None = None) -> Iterator[None]:
        """Forget, when the block ends, what was registered in it. For tests.

        ``plugins`` are offered in the block in place of those of the installed packages.
        """
        with self._lock:
            before = dict(self._registered), self._points, self._loaded
            if plugins is not None:
                self._points, self._loaded = self._group(plugins), {}
        try:
            yield
        finally:
            with self._lock:
                self._registered, self._points, self._loaded = before

    def _plugins(self) -> dict[str, list[EntryPoint]]:
        with self._lock:
            if self._points is None:
                from importlib.metadata import entry_points

                self._points = self._group(entry_points(group=self.group))
            return self._points

    def _group(self, points: Iterable[EntryPoint]) -> dict[str, list[EntryPoint]]:
        """The entry points by name, without those that are named like a built-in."""
        found: dict[str, list[EntryPoint]] = {}
        for point in points:
            key = normalize(point.name)
            if key not in self._builtin:
                found.setdefault(key, []).append(point)
        return found

    def _load(self, points: list[EntryPoint]) -> T:
        """What the entry points of one name offer. Raises InvalidSpecError, which names the package."""
        point = points[0]
        if len(points) > 1:
            packages = " and ".join(map(_package, points))
            raise InvalidSpecError(
                f"several packages offer a {self._kind} named {point.name!r}: {packages}; uninstall one"
            )
        where = f"the plugin {point.name!r} of {_package(point)} ({point.value})"
        try:
            found: Any = point.load()
        except Exception as error:  # whatever a third party's import may raise
            raise InvalidSpecError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(found, self._type):
            raise InvalidSpecError(f"{where} is not a {self._type.__name__} but a {type(found).__name__}")
        if normalize(found.name) != normalize(point.name):
            raise InvalidSpecError(f"{where} names itself {found.name!r}")
        return found


def normalize(name: str) -> str:
    """How names are compared: ``resnet-50_v2`` is ``ResNet50V2``. What a pattern has in brackets stays."""
    return re.sub(r"(\[[^]]*\])|[-_]", r"\1", name).casefold()


def nearest(name: str, names: Iterable[str]) -> str:
    """The first names that begin with ``name``, else those most like it, nearest first; empty if none is.

    >>> nearest("efficient", ["EfficientNetB0", "EfficientNetB1"]), nearest("Xseption", ["Xception"])
    ("did you mean 'EfficientNetB0' or 'EfficientNetB1'? ", "did you mean 'Xception'? ")
    >>> nearest("resnet18", ["ResNet50", "ResNet152"])
    "did you mean 'ResNet50' or 'ResNet152'? "
    """
    known = {normalize(each): each for each in names}
    wanted = normalize(name)
    family = wanted.rstrip("0123456789")  # resnet18 is nearer to the smallest of the family than to ResNet152
    matches: list[str] = []
    for start in (wanted, family if len(family) > SHORT else ""):
        matches = matches or [key for key in known if start and key.startswith(start)][:SUGGESTED]
    if not matches:
        matches = difflib.get_close_matches(wanted, known, n=SUGGESTED, cutoff=0.7)
    return f"did you mean {listed(known[match] for match in matches)}? " if matches else ""


def as_function(name: str, key: str, value: Callable[..., Any] | str) -> Callable[..., Any]:
    """A function, or the reference to one. Raises InvalidSpecError, which names the field, for anything else."""
    if isinstance(value, str):
        try:
            return Reference(value)
        except ValueError as error:
            raise InvalidSpecError(f"{name}: {key}={error}") from None
    if not callable(value):
        raise InvalidSpecError(f'{name}: {key}={value!r} is neither a function nor "module:attr"')
    return value


def natural(name: str) -> list[tuple[bool, int, str]]:
    """A sort key that puts ``B10`` after ``B2``."""
    return [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name.casefold())
    ]


def _matches(name: str, key: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) or fnmatch.fnmatchcase(key, normalize(pattern))


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
