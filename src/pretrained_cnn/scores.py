"""Checks of network outputs: finite numbers and, for classes with names, probabilities.

A last layer's name says little: a dropout, a lambda or a temperature may follow it. So networks are judged by what they
give for a few images, and each batch again where it is computed. Needs NumPy only.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import InvalidArgumentError

__all__ = [
    "EXACT",
    "NOT_FINITE",
    "ROUGH",
    "average_precision",
    "finite",
    "one_class_only",
    "outside",
    "probes",
    "problem",
]

EXACT = 1e-3
"""How far the probabilities of one image may sum from 1 where they are computed in 32 bits."""

ROUGH = 2e-2
"""The same in 16 or 8 bits."""

NOT_FINITE = (
    "the network gives NaN or infinite values; look for weights that are not finite, for an overflow of float16, or "
    "for a preprocess that divides by zero or takes the logarithm of 0"
)


def probes(size: tuple[int, int], channels: int = 3) -> NDArray[np.uint8]:
    """Four images, uint8 ``(4, *size, channels)``, the same each time: a wash of colors, and noise of three grains."""
    height, width = size
    random = np.random.default_rng(0)
    down, across = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij")
    images: list[NDArray[Any]] = [np.stack([down, across, 255 - down], axis=-1)]
    for grain in (1, 8, 64):
        grain = max(1, min(grain, height // 2, width // 2))  # an image of one color is nothing to go by
        coarse = random.integers(0, 256, (-(-height // grain), -(-width // grain), 3))
        images.append(coarse.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width])
    return np.stack(images).astype(np.uint8)[..., :channels]


def finite(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """``(N,)``: which rows of ``values`` ``(N, ...)`` have finite numbers only."""
    return np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))))


def outside(scores: NDArray[np.floating], tolerance: float) -> tuple[float, float] | None:
    """The least and the largest of ``scores`` if they are not within 0..1; None if they are, or if there are none."""
    if not scores.size:
        return None
    low, high = float(scores.min()), float(scores.max())
    return None if low >= -tolerance and high <= 1 + tolerance else (low, high)


def problem(
    scores: NDArray[np.floating], *, multi_label: bool = False, tolerance: float = EXACT, linear: bool = False
) -> str | None:
    """Why finite ``scores`` ``(N, C)`` are not probabilities, with the way out; None if they are.

    Of classes that exclude each other they sum to 1; with ``multi_label`` each is a probability of its own. ``linear``
    says that the last layer is known to be linear.

    >>> problem(np.array([[0.2, 0.8]])) is None
    True
    >>> problem(np.array([[0.9, 0.8]]))
    'the outputs lie within 0 to 1, but those of one image sum to 1.700 and not to 1; if an image may have several \
labels, give multi_label=True, else end the network in a softmax'
    """
    beyond = outside(scores, tolerance)
    sums = np.ones(1) if multi_label or not len(scores) else scores.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if beyond is None and abs(sums[worst] - 1) <= tolerance:
        return None
    if beyond is not None or linear:
        one_output = not multi_label and scores.shape[1] == 2 and abs(sums[worst] - 1) <= tolerance  # p as (1 - p, p)
        given = scores[:, 1:] if one_output else scores
        low, high = float(given.min()), float(given.max())
        activation = "a sigmoid" if multi_label or one_output else "a softmax"
        return (
            f"the outputs range from {low:.4g} to {high:.4g}, so they are not probabilities but logits or something "
            f"else; end the network in {activation}, or use Classifier.from_keras(..., from_logits=True)"
        )
    return (
        f"the outputs lie within 0 to 1, but those of one image sum to {sums[worst]:.3f} and not to 1; if an image may "
        "have several labels, give multi_label=True, else end the network in a softmax"
    )


def one_class_only(what: str) -> NoReturn:
    """Raise InvalidArgumentError for what is defined only where each image has exactly one class."""
    raise InvalidArgumentError(
        f"{what} is defined only where each image has exactly one class, and this classifier has multi_label=True; "
        "use mean_average_precision, f1_macro and classes of evaluate, and result.above() of a result"
    )


def average_precision(targets: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """The sum over distinct scores of precision times the step of recall; NaN without a positive."""
    total = int(targets.sum())
    if not total:
        return math.nan
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(targets[order])
    last = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)  # equal scores come together
    precision = right[last] / (last + 1)
    recall = right[last] / total
    return float((precision * np.diff(recall, prepend=0)).sum())
