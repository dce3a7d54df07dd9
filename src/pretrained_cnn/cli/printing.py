"""Results on stdout: for a reader at a terminal, or as lines with tabs for another program."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pretrained_cnn.cli.console import escaped
from pretrained_cnn.cli.table import table
from pretrained_cnn.results.result import Result

__all__ = ["as_block", "as_json", "as_rows", "shown"]


def as_json(result: Result) -> Iterator[str]:
    """One line, `Result.to_dict` as JSON."""
    yield json.dumps(result.to_dict())


def as_rows(result: Result) -> Iterator[str]:
    """A line for each class, with tabs between: the image, the score, the label, and the id.

    Tabs, newlines and other control characters in a name are escaped, so that a line stays a line.

    >>> from pretrained_cnn import Prediction, Result
    >>> result = Result("a.jpg", (Prediction("n02123045", "tabby", 0.831, 281),))
    >>> list(as_rows(result))
    ['a.jpg\\t0.8310\\ttabby\\tn02123045']
    """
    for each in result:
        yield f"{escaped(result.source)}\t{each.score:.4f}\t{each.label}\t{each.id}"


def as_block(result: Result) -> Iterator[str]:
    """The image once, and below it the classes with their scores, in columns. Nothing for an image that failed.

    >>> from pretrained_cnn import Prediction, Result
    >>> classes = Prediction("n02123045", "tabby", 0.831, 281), Prediction("n02124075", "Egyptian_cat", 0.09, 285)
    >>> print(*as_block(Result("a.jpg", classes)), sep="\\n")
    a.jpg
      83.1 %  tabby         n02123045
       9.0 %  Egyptian_cat  n02124075
    """
    if not result.predictions:
        return
    mark = "" if result.status == "ok" else f"  ({result.status})"
    yield f"{shown(result.source)}{mark}"
    cells = [
        (f"{100 * each.score:.1f} %", shown(each.label), "" if each.id == each.label else shown(each.id))
        for each in result
    ]
    for line in list(table(("> ", "", ""), cells))[1:]:
        yield f"  {line}"


def shown(text: str) -> str:
    """A text for a terminal, which obeys control characters: these are escaped.

    >>> shown("a\\x1b[31m.jpg")
    'a\\\\x1b[31m.jpg'
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
