"""Objects named as ``"module:attr"``, imported on first use."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from typing_extensions import override

__all__ = ["Reference"]


class Reference:
    """A function known by its name: importing waits for the first call.

    Two references are equal when they name the same function. Nothing is shared between
    references, so replacing a spec also drops whatever the old one had imported.
    """

    __slots__ = ("_target", "path")

    def __init__(self, path: str) -> None:
        module, colon, attribute = path.partition(":")
        if not (colon and module and attribute):
            raise ValueError(f'{path!r} is not of the form "module:attr"')
        self.path = path
        self._target: Callable[..., Any] | None = None

    def resolve(self) -> Callable[..., Any]:
        """The function itself, imported if need be."""
        if self._target is None:
            self._target = pkgutil.resolve_name(self.path)
        return self._target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.resolve()(*args, **kwargs)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.path == other.path

    @override
    def __hash__(self) -> int:
        return hash(self.path)

    @override
    def __reduce__(self) -> tuple[type[Reference], tuple[str]]:
        return Reference, (self.path,)

    @override
    def __repr__(self) -> str:
        return f"<function {self.path}>"
