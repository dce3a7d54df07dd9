"""What a model file takes and gives, and what it says of itself, for people who have to tell the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FileDescription", "tensor"]


@dataclass(frozen=True, kw_only=True)
class FileDescription:
    """A classifier in a model file, as far as the file describes it."""

    input: str
    """The type and the shape, as `tensor` writes them."""
    output: str
    """The type and the shape of the scores, as `tensor` writes them."""
    scores: int
    """The number of scores for an image."""
    begins: str
    """The first operation that changes values, as part of a sentence."""
    says_values: str | None
    """How the file says which pixel values the network takes, as a sentence; None if it does not."""
    labels: Sequence[str] | None = None
    """The names of the classes that the file gives."""


def tensor(dtype: str, shape: Sequence[int | None]) -> str:
    """A type and a shape, whose first axis is the images and whose open axes are question marks.

    >>> tensor("float32", (None, 224, None, 3))
    'float32 (N, 224, ?, 3)'
    """
    first, *rest = shape
    sides = ["N" if first is None else str(first), *("?" if side is None else str(side) for side in rest)]
    return f"{dtype} ({', '.join(sides)})"
