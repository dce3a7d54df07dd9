"""The quality of a classifier whose images may have several labels or none: `MultiLabelEvaluation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn._check import no_attribute, whole_number
from pretrained_cnn.errors import DataError, ImageError
from pretrained_cnn.evaluate.metrics import as_floats, auc, log_loss, mean_defined, ratio
from pretrained_cnn.evaluate.table import WORST, Table, more
from pretrained_cnn.labels import Label
from pretrained_cnn.scores import average_precision, one_class_only

__all__ = ["LabelMistake", "LabelScore", "MultiLabelEvaluation"]


ONE_CLASS = {
    *("balanced_accuracy", "confusion", "ece", "plot", "plot_reliability", "predicted", "reliability"),
    *("top1", "top1_interval", "top5", "top5_interval", "top_k", "top_k_interval"),
}
"""What is defined where each image has one class: attributes of `Evaluation`."""


class LabelScore(NamedTuple):
    """Precision, recall and F1 of one label. 0 / 0 counts as 0, as with scikit-learn's ``zero_division=0``.

    >>> LabelScore("cat", "cat", average_precision=0.5, precision=0.5, recall=1.0, f1=2 / 3, support=7).recall
    1.0
    """

    id: str
    label: str
    average_precision: float
    """The area under the precision-recall curve over all thresholds, 0 to 1; NaN without an image."""
    precision: float
    """The share of the images predicted with this label that have it."""
    recall: float
    """The share of the images with this label that are predicted with it."""
    f1: float
    """The harmonic mean of precision and recall."""
    support: int
    """Number of images with this label."""


class LabelMistake(NamedTuple):
    """A wrong label of an image: predicted but not true, or true but not predicted.

    >>> LabelMistake(source="a.jpg", label="cat", given=True, score=0.9).given
    True
    """

    source: str
    """The image's name, as in `Result.source`."""
    label: str
    """The label's id."""
    given: bool
    """True for a label that was predicted but is not true, False for one that was missed."""
    score: float
    """The probability of the label, 0 to 1."""


