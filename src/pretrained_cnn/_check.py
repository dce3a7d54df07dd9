"""Checks of plain arguments. Each message says what came and what was expected.

NumPy's integers and floats count as numbers. ``True`` and ``False`` do not.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pretrained_cnn.errors import InvalidArgumentError, OutputError

__all__ = ["check_free", "choice", "hinting", "listed", "no_attribute", "number", "similar", "whole_number"]

T = TypeVar("T", bound=str)
C = TypeVar("C", bound=type)

OTHER_NAMES = {
    "backend": "runtime",
    "class_names": "labels",
    "classes": "labels",
    "confidence": "min_score",
    "device": "runtime",
    "dropout": "head",
    "fit": "train",
    "jobs": "workers",
    "k": "top",
    "lr": "learning_rate",
    "max_epochs": "epochs",
    "model": "keras_model",
    "n": "top",
    "n_jobs": "workers",
    "names": "labels",
    "num_workers": "workers",
    "threshold": "min_score",
    "top_n": "top",
    "verbose": "progress",
}
"""What other libraries call something, and what it is called here."""


MAX_THREADS = 1024
"""More threads would fill the memory before they compute anything."""


def brief(error: BaseException | None) -> str:
    """The first line of an error's message, behind which Keras prints whole weights; or its class, if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def whole_number(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """``value`` as an ``int`` within the bounds, which count. Raises InvalidArgumentError for anything else."""
    try:
        whole = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # any object may come
    except TypeError:
        whole = None
    if whole is None or whole < least or (most is not None and whole > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidArgumentError(f"{name}={value!r} is not a whole number {bounds}")
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
        problem = (
            "is a file and not a folder; choose another" if path.parent.exists() else "does not exist; make it first"
        )
        raise OutputError(f"{path}: the folder {path.parent} {problem}")


def listed(choices: Iterable[object]) -> str:
    """``'a', 'b' or 'c'``."""
    *first, last = map(repr, choices)
    return f"{', '.join(first)} or {last}" if first else last


def similar(name: str, names: Iterable[str]) -> list[str]:
    """Which of ``names`` may have been meant by ``name``, the likeliest first.

    >>> similar("top_k", ["top", "min_score"]), similar("lr", ["epochs", "learning_rate"])
    (['top'], ['learning_rate'])
    """
    names = list(names)
    if OTHER_NAMES.get(name) in names:
        return [OTHER_NAMES[name]]
    return difflib.get_close_matches(name, names, n=2, cutoff=0.7)


def no_attribute(instance: object, name: str) -> AttributeError:
    """The error for an attribute that does not exist, with the name that may have been meant."""
    found = [] if name.startswith("_") else similar(name, (each for each in dir(type(instance)) if each[0] != "_"))
    hint = f"; did you mean {listed(found)}?" if found else ""
    text = f"{type(instance).__name__!r} object has no attribute {name!r}{hint}"
    return AttributeError(text, name=name, obj=instance)


def hinting(cls: C) -> C:
    """Have the public methods of a class say which argument may have been meant by one that they do not have."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, classmethod):
            setattr(cls, name, classmethod(_hinting(member.__func__)))
        elif inspect.isfunction(member):
            setattr(cls, name, _hinting(member))
    return cls


def _hinting(function: Callable[..., Any]) -> Callable[..., Any]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    names = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    most = sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    called = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def call(self: Any, *args: Any, **given: Any) -> Any:
        for name in given if not takes_any else ():
            if name not in names:
                found = similar(name, names)
                hint = f"did you mean {found[0]}=...?" if found else f"it takes {', '.join(names) or 'none'}"
                raise TypeError(f"{called}() has no argument {name!r}; {hint}")
        if len(args) > most:
            positional, by_name = ", ".join(names[:most]), ", ".join(f"{name}=..." for name in names[most:])
            hint = f"; give the others by name: {by_name}" if by_name else ""
            count = f"{most} argument{'' if most == 1 else 's'}"
            raise TypeError(f"{called}({positional}) takes {count} by place, not {len(args)}{hint}")
        return function(self, *args, **given)

    return call
