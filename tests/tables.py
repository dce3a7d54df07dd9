"""Tables of the documentation whose rows are expressions and what they are answered with."""

from __future__ import annotations

import re
from typing import Any

import pytest

ROW = r"^\| `(.+)` \| `(.+)` \|$"


def check_rows(text: str, namespace: dict[str, Any]) -> int:
    """Evaluate each row's expression; it must raise an error with the row's message. Returns how many rows there were.

    ``...`` in a message stands for anything. The class of the error must be one that the section's title names, where
    it names some.
    """
    rows = 0
    for section in text.split("\n## ")[1:]:
        names = re.findall(r"`(\w+Error)`", section.partition("\n")[0])
        classes = tuple(namespace[name] for name in names) or namespace["PretrainedCNNError"]
        for expression, message in re.findall(ROW, section, flags=re.MULTILINE):
            with pytest.raises(classes) as caught:
                eval(expression, namespace)
            parts = re.split(r"(?<!\[)\.\.\.(?!\]|,)", message)  # neither labels=[...] nor from_keras(..., )
            fits = re.fullmatch(".*".join(map(re.escape, parts)), str(caught.value), flags=re.DOTALL)
            assert fits, f"{expression}\n  gave {caught.value}\n  not  {message}"
            rows += 1
    return rows
