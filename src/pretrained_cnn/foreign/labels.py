"""The names of a model file's classes: from a list, a mapping, or a file of labels."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.labels import Label, as_labels, imagenet_labels

__all__ = ["NUMBERS", "choose_labels", "read_labels"]

log = logging.getLogger(__name__)

NUMBERS = "numbers"
"""The labels of a network whose classes have no names: ``"0"``, ``"1"`` and so on."""

MAX_BYTES = 16 * 2**20
BACKGROUND = "background"


def choose_labels(given: Any, outputs: int, what: str) -> tuple[Label, ...]:
    """A label for each of ``outputs`` outputs of the network in the file ``what``.

    ``given`` is a list, a mapping, the path of a file, ``"numbers"``, or None, which stands for ImageNet's classes
    where there are 1,000 or 1,001 outputs. Raises InvalidArgumentError, which says how many names are wanted.
    """
    count = 2 if outputs == 1 else outputs
    if given is None:
        if count not in (1000, 1001):
            raise InvalidArgumentError(
                f"{what} does not name its classes; give labels=[...] with {count} names in the order of the outputs, "
                f"or the path of a file with a name in each line, or labels={NUMBERS!r} for the numbers 0 to "
                f"{count - 1}"
            )
        log.warning("%s has %d outputs and no labels: ImageNet's are taken; labels=... gives others", what, count)
        return (*([Label(BACKGROUND, BACKGROUND)] if count == 1001 else []), *imagenet_labels())
    if isinstance(given, str) and given == NUMBERS:
        return as_labels([str(index) for index in range(count)])
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        labels = read_labels(Path(given))
    else:
        try:
            labels = _unique(as_labels(given))
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"labels={_shown(given)}: {error}") from None
    if len(labels) != count:
        raise InvalidArgumentError(
            f"{len(labels)} labels do not match the {count} classes of {what}{_why(labels, count)}"
        )
    return labels


def read_labels(path: Path) -> tuple[Label, ...]:
    """The labels in a file: a name in each line, with or without its number, or JSON, a list or a mapping.

    Numbers that begin all lines, from 0 or from 1, each once, give the order. Empty lines are left out. Of names that
    occur twice, the number of the class is the id. Raises InvalidArgumentError for a file that holds no names.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "labels.txt")
    >>> _ = path.write_text("0 Lemon\\n1 Lime\\n")
    >>> read_labels(path)[1].name
    'Lime'
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidArgumentError(
            f"labels={str(path)!r} cannot be read: {error.strerror}; give the path of a file with a name in each line, "
            "or labels=[...]"
        ) from None
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"labels={str(path)!r} is not text in UTF-8; save it as UTF-8") from None
    if len(data) > MAX_BYTES or "\0" in text:
        raise InvalidArgumentError(f"labels={str(path)!r} is not a file with a name in each line")
    try:
        labels = _unique(as_labels(_json(text) or _lines(text)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"labels={str(path)!r}: {error}") from None
    if not labels:
        raise InvalidArgumentError(f"labels={str(path)!r} is empty; give a name for each class, one in each line")
    return labels


def _json(text: str) -> Iterable[Any] | Mapping[Any, Any] | None:
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if isinstance(found, dict) and all(isinstance(value, list) for value in found.values()):  # Keras's index of classes
        found = {index: tuple(value) for index, value in found.items()}
    return found if isinstance(found, list | dict) else None


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    matches = [re.fullmatch(r"(\d+)(?:\s*[:,;\t]\s*|\s+)(\S.*)", line) for line in lines]
    numbered = {int(match[1]): match[2] for match in matches if match is not None and len(match[1]) < 10}
    if len(numbered) == len(lines) and sorted(numbered) in ([*range(len(lines))], [*range(1, len(lines) + 1)]):
        return [numbered[index] for index in sorted(numbered)]
    return lines


def _unique(labels: tuple[Label, ...]) -> tuple[Label, ...]:
    """The labels, with the class's number as the id of those that share one."""
    count = Counter(label.id for label in labels)
    return tuple(Label(str(i), label.name) if count[label.id] > 1 else label for i, label in enumerate(labels))


def _why(labels: tuple[Label, ...], count: int) -> str:
    first = labels[0].name if labels else ""
    if len(labels) == count - 1 and first.casefold() != BACKGROUND:
        return (
            f"; one is missing: networks of TensorFlow often have a first class {BACKGROUND!r}, "
            f"which then begins the labels (the first one here is {first!r})"
        )
    if len(labels) == count + 1:
        if first.casefold() == BACKGROUND:
            return f"; the network has no class {BACKGROUND!r}: leave this first label out"
        return f"; one is too many: look for a heading or an empty class (the first one here is {first!r})"
    return f"; give {count} names in the order of the outputs"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
