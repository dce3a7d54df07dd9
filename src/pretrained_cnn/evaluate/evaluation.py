"""Accuracy and mistakes on labeled images: `Evaluation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn._check import whole_number
from pretrained_cnn._statistics import wilson
from pretrained_cnn.errors import DataError, ImageError
from pretrained_cnn.evaluate.metrics import ReliabilityBin, as_floats, auc, log_loss, mean_defined, ratio
from pretrained_cnn.evaluate.table import WORST, Table, more
from pretrained_cnn.labels import Label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ClassScore", "Evaluation", "Mistake"]

BINS = 15
"""Bins of the calibration error, as in Guo et al., "On Calibration of Modern Neural Networks" (arXiv:1706.04599)."""


class ClassScore(NamedTuple):
    """Precision, recall and F1 of one class. 0 / 0 counts as 0, as with scikit-learn's ``zero_division=0``.

    >>> ClassScore(id="cat", label="cat", precision=0.5, recall=1.0, f1=2 / 3, support=7).recall
    1.0
    """

    id: str
    label: str
    precision: float
    """The share of the images predicted as this class that are of this class."""
    recall: float
    """The share of the images of this class that are predicted as this class."""
    f1: float
    """The harmonic mean of precision and recall."""
    support: int
    """Number of images of this class."""


class Mistake(NamedTuple):
    """An image with a wrong prediction.

    >>> Mistake(source="a.jpg", label="cat", predicted="dog", score=0.9).predicted
    'dog'
    """

    source: str
    """The image's name, as in `Result.source`."""
    label: str
    """The id of its class."""
    predicted: str
    """The id of the predicted class."""
    score: float
    """The probability of the predicted class, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Evaluation(Table):
    """The scores of a classifier compared with the true classes.

    Raises DataError if the shapes of the arrays do not match.

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
    >>> [round(value, 3) for value in (result.balanced_accuracy, result.f1_macro, result.auc, result.log_loss)]
    [0.75, 0.667, 1.0, 0.511]
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
    """The images that could not be read. They are not among the N, and do not count."""
    images: Mapping[int, Any] = field(default_factory=dict, repr=False)
    """The sources for showing images again in a notebook, by the index among the N. Other images are shown if their
    name is the path of a file. Those of the 12 worst mistakes are kept."""

    def __post_init__(self) -> None:
        targets, scores = np.asarray(self.targets, np.intp), as_floats(self.scores)
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
        if not np.isfinite(scores).all():
            raise DataError("some scores are not finite numbers; leave their images out")
        object.__setattr__(self, "targets", targets)  # the class is frozen
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "images", self._kept_images())

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """``(N,)``: the column of the best class. Of equal scores the first, as in `Classifier.predict`."""
        return np.asarray(self.scores.argmax(axis=1))

    @cached_property
    def _rank(self) -> NDArray[np.intp]:
        """``(N,)``: how many classes come before the true one."""
        true = np.take_along_axis(self.scores, self.targets[:, None], axis=1)
        earlier = np.arange(len(self.labels)) < self.targets[:, None]
        return np.asarray(((self.scores > true) | ((self.scores == true) & earlier)).sum(axis=1))

    def top_k(self, k: int) -> float:
        """The share of the images whose class is among the best ``k``, 0 to 1.

        Raises InvalidArgumentError unless ``k`` is a whole number of at least 1.

        >>> labels = [Label("cat", "cat"), Label("dog", "dog"), Label("eel", "eel")]
        >>> Evaluation(labels, [0, 2], np.array([[0.3, 0.4, 0.3], [0.5, 0.3, 0.2]]), ["a.jpg", "b.jpg"]).top_k(2)
        0.5
        """
        return float((self._rank < whole_number("k", k)).mean())

    def top_k_interval(self, k: int) -> tuple[float, float]:
        """The confidence interval of 95 % of `top_k`, by Wilson.

        >>> Evaluation([Label("cat", "cat")], [0], np.ones((1, 1)), ["a.jpg"]).top_k_interval(3)[1]
        1.0
        """
        return wilson(int((self._rank < whole_number("k", k)).sum()), self.count)

    @property
    def top1(self) -> float:
        """The share of the images whose class has the best score, 0 to 1."""
        return self.top_k(1)

    @property
    def top5(self) -> float:
        """The share of the images whose class is among the best five, 0 to 1."""
        return self.top_k(5)

    @property
    def top1_interval(self) -> tuple[float, float]:
        """The confidence interval of 95 % of `top1`, by Wilson."""
        return self.top_k_interval(1)

    @property
    def top5_interval(self) -> tuple[float, float]:
        """The confidence interval of 95 % of `top5`, by Wilson.

        >>> Evaluation([Label("cat", "cat")], [0], np.ones((1, 1)), ["a.jpg"]).top5_interval[1]
        1.0
        """
        return self.top_k_interval(5)

    @property
    def balanced_accuracy(self) -> float:
        """The mean of `ClassScore.recall` over the classes with an image, 0 to 1."""
        return float(np.mean([row.recall for row in self.classes if row.support]))

    @property
    def f1_macro(self) -> float:
        """The mean of `ClassScore.f1` over the classes that were seen or predicted, 0 to 1."""
        return float(np.mean([self.classes[i].f1 for i in self._met()]))

    @cached_property
    def auc(self) -> float:
        """The area under the ROC curve, 0 to 1: the mean over the classes with an image, each against all others.

        For one class, it is the probability that an image of the class scores higher than another image. NaN if all
        images are of one class.
        """
        columns = np.unique(self.targets)
        return mean_defined([auc(self.targets == i, self.scores[:, i]) for i in columns.tolist()])

    @cached_property
    def log_loss(self) -> float:
        """The mean over the images of minus the logarithm of the probability of their class, in nats; 0 is best.

        A probability of 0 counts as the smallest step of the dtype of `scores`: 1.2e-7 in float32.
        """
        return log_loss(np.take_along_axis(self.scores, self.targets[:, None], axis=1))

    @cached_property
    def confusion(self) -> NDArray[np.intp]:
        """``(C, C)``: the number of images of the row's class that were predicted as the column's class."""
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
    def reliability(self) -> tuple[ReliabilityBin, ...]:
        """Accuracy by the probability of the best class: the bins with images, lowest first.

        There are 15 bins of equal width, each open to the left.

        >>> scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        >>> result = Evaluation([Label("cat", "cat"), Label("dog", "dog")], [0, 1, 0], scores, ["a", "b", "c"])
        >>> [(round(confidence, 2), accuracy) for confidence, accuracy, _ in result.reliability]
        [(0.7, 0.0), (0.8, 1.0), (0.9, 1.0)]
        """
        confidence = self.scores.max(axis=1).astype(float)
        right = self.predicted == self.targets
        bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        sums = zip(np.bincount(bins, confidence, BINS), np.bincount(bins, right, BINS), counts.tolist(), strict=True)
        return tuple(ReliabilityBin(float(sure / n), float(hits / n), n) for sure, hits, n in sums if n)

    @cached_property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1: the difference between the probability of the best class and its
        accuracy.

        The mean over the bins of `reliability`, weighted by their numbers of images.
        """
        return sum(bin_.images * abs(bin_.accuracy - bin_.confidence) for bin_ in self.reliability) / self.count

    def mistakes(self, top: int = 10) -> list[Mistake]:
        """The ``top`` wrong predictions with the highest probability, highest first.

        Raises InvalidArgumentError unless ``top`` is a whole number of at least 1.
        """
        confidence = self.scores.max(axis=1)
        return [
            Mistake(
                self.sources[i],
                self.labels[self.targets[i]].id,
                self.labels[self.predicted[i]].id,
                float(confidence[i]),
            )
            for i in self._mistaken(whole_number("top", top))
        ]

    def _mistaken(self, top: int) -> list[int]:
        """The places of the ``top`` worst mistakes."""
        wrong = np.flatnonzero(self.predicted != self.targets)
        order = np.argsort(-self.scores.max(axis=1)[wrong], kind="stable")
        return [int(place) for place in wrong[order][:top]]

    @override
    def _worst(self, top: int) -> list[tuple[int, str]]:
        names, confidence = self.names, self.scores.max(axis=1)
        return [
            (i, f"{confidence[i]:.3f}  {names[self.targets[i]]} taken for {names[self.predicted[i]]}")
            for i in self._mistaken(top)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; an undefined number is None.

        It contains the classes that were seen or predicted.
        """
        met = self._met()
        return {
            "images": self.count,
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "top5": self.top5,
            "top5_interval": list(self.top5_interval),
            "balanced_accuracy": self.balanced_accuracy,
            "f1_macro": self.f1_macro,
            "auc": self.auc if np.isfinite(self.auc) else None,
            "log_loss": self.log_loss,
            "ece": self.ece,
            "classes": [self.classes[i]._asdict() for i in met],
            "confusion": self.confusion[np.ix_(met, met)].tolist(),
            "mistakes": [mistake._asdict() for mistake in self.mistakes()],
            "failed": [str(error) for error in self.failed],
        }

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw the confusion matrix of the classes that were seen or predicted.

        A row is a true class. Its colors show the share of its images that was predicted as each class. Up to 25
        classes have numbers, up to 80 have names. Draws on the matplotlib axes ``ax``, or on a new figure, and returns
        the figure. A notebook displays a new figure. Raises MissingDependencyError without matplotlib (extra ``plot``).

        >>> labels = [Label("cat", "cat"), Label("dog", "dog")]
        >>> result = Evaluation(labels, targets=[0, 1, 0], scores=np.eye(2)[[0, 1, 1]], sources=["a", "b", "c"])
        >>> [text.get_text() for text in result.plot().axes[0].texts]
        ['1', '1', '1']
        """
        from pretrained_cnn.evaluate.drawing import draw_confusion

        met = self._met()
        return draw_confusion(self.confusion[np.ix_(met, met)], [self.names[i] for i in met], ax)

    def plot_reliability(self, ax: Axes | None = None) -> Figure:
        """Draw the reliability diagram: the accuracy of the best class over its probability.

        A point is one of the bins of `reliability`, with the 95 % confidence interval of its accuracy, by Wilson. Below
        the diagonal the classifier is overconfident. Draws on the matplotlib axes ``ax``, or on a new figure, and
        returns the figure. A notebook displays a new figure. Raises MissingDependencyError without matplotlib (extra
        ``plot``).

        >>> labels = [Label("cat", "cat"), Label("dog", "dog")]
        >>> result = Evaluation(labels, targets=[0, 1, 0], scores=np.eye(2)[[0, 1, 1]], sources=["a", "b", "c"])
        >>> result.plot_reliability().axes[0].get_xlabel()
        'probability of the best class'
        """
        from pretrained_cnn.evaluate.drawing import draw_reliability

        return draw_reliability(self.reliability, f"{self.count} images, ECE {self.ece:.3f}", ax)

    @override
    def __str__(self) -> str:
        """A table: the totals, the 20 worst classes by F1, worst first, and the most confident mistakes."""
        return self._text("most confident mistakes")

    @override
    def _table(self) -> list[str]:
        met = self._worst_first()
        shown = [(self.names[i], self.classes[i]) for i in met[:WORST]]
        width = max(12, *(len(name) for name, _ in shown))
        return [
            f"{self.count} images, {len(np.unique(self.targets))} classes",
            f"top-1  {_percent(self.top1, self.top1_interval)}",
            *([f"top-5  {_percent(self.top5, self.top5_interval)}"] if len(self.labels) > 5 else []),
            f"balanced accuracy {self.balanced_accuracy:.3f}, macro F1 {self.f1_macro:.3f}, AUC {self.auc:.3f}",
            f"log loss {self.log_loss:.3f}, ECE {self.ece:.3f}",
            "",
            f"{'class':<{width}}  precision  recall     F1  support",
            *(
                f"{name:<{width}}  {row.precision:9.3f}{row.recall:8.3f}{row.f1:7.3f}{row.support:9}"
                for name, row in shown
            ),
            *more(len(met), "classes"),
        ]

    def _worst_first(self) -> list[int]:
        """The classes that were met, by F1; those without an image last."""
        rows = self.classes
        return sorted(self._met(), key=lambda i: (rows[i].support == 0, rows[i].f1, -rows[i].support))

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
