"""Which labels are probably wrong: confident learning, on what heads say of images that they have not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.transfer import data
from pretrained_cnn.transfer.heads import HeadData
from pretrained_cnn.transfer.linear import Regression, choose_strength

__all__ = ["WrongLabels", "find_wrong_labels", "wrong_labels"]

BLOCK = 4096
"""Images whose scores are in memory at once."""

TOLERANCE = 1e-5
"""How far the loss of a head may be from its minimum, as a share of it."""

IMPROBABLE = 0.15
"""A label is wrong too if its class gets less than this part of the probability that images labeled so usually have.
With 5 % of the labels of 786 photos of clothes flipped, 65 % of these were listed without this rule, 94 % with it."""


class WrongLabels(NamedTuple):
    """Images whose class is probably another one, the most suspicious first."""

    images: NDArray[np.intp]
    """Which images, ``(k,)``."""
    suggested: NDArray[np.intp]
    """The class that each probably has, ``(k,)``."""
    suspicion: NDArray[np.float64]
    """1 less the probability of its own class, ``(k,)``, 0 to 1."""
    probabilities: NDArray[np.float64]
    """The probability of its own class and of the suggested one, ``(k, 2)``."""


Scores = Iterator[tuple[NDArray[np.intp], NDArray[np.floating]]]
"""Blocks of images, by number, and their probabilities ``(m, C)``."""


def find_wrong_labels(
    vectors: NDArray[np.float32], targets: NDArray[np.intp], groups: NDArray[np.intp], classes: int, seed: int
) -> WrongLabels:
    """Fit heads by cross-validation and judge each label by a head that has not seen the image, nor a copy of it.

    ``groups`` holds a number for each image, the same for copies. An image is not judged if its class has no second
    group, which no head could be fitted on. Memory holds the scores of a block of images.
    """
    weights = np.ones(len(targets))
    images = HeadData(vectors, targets, weights)
    held = data.hold_out(targets, groups, seed) if classes > 1 else []
    if not held:
        return WrongLabels(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0), np.empty((0, 2)))
    strength = choose_strength([(images.keep(~which), images.keep(which)) for which in held], classes).strength
    folds = data.deal(targets, groups, [1 / data.FOLDS] * data.FOLDS, seed)
    heads = [
        (
            np.flatnonzero(folds == fold),
            Regression(images.keep(folds != fold), classes).fit(strength, tolerance=TOLERANCE),
        )
        for fold in sorted(set(folds[folds >= 0].tolist()))
    ]

    def scores() -> Scores:
        for which, head in heads:
            for start in range(0, len(which), BLOCK):
                block = which[start : start + BLOCK]
                yield block, head(vectors[block])

    thresholds = _thresholds(scores(), targets, classes)
    found = [_judge(*block, targets, thresholds, IMPROBABLE) for block in scores()]
    return _sorted(
        WrongLabels(
            np.concatenate([each.images for each in found]),
            np.concatenate([each.suggested for each in found]),
            np.concatenate([each.suspicion for each in found]),
            np.concatenate([each.probabilities for each in found]),
        )
    )


def wrong_labels(scores: NDArray[np.floating], targets: NDArray[np.intp]) -> WrongLabels:
    """Confident learning (Northcutt and others, J. Artif. Intell. Res. 70, 2021) on probabilities ``(n, C)``.

    They are what a classifier that has not seen the label says. A class's threshold is the mean probability that images
    labeled so are given for it. An image is confidently of a class if its probability for it reaches the threshold; of
    several such classes, of that with the highest probability. Its label is probably wrong if that is another class.

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    >>> wrong_labels(scores, np.array([0, 0, 1, 1, 1])).images.tolist()
    []
    >>> found = wrong_labels(scores, np.array([0, 1, 1, 1, 0]))
    >>> found.images.tolist(), found.suggested.tolist(), found.suspicion.round(2).tolist()
    ([1, 4], [0, 1], [0.8, 0.7])
    """
    every = np.arange(len(targets))
    thresholds = _thresholds(iter([(every, scores)]), targets, scores.shape[1])
    return _sorted(_judge(every, scores, targets, thresholds))


def _thresholds(blocks: Scores, targets: NDArray[np.intp], classes: int) -> NDArray[np.float64]:
    """For each class, the mean probability that images labeled so are given for it; infinite without such an image."""
    sums, counts = np.zeros(classes), np.zeros(classes)
    for images, scores in blocks:
        own = targets[images]
        np.add.at(sums, own, scores[np.arange(len(own)), own])
        counts += np.bincount(own, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def _judge(
    images: NDArray[np.intp],
    scores: NDArray[np.floating],
    targets: NDArray[np.intp],
    thresholds: NDArray[np.float64],
    improbable: float = 0.0,
) -> WrongLabels:
    """The images whose class is confidently another one, and those whose own is ``improbable``."""
    own = targets[images]
    given = scores[np.arange(len(own)), own]
    confident = scores >= thresholds - 1e-9
    suggested = np.where(confident, scores, -1).argmax(axis=1)
    wrong = confident.any(axis=1) & (suggested != own)
    best = scores.argmax(axis=1)
    doubtful = ~wrong & (given < improbable * thresholds[own]) & (best != own)
    suggested = np.where(doubtful, best, suggested)
    which = np.flatnonzero(wrong | doubtful)
    pairs = np.stack([given[which], scores[which, suggested[which]]], axis=1).astype(np.float64)
    return WrongLabels(images[which], suggested[which], 1 - pairs[:, 0], pairs)


def _sorted(found: WrongLabels) -> WrongLabels:
    order = np.lexsort((found.images, -found.suspicion))
    return WrongLabels(found.images[order], found.suggested[order], found.suspicion[order], found.probabilities[order])
