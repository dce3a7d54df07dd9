"""Tables for a terminal: columns as wide as what is in them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

__all__ = ["table", "width"]


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """The lines of a table. A column whose heading begins with ``>`` is aligned to the right.

    >>> print(*table(["NAME", ">MS"], [["Xception", 41.5], ["NASNetLarge", 280]]), sep="\\n")
    NAME           MS
    Xception     41.5
    NASNetLarge   280
    """
    cells = [[column.removeprefix(">") for column in columns], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = [
            " " * (room - width(cell)) + cell if column.startswith(">") else cell + " " * (room - width(cell))
            for column, cell, room in zip(columns, line, widths, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def width(text: str) -> int:
    """How many cells of a terminal a text takes: two for each wide letter, none for a combining one.

    >>> width("abc"), width("\\u732b"), width("e\\u0301")
    (3, 2, 1)
    """
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
