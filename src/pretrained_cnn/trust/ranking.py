"""Chooses which unlabeled images to label next: uncertain ones that differ from each other."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import whole_number
from pretrained_cnn._process import warn
from pretrained_cnn._types import ImagesLike
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.results.result import Result, ResultList
from pretrained_cnn.trust.calibrating import OUTPUTS

__all__ = ["rank_unlabeled", "select", "unsureness"]

CANDIDATES = 2
"""For each image asked for, this number of the most unsure ones are candidates. Those that differ from others are
taken.
"""


def rank_unlabeled(engine: Engine, source: ImagesLike, n: int, *, batch_size: int | None = None) -> ResultList:
    """Rank images; the arguments are those of `Classifier.rank_unlabeled`. Memory holds the candidates only."""
    spec = engine.spec
    batch_size = None if batch_size is None else whole_number("batch_size", batch_size)
    items = iter_items(source, engine.image_policy)
    first = list(itertools.islice(items, 1))  # raises where there is no image, before the network is opened
    results: list[Result] = []
    failed: list[ImageError] = []
    unsure = np.empty(0, np.float32)
    embeddings = np.empty((0, engine.open(OUTPUTS).widths[1]), np.float32)
    batches = engine.batches_of(itertools.chain(first, items), batch_size=batch_size)
    with contextlib.closing(engine.rows(batches, OUTPUTS)) as stream:
        for rows in stream:
            failed += filter(None, rows.errors)
            scores, found = rows.outputs
            good = [i for i, error in enumerate(rows.errors) if error is None]
            predictions = engine.predictions(scores, top=2)
            results += [
                Result(rows.names[i], best, image=rows.images[i], thresholds=spec.thresholds)
                for i, best in zip(good, predictions, strict=True)
            ]
            unsure = np.concatenate([unsure, unsureness(scores, spec.thresholds if spec.multi_label else None)])
            embeddings = np.concatenate([embeddings, found])
            kept = np.argsort(-unsure, kind="stable")[: CANDIDATES * n]
            results, unsure, embeddings = [results[i] for i in kept], unsure[kept], embeddings[kept]
    if failed and not results:
        raise failed[0]
    if failed:
        warn(f"{len(failed)} images cannot be read and are left out, such as {failed[0]}")
    return ResultList(results[i] for i in select(unsure, embeddings, n))


def unsureness(scores: NDArray[np.floating], thresholds: tuple[float, ...] | None = None) -> NDArray[np.float32]:
    """``(N,)``: how unsure the scores ``(N, C)`` are, above 0 to 1.

    The two best classes have the same score at 1. With ``thresholds``, of labels that do not exclude each other, some
    score is at its label's threshold at 1.

    >>> unsureness(np.array([[0.5, 0.5, 0.0], [0.0, 0.9, 0.1]])).round(2)
    array([1.  , 0.45], dtype=float32)
    >>> unsureness(np.array([[0.5, 0.0], [0.1, 0.9]]), thresholds=(0.5, 0.5)).round(2)
    array([1.  , 0.67], dtype=float32)
    """
    if thresholds is not None:
        margin = np.abs(scores - np.asarray(thresholds)).min(axis=1)
    elif scores.shape[1] == 1:
        margin = np.zeros(len(scores))
    else:
        second, best = np.partition(scores, (-2, -1), axis=1)[:, -2:].T
        margin = best - second
    return np.asarray(np.exp(-margin), np.float32)


def select(unsure: NDArray[np.floating], embeddings: NDArray[np.floating], n: int) -> list[int]:
    """Up to ``n`` of the most unsure images, no two alike, as indices in the order in which to label them.

    The first is the most unsure one. Each next one has the largest product of its unsureness and its distance to the
    nearest of those before.

    >>> select(np.array([1.0, 0.99, 0.9, 0.1]), np.array([[1.0, 0], [1, 0], [0, 1], [1, 0.1]]), 2)
    [0, 2]
    """
    candidates = np.argsort(-unsure, kind="stable")[: CANDIDATES * n]
    units = embeddings[candidates].astype(np.float32)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    weights, distance = unsure[candidates], np.ones(len(candidates))
    chosen: list[int] = []
    for _ in range(min(n, len(candidates))):
        chosen.append(int((weights * distance).argmax()))
        distance = np.minimum(distance, np.maximum(1 - units @ units[chosen[-1]], 0))
        distance[chosen] = -1
    return [int(candidates[i]) for i in chosen]
