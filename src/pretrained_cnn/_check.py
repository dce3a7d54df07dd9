"""Checks of plain arguments. Each message says what came and what was expected.

NumPy's integers and floats count as numbers. ``True`` and ``False`` do not.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pretrained_cnn.errors import InvalidArgumentError, OutputError

__all__ = ["check_free", "choice", "listed", "number", "whole_number"]

T = TypeVar("T", bound=str)


def whole_number(name: str, value: object, least: int = 1) -> int:
    """``value`` as an ``int`` of at least ``least``. Raises InvalidArgumentError for anything else."""
    try:
        whole = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # any object may come
    except TypeError:
        whole = None
    if whole is None or whole < least:
        raise InvalidArgumentError(f"{name}={value!r} is not a whole number of at least {least}")
    return whole


def number(
    name: str, value: object, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> float:
    """``value`` as a finite ``float`` within the bounds given: ``> above``, ``>= least``, ``<= most``.

    Raises InvalidArgumentError for anything else.
    """
    real = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if (
        not math.isfinite(real)
        or (above is not None and real <= above)
        or (least is not None and real < least)
        or (most is not None and real > most)
    ):
        bounds = {"above": above, "of at least": least, "of at most": most}
        expected = " and ".join(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)
        raise InvalidArgumentError(f"{name}={value!r} is not a number{expected and ' '}{expected}")
    return real


def choice(name: str, value: object, choices: Iterable[T]) -> T:
    """The one of ``choices`` that equals ``value``. Raises InvalidArgumentError, which lists them, if none does."""
    choices = tuple(choices)
    for each in choices:
        if isinstance(value, str) and value == each:
            return each
    raise InvalidArgumentError(f"{name}={value!r} is not known; choose {listed(choices)}")


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError if a file cannot be written to ``path``, or may not. For what takes long before it writes."""
    if path.is_dir():
        raise OutputError(f"{path}: this is a folder; give the name of a file")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path} already exists; replace it with overwrite=True, or choose another name")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; make it first")


def listed(choices: Iterable[object]) -> str:
    """``'a', 'b' or 'c'``."""
    *first, last = map(repr, choices)
    return f"{', '.join(first)} or {last}" if first else last