@dataclass(frozen=True, eq=False)
class MultiLabelEvaluation(Table):
    """The scores of a classifier compared with the true labels, if an image may have several labels or none.

    Raises DataError if the shapes of the arrays do not match.

    >>> labels = [Label("cat", "cat"), Label("dog", "dog")]
    >>> scores = np.array([[0.9, 0.7], [0.2, 0.8], [0.6, 0.1]])
    >>> targets = np.array([[1, 1], [0, 1], [0, 0]])
    >>> result = MultiLabelEvaluation(labels, targets, scores, ["a.jpg", "b.jpg", "c.jpg"], thresholds=(0.5, 0.5))
    >>> result.mean_average_precision, round(result.f1_micro, 3), result.count
    (1.0, 0.857, 3)
    >>> result.mistakes()
    [LabelMistake(source='c.jpg', label='cat', given=True, score=0.6)]
    >>> round(result.f1_macro, 3), result.to_dict()["images"]
    (0.833, 3)

    What is defined for one class an image, such as ``top1``, ``confusion`` and ``ece``, raises InvalidArgumentError.
    """

    labels: Sequence[Label] = field(repr=False)
    """The labels, in the order of the columns of `scores`."""
    targets: NDArray[np.bool_] = field(repr=False)
    """``(N, C)``: which labels each image has."""
    scores: NDArray[np.floating] = field(repr=False)
    """``(N, C)``: probabilities, 0 to 1."""
    sources: Sequence[str] = field(repr=False)
    """The name of each image."""
    failed: Sequence[ImageError] = ()
    """The images that could not be read. They are not among the N, and do not count."""
    thresholds: Sequence[float] = ()
    """``(C,)``: the probability from which a label is predicted; 0.5 for each if empty."""
    images: Mapping[int, Any] = field(default_factory=dict, repr=False)
    """The sources for showing images again in a notebook, by the index among the N. Other images are shown if their
    name is the path of a file. Those of the 12 worst mistakes are kept."""

    def __post_init__(self) -> None:
        targets, scores = np.asarray(self.targets, bool), as_floats(self.scores)
        shape = (len(self.sources), len(self.labels))
        thresholds = tuple(self.thresholds) or (0.5,) * shape[1]
        if not shape[0]:
            raise DataError("no image could be read, so there is nothing to evaluate")
        if targets.shape != shape or scores.shape != shape or len(thresholds) != shape[1]:
            raise DataError(
                f"targets of shape {targets.shape}, scores of shape {scores.shape} and {len(thresholds)} thresholds "
                f"do not fit {shape[0]} images and {shape[1]} labels"
            )
        if not np.isfinite(scores).all():
            raise DataError("some scores are not finite numbers; leave their images out")
        object.__setattr__(self, "targets", targets)  # the class is frozen
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "images", self._kept_images())

    @cached_property
    def given(self) -> NDArray[np.bool_]:
        """``(N, C)``: the predicted labels of each image, by the thresholds."""
        return np.asarray(self.scores >= np.asarray(self.thresholds))

    @override
    @cached_property
    def classes(self) -> tuple[LabelScore, ...]:
        """A `LabelScore` for each label, in their order."""
        right = (self.given & self.targets).sum(axis=0)
        given, support = self.given.sum(axis=0), self.targets.sum(axis=0)
        columns = zip(
            self.labels,
            (average_precision(self.targets[:, i], self.scores[:, i]) for i in range(len(self.labels))),
            ratio(right, given),
            ratio(right, support),
            ratio(2 * right, given + support),
            support.tolist(),
            strict=True,
        )
        return tuple(LabelScore(*label, *numbers) for label, *numbers in columns)

    @property
    def mean_average_precision(self) -> float:
        """The mean of `LabelScore.average_precision` over the labels that some image has; NaN if there is none."""
        return mean_defined([row.average_precision for row in self.classes])

    @cached_property
    def auc(self) -> float:
        """The area under the ROC curve, 0 to 1, as the mean over the labels that some images have and others have not.

        NaN if no such label exists.
        """
        columns = range(len(self.labels))
        return mean_defined([auc(self.targets[:, i], self.scores[:, i]) for i in columns])

    @cached_property
    def log_loss(self) -> float:
        """The mean, over images and labels, of minus the logarithm of the probability of what is true, in nats.

        A probability of 0 counts as the smallest step of the dtype of `scores`: 1.2e-7 in float32.
        """
        return log_loss(np.where(self.targets, self.scores, 1 - self.scores))

    @property
    def f1_macro(self) -> float:
        """The mean of the labels' F1, 0 to 1."""
        return float(np.mean([row.f1 for row in self.classes]))

    @property
    def f1_micro(self) -> float:
        """The F1 of all pairs of an image and a label together, 0 to 1."""
        right = int((self.given & self.targets).sum())
        both = int(self.given.sum() + self.targets.sum())
        return 2 * right / both if both else 0.0

    def __getattr__(self, name: str) -> Any:
        """Raises InvalidArgumentError for what only an `Evaluation` has, else AttributeError."""
        if name in ONE_CLASS:
            one_class_only(name)
        raise no_attribute(self, name)

    def mistakes(self, top: int = 10) -> list[LabelMistake]:
        """The ``top`` wrong labels, given or missed, whose scores are farthest on the wrong side of the threshold.

        Raises InvalidArgumentError unless ``top`` is a whole number of at least 1.
        """
        return [
            LabelMistake(self.sources[i], self.labels[j].id, bool(self.given[i, j]), float(self.scores[i, j]))
            for i, j in self._mistaken(whole_number("top", top))
        ]

    def _mistaken(self, top: int) -> list[tuple[int, int]]:
        """The place of the image and the column of the label of the ``top`` worst mistakes."""
        margin = np.abs(self.scores - np.asarray(self.thresholds))
        wrong = np.argwhere(self.given != self.targets)
        order = np.argsort(-margin[tuple(wrong.T)], kind="stable")[:top]
        return [(i, j) for i, j in wrong[order].tolist()]

    @override
    def _worst(self, top: int) -> list[tuple[int, str]]:
        return [
            (i, f"{self.scores[i, j]:.3f}  {self.names[j]} {'given to' if self.given[i, j] else 'missed in'}")
            for i, j in self._mistaken(top)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; an undefined number is None."""
        rows = [row._asdict() for row in self.classes]
        for row in rows:
            row["average_precision"] = row["average_precision"] if row["support"] else None
        mean = self.mean_average_precision
        return {
            "images": self.count,
            "mean_average_precision": mean if np.isfinite(mean) else None,
            "auc": self.auc if np.isfinite(self.auc) else None,
            "log_loss": self.log_loss,
            "f1_macro": self.f1_macro,
            "f1_micro": self.f1_micro,
            "thresholds": list(self.thresholds),
            "classes": rows,
            "mistakes": [mistake._asdict() for mistake in self.mistakes()],
            "failed": [str(error) for error in self.failed],
        }

    @override
    def __str__(self) -> str:
        """A table: the totals, the 20 worst labels by average precision, worst first, and the farthest mistakes."""
        return self._text("farthest mistakes")

    @override
    def _table(self) -> list[str]:
        found = sorted((i for i, row in enumerate(self.classes) if row.support), key=self._average_precision)
        order = found + [i for i, row in enumerate(self.classes) if not row.support]
        rows = [(self.names[i], self.classes[i]) for i in order[:WORST]]
        width = max(12, *(len(name) for name, _ in rows))
        return [
            f"{self.count} images, {len(self.labels)} labels",
            f"mean average precision  {self.mean_average_precision:.3f}",
            f"F1                      {self.f1_macro:.3f} (mean of the labels), {self.f1_micro:.3f} (all together)",
            f"AUC                     {self.auc:.3f}",
            f"log loss                {self.log_loss:.3f}",
            "",
            f"{'label':<{width}}  avg.prec.  precision  recall     F1  support",
            *(
                f"{name:<{width}}  {row.average_precision:9.3f}  {row.precision:9.3f}{row.recall:8.3f}{row.f1:7.3f}"
                f"{row.support:9}"
                for name, row in rows
            ),
            *more(len(order), "labels"),
        ]

    def _average_precision(self, column: int) -> float:
        precision: float = self.classes[column].average_precision
        return precision

    @override
    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        mean = self.mean_average_precision
        return f"MultiLabelEvaluation({self.count} images, mean_average_precision={mean:.3f}{failed})"
