"""Metrics of true classes and scores, as scikit-learn defines them. They need NumPy only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReliabilityBin", "as_floats", "auc", "log_loss", "mean_defined", "ratio"]


class ReliabilityBin(NamedTuple):
    """The images whose best class has a probability within one of 15 bins of equal width.

    >>> ReliabilityBin(confidence=0.9, accuracy=0.75, images=4).accuracy
    0.75
    """

    confidence: float
    """The mean probability of the best class, 0 to 1."""
    accuracy: float
    """The share of these images whose best class is right, 0 to 1."""
    images: int
    """Number of these images."""


def as_floats(scores: object) -> NDArray[np.floating]:
    """Scores as an array of floats, of the precision that they have."""
    array = np.asarray(scores)
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(float)


def ratio(part: NDArray[np.intp], whole: NDArray[np.intp]) -> list[float]:
    """``part / whole``, and 0 where that is 0 / 0."""
    found: list[float] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0).tolist()
    return found


def mean_defined(values: list[float]) -> float:
    """The mean of the values that are not NaN; NaN if there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def log_loss(probabilities: NDArray[np.floating]) -> float:
    """The mean of minus the logarithm of the probabilities of what is true, in nats.

    Probabilities closer to 0 or 1 than the precision of their dtype count as that close, so that the loss is finite.
    """
    closest = np.finfo(probabilities.dtype).eps
    return float(-np.log(np.clip(probabilities, closest, 1 - closest).astype(float)).mean())


def auc(targets: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """The area under the ROC curve: how often a positive scores above a negative, where a tie counts as half.

    NaN unless there are both.
    """
    positives, negatives = scores[targets], np.sort(scores[~targets])
    if not (len(positives) and len(negatives)):
        return math.nan
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.mean() / (2 * len(negatives)))
