"""Class names: the 1,000 of ImageNet, which the package includes, and the decoding of scores into names."""

from __future__ import annotations

import difflib
import functools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from importlib import resources
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from pretrained_cnn.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Label", "LabelDecoder", "Prediction", "imagenet_labels"]


class Label(NamedTuple):
    """One class: its key and its name.

    >>> Label("n02123045", "tabby").name
    'tabby'
    """

    id: str
    """Unique in its table: the WordNet id for ImageNet, else the name itself."""
    name: str
    """The name for people; several classes may share it."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and its score.

    Iterates and indexes as ``(id, label, score)``, like a row of ``keras.applications``' ``decode_predictions``.
    `index` is the index of the class.

    >>> prediction = Prediction("n02123045", "tabby", 0.83, 281)
    >>> wnid, label, score = prediction
    >>> label, prediction[2], prediction.index
    ('tabby', 0.83, 281)
    """

    id: str
    """The class's key: the WordNet id for ImageNet (``n02123045``), else the label itself."""
    label: str
    """The class's name. Not a key: ImageNet has two classes named ``crane``."""
    score: float
    """The probability, 0 to 1."""
    index: int | None = None
    """The column of the scores; None if the spec's own ``decode`` function does not give it."""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.id, self.label, self.score))

    def __len__(self) -> int:
        return 3

    def __getitem__(self, place: int | slice) -> Any:
        return (self.id, self.label, self.score)[place]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; a score that is not finite is None.

        >>> Prediction("n02123045", "tabby", 0.83, 281).to_dict()
        {'id': 'n02123045', 'label': 'tabby', 'score': 0.83, 'index': 281}
        """
        score = self.score if math.isfinite(self.score) else None
        return {"id": self.id, "label": self.label, "score": score, "index": self.index}


@functools.cache
def imagenet_labels() -> tuple[Label, ...]:
    """The 1,000 classes of ILSVRC-2012, in the order of the networks' outputs.

    The order is that of ``imagenet_class_index.json``, which Keras downloads for its
    ``decode_predictions`` (md5 ``c2c37ea517e94d9795004a39431a14cb``).

    >>> imagenet_labels()[281]
    Label(id='n02123045', name='tabby')
    """
    text = resources.files("pretrained_cnn").joinpath("data/imagenet_classes.tsv").read_text("utf-8")
    return tuple(Label(*line.split("\t")) for line in text.splitlines())


def as_labels(labels: Iterable[str | tuple[str, str]] | Mapping[Any, Any]) -> tuple[Label, ...]:
    r"""Turn names, or ``(id, name)`` pairs, in the order of the outputs into a table; a plain name is its own id.

    A mapping is ordered by its indices: name -> index, as the ``class_indices`` of Keras's generators, or index
    -> name. Space around a name is removed. Raises TypeError for a single value, and ValueError
    for names without an order or without content.

    >>> as_labels({"dog": 1, "cat": 0})
    (Label(id='cat', name='cat'), Label(id='dog', name='dog'))
    >>> as_labels(["cat\n", "dog\n"])[1].name
    'dog'
    """
    if isinstance(labels, Mapping):
        labels = _in_order(labels)
    elif isinstance(labels, Set):
        raise ValueError("a set has no order; give a list in the order of the network's outputs")
    return tuple(map(_as_label, labels))


def _as_label(label: Any) -> Label:
    parts = (label, label) if isinstance(label, str) else tuple(label) if isinstance(label, tuple | list) else ()
    if len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        hint = "; decode it first: label.decode()" if isinstance(label, bytes) else ""
        raise ValueError(f"{label!r} is neither a name nor an (id, name) pair{hint}")
    id_, name = (str(part).strip() for part in parts)
    if not (id_ and name):
        raise ValueError(f"{label!r} is an empty name")
    return Label(id_, name)


def _in_order(labels: Mapping[Any, Any]) -> list[Any]:
    """The names of a mapping name -> index or index -> name, by index."""
    pairs = list(labels.items())
    if all(_is_index(value) for _, value in pairs):
        pairs = [(value, key) for key, value in pairs]
    elif not all(_is_index(key) for key, _ in pairs):
        raise ValueError("a mapping must be name -> index or index -> name; give a list in the order of the outputs")
    by_index = {int(index): name for index, name in pairs}
    if sorted(by_index) != list(range(len(pairs))):
        raise ValueError(f"the indices of the mapping must be 0 to {len(pairs) - 1}, each once")
    return [by_index[index] for index in range(len(pairs))]


def _is_index(value: Any) -> bool:
    """Whether it is a whole number, also as the text that JSON makes of a key."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    return isinstance(value, Integral) and not isinstance(value, bool)


def class_indices(labels: Iterable[str], table: Sequence[Label], source: str) -> list[int]:
    """The index in ``table`` of each label: a class's id, or its name if only one class has that name.

    Raises DataError, which names ``source``, for the first label that is neither.

    >>> class_indices(["dog"], as_labels(["cat", "dog"]), "labels.csv")
    [1]
    """
    indices = {id_: index for index, (id_, _) in enumerate(table)}
    count = Counter(name for _, name in table)
    for index, (_, name) in enumerate(table):
        if count[name] == 1:
            indices.setdefault(name, index)
    found = []
    for label in labels:
        if label not in indices:
            if count[label] > 1:
                ids = " and ".join(row.id for row in table if row.name == label)
                raise DataError(f"{source}: {count[label]} classes are named {label!r}; use their ids, {ids}")
            near = difflib.get_close_matches(label, indices, n=3)
            known = f"did you mean {' or '.join(map(repr, near))}?" if near else f"they begin with {table[0].id!r}"
            raise DataError(f"{source}: {label!r} is not one of the {len(table)} classes; {known}")
        found.append(indices[label])
    return found


@dataclass(frozen=True)
class LabelDecoder:
    """Scores to predictions by a table of labels: ``decode(scores, top)``.

    Called like Keras's ``decode_predictions``, for any number of classes.

    >>> import numpy as np
    >>> LabelDecoder(as_labels(["cat", "dog"]))(np.array([[0.2, 0.8]]), top=1)
    [[Prediction(id='dog', label='dog', score=0.8, index=1)]]
    """

    labels: tuple[Label, ...]
    thresholds: tuple[float, ...] = ()
    """Of labels that do not exclude each other: each one above its threshold is given, whatever ``top`` is."""

    def __call__(self, scores: NDArray[np.floating], top: int = 5) -> list[list[Prediction]]:
        """Decode ``scores`` ``(N, C)``: for each row its ``top`` best classes, best first.

        A ``top`` beyond the number of classes gives all of them. Raises ValueError if ``C`` is not
        the number of labels.
        """
        if scores.ndim != 2 or scores.shape[1] != len(self.labels):
            raise ValueError(f"scores of shape {scores.shape} do not fit {len(self.labels)} labels")
        decoded = []
        for row in scores:
            order = (-row).argsort(kind="stable").tolist()
            best = order[:top]
            if self.thresholds:
                best += [i for i in order[top:] if row[i] >= self.thresholds[i]]
            decoded.append([Prediction(self.labels[i].id, self.labels[i].name, float(row[i]), i) for i in best])
        return decoded

    @override
    def __repr__(self) -> str:
        return f"LabelDecoder({len(self.labels)} labels)"
