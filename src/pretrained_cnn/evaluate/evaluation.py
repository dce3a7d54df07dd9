"""How often a classifier is right, and where it is wrong: `Evaluation`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn._statistics import wilson
from pretrained_cnn.errors import DataError, ImageError
from pretrained_cnn.evaluate.table import Table, ratio
from pretrained_cnn.labels import Label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ClassScore", "Evaluation", "Mistake"]

BINS = 15
"""Bins of the calibration error, as in Guo et al., "On Calibration of Modern Neural Networks" (arXiv:1706.04599)."""


class ClassScore(NamedTuple):
    """How well one class is told from the others. What is 0 / 0 counts as 0, as scikit-learn's ``zero_division=0``.

    >>> ClassScore(id="cat", label="cat", precision=0.5, recall=1.0, f1=2 / 3, support=7).recall
    1.0
    """

    id: str
    label: str
    precision: float
    """Of the images given this class, the part that is of it."""
    recall: float
    """Of the images of this class, the part that is given it."""
    f1: float
    """The harmonic mean of the two."""
    support: int
    """How many images are of this class."""


class Mistake(NamedTuple):
    """An image that was given a wrong class.

    >>> Mistake(source="a.jpg", label="cat", predicted="dog", score=0.9).predicted
    'dog'
    """

    source: str
    """The image's name, as in `Result.source`."""
    label: str
    """The id of its class."""
    predicted: str
    """The id of the class that it was given."""
    score: float
    """The probability with which it was, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Evaluation(Table):
    """What a classifier's scores say against the true classes.

    Raises DataError if the arrays do not fit together.

    >>> labels = [Label("cat", "cat"), Label("dog", "dog")]
    >>> scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    >>> result = Evaluation(labels, targets=[0, 1, 0], scores=scores, sources=["a.jpg", "b.jpg", "c.jpg"])
    >>> round(result.top1, 2), result.confusion.tolist()
    (0.67, [[1, 1], [0, 1]])
    >>> [round(end, 2) for end in result.top1_interval]
    [0.21, 0.94]
    >>> result.mistakes()
    [Mistake(source='c.jpg', label='cat', predicted='dog', score=0.7)]
    >>> result.count, result.top5, result.to_dict()["classes"][1]["recall"]
    (3, 1.0, 1.0)
    """

    labels: Sequence[Label] = field(repr=False)
    """The classes, in the order of the columns of `scores`."""
    targets: NDArray[np.intp] = field(repr=False)
    """``(N,)``: the column of each image's class."""
    scores: NDArray[np.floating] = field(repr=False)
    """``(N, C)``: probabilities, 0 to 1."""
    sources: Sequence[str] = field(repr=False)
    """The name of each image."""
    failed: Sequence[ImageError] = ()
    """The images that could not be read. They are not among the N, and count neither as right nor as wrong."""

    def __post_init__(self) -> None:
        targets, scores = np.asarray(self.targets, np.intp), np.asarray(self.scores)
        count, classes = len(self.sources), len(self.labels)
        if not count:
            raise DataError("no image could be read, so there is nothing to evaluate")
        if targets.shape != (count,) or scores.shape != (count, classes):
            raise DataError(
                f"targets of shape {targets.shape} and scores of shape {scores.shape} "
                f"do not fit {count} images and {classes} classes"
            )
        if targets.min() < 0 or targets.max() >= classes:
            raise DataError(f"targets from {targets.min()} to {targets.max()} are not columns of {classes} classes")
        object.__setattr__(self, "targets", targets)  # the class is frozen
        object.__setattr__(self, "scores", scores)

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """``(N,)``: the column of the best class; of equal ones the first, as in `Classifier.predict`."""
        return np.asarray(self.scores.argmax(axis=1))

    @cached_property
    def _rank(self) -> NDArray[np.intp]:
        """``(N,)``: how many classes come before the true one."""
        true = np.take_along_axis(self.scores, self.targets[:, None], axis=1)
        earlier = np.arange(len(self.labels)) < self.targets[:, None]
        return np.asarray(((self.scores > true) | ((self.scores == true) & earlier)).sum(axis=1))

    @property
    def top1(self) -> float:
        """The part of the images whose class comes first, 0 to 1."""
        return float((self._rank < 1).mean())

    @property
    def top5(self) -> float:
        """The part of the images whose class is among the first five, 0 to 1."""
        return float((self._rank < 5).mean())

    @property
    def top1_interval(self) -> tuple[float, float]:
        """`top1`'s confidence interval of 95 %, by Wilson."""
        return wilson(int((self._rank < 1).sum()), self.count)

    @property
    def top5_interval(self) -> tuple[float, float]:
        """`top5`'s confidence interval of 95 %, by Wilson.

        >>> Evaluation([Label("cat", "cat")], [0], np.ones((1, 1)), ["a.jpg"]).top5_interval[1]
        1.0
        """
        return wilson(int((self._rank < 5).sum()), self.count)

    @cached_property
    def confusion(self) -> NDArray[np.intp]:
        """``(C, C)``: how many images of the row's class were given the column's."""
        matrix = np.zeros((len(self.labels),) * 2, np.intp)
        np.add.at(matrix, (self.targets, self.predicted), 1)
        return matrix

    @override
    @cached_property
    def classes(self) -> tuple[ClassScore, ...]:
        """A `ClassScore` for each class, in the order of the labels."""
        right = self.confusion.diagonal()
        given, support = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        columns = zip(
            self.labels,
            ratio(right, given),
            ratio(right, support),
            ratio(2 * right, given + support),
            support.tolist(),
            strict=True,
        )
        return tuple(ClassScore(*label, *numbers) for label, *numbers in columns)

    @cached_property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1: how far the best class's probability is from how often it is right.

        The mean, weighted by images, over 15 bins of equal width, each open to the left.
        """
        confidence = self.scores.max(axis=1).astype(float)
        right = self.predicted == self.targets
        bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        gaps = np.bincount(bins, right - confidence, BINS)
        return float(np.abs(gaps).sum() / self.count)

    def mistakes(self, top: int = 10) -> list[Mistake]:
        """The ``top`` images that were given a wrong class with the highest probability, highest first."""
        confidence = self.scores.max(axis=1)
        wrong = np.flatnonzero(self.predicted != self.targets)
        worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:top]
        return [
            Mistake(
                self.sources[i],
                self.labels[self.targets[i]].id,
                self.labels[self.predicted[i]].id,
                float(confidence[i]),
            )
            for i in worst
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; the classes are those with an image, or that an image was given."""
        met = self._met()
        return {
            "images": self.count,
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "top5": self.top5,
            "top5_interval": list(self.top5_interval),
            "ece": self.ece,
            "classes": [self.classes[i]._asdict() for i in met],
            "confusion": self.confusion[np.ix_(met, met)].tolist(),
            "mistakes": [mistake._asdict() for mistake in self.mistakes()],
            "failed": [str(error) for error in self.failed],
        }

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw the confusion matrix of the classes that were met: those with an image, or that an image was given.

        A row is a true class, its colors the parts of its images that were given each class. Up to 25 classes have
        numbers, up to 80 have names. Draws on ``ax`` of matplotlib's, or on a new figure, and returns the figure: a new
        one shows itself in a notebook. Raises MissingDependencyError without matplotlib (extra ``plot``).

        >>> labels = [Label("cat", "cat"), Label("dog", "dog")]
        >>> result = Evaluation(labels, targets=[0, 1, 0], scores=np.eye(2)[[0, 1, 1]], sources=["a", "b", "c"])
        >>> [text.get_text() for text in result.plot().axes[0].texts]
        ['1', '1', '1']
        """
        from pretrained_cnn.evaluate.confusion import draw_confusion

        met = self._met()
        shared = Counter(name for _, name in self.labels)
        names = [name if shared[name] == 1 else f"{name} ({id_})" for id_, name in (self.labels[i] for i in met)]
        return draw_confusion(self.confusion[np.ix_(met, met)], names, ax)

    @override
    def __str__(self) -> str:
        """A table: the totals, the classes that were met, and the most confident mistakes."""
        rows = [self.classes[i] for i in self._met()]
        width = max(12, *(len(row.id) for row in rows))
        lines = [
            f"{self.count} images, {len(rows)} classes",
            f"top-1  {_percent(self.top1, self.top1_interval)}",
            f"top-5  {_percent(self.top5, self.top5_interval)}",
            f"ECE    {self.ece:.3f}",
            "",
            f"{'class':<{width}}  precision  recall     F1  support",
            *(f"{row.id:<{width}}  {row.precision:9.3f}{row.recall:8.3f}{row.f1:7.3f}{row.support:9}" for row in rows),
        ]
        if mistakes := self.mistakes(5):
            lines += ["", "most confident mistakes"]
            lines += [f"{score:.3f}  {label} taken for {wrong}  {name}" for name, label, wrong, score in mistakes]
        return "\n".join([*lines, *self.failures()])

    def _met(self) -> list[int]:
        """The classes with an image, or that an image was given."""
        return np.flatnonzero(self.confusion.sum(axis=0) + self.confusion.sum(axis=1)).tolist()

    @override
    def __repr__(self) -> str:
        low, high = self.top1_interval
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"Evaluation({self.count} images, top1={self.top1:.3f} ({low:.3f} to {high:.3f}){failed})"


def _percent(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * value:5.1f} %  (95 %: {100 * low:.1f} to {100 * high:.1f})"
