"""What linear heads say of images that they have not seen: every image is held out once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import DataError
from pretrained_cnn.transfer import data
from pretrained_cnn.transfer.heads import HeadData
from pretrained_cnn.transfer.linear import fit_linear

__all__ = ["Fold", "deal_folds", "fit_folds"]


class Fold(NamedTuple):
    """What a head says of the images that were held out while it was fitted."""

    held: NDArray[np.intp]
    """The images, by number, ``(h,)``."""
    scores: NDArray[np.float64]
    """Their probabilities, ``(h, C)``."""


def deal_folds(targets: NDArray[np.intp], groups: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """The fold, 0 to 4, in which each image is held out; -1 for images that are never held out.

    Those are the images of a class whose images have all one content (one group). Raises DataError if too few images
    are left to fit a head without a fold, and choose its strength.

    >>> deal_folds(np.array([0] * 5 + [1] * 5), np.arange(10), seed=0).tolist()
    [3, 4, 1, 2, 0, 2, 0, 1, 4, 3]
    """
    folds = data.deal(targets, groups, [1 / data.FOLDS] * data.FOLDS, seed)
    for fold in set(folds[folds >= 0].tolist()) or {-1}:
        _hold_out(targets[folds != fold], groups[folds != fold], seed)
    return folds


def fit_folds(
    images: HeadData, groups: NDArray[np.intp], folds: NDArray[np.intp], classes: int, seed: int
) -> Iterator[Fold]:
    """Fit a head for each fold of `deal_folds` on the images of all others, and judge those of the fold.

    The strength of regularization is chosen again for each head, by a fifth of the images that it is fitted on. So
    the images of a fold have no influence on the head that judges them.
    """
    for fold in sorted(set(folds[folds >= 0].tolist())):
        left, held = folds != fold, np.flatnonzero(folds == fold)
        train = images.keep(left)
        trials = [(train.keep(~out), train.keep(out)) for out in _hold_out(train.targets, groups[left], seed)]
        head = fit_linear(train, trials, classes).head
        yield Fold(held, head(images.vectors[held]))


def _hold_out(targets: NDArray[np.intp], groups: NDArray[np.intp], seed: int) -> list[NDArray[np.bool_]]:
    """Which of the images that a head is fitted on choose its strength, in turn."""
    held = data.hold_out(targets, groups, seed, once=True) if len(targets) else []
    if not held:
        raise DataError(
            "these are too few images to judge a head by images that it has not seen; give at least three of "
            "different content for each class"
        )
    return held
