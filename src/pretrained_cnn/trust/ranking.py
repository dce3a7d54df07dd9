"""Chooses which unlabeled images to label next: uncertain ones that differ from each other."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

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
from pretrained_cnn.trust.calibration import Calibration

__all__ = ["are_copies", "rank_unlabeled", "select", "unsureness"]

CANDIDATES = 2
"""For each image asked for, this number of the most unsure ones are candidates. Those that differ from others are
taken.
"""

SAME = 1e-4
"""Embeddings whose distance is below this part of their length are those of the same image."""


def rank_unlabeled(
    engine: Engine,
    source: ImagesLike,
    n: int,
    *,
    batch_size: int | None = None,
    calibration: Calibration | None = None,
) -> ResultList:
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
            known: list[dict[str, Any]] = [{}] * len(good)
            if calibration is not None:
                unknown = calibration.is_unknown(found).tolist()
                sets = calibration.label_sets(scores, spec.labels)
                known = [
                    {"status": "unknown" if each else "ok", "label_set": one}
                    for each, one in zip(unknown, sets, strict=True)
                ]
            results += [
                Result(rows.names[i], best, image=rows.images[i], thresholds=spec.thresholds, **more)
                for i, best, more in zip(good, engine.predictions(scores, top=2), known, strict=True)
            ]
            unsure = np.concatenate([unsure, unsureness(scores, spec.thresholds if spec.multi_label else None)])
            copies = np.concatenate([np.zeros(len(embeddings), bool), are_copies(found, embeddings)])
            embeddings = np.concatenate([embeddings, found])
            kept = np.argsort(-unsure, kind="stable")
            kept = kept[~copies[kept]][: CANDIDATES * n]
            results, unsure, embeddings = [results[i] for i in kept], unsure[kept], embeddings[kept]
    if failed and not results:
        raise failed[0]
    if failed:
        warn(f"images that cannot be read are left out ({len(failed)}), such as {failed[0]}")
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


def are_copies(found: NDArray[np.floating], before: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Bool ``(n,)``: whether each of the embeddings ``found``, ``(n, D)``, is one of those ``before``, or before it.

    Batches of another size give the same image another embedding by rounding.

    >>> are_copies(np.array([[1.0, 2], [3, 4], [1, 2.0001], [0, 0], [0, 0]]), np.array([[3.0, 4]]))
    array([False,  True,  True, False, False])
    """
    every = np.concatenate([before, found]).astype(np.float64)
    squares = np.einsum("nd,nd->n", every, every)
    rows = squares[len(before) :, np.newaxis]
    distances = rows + squares - 2 * every[len(before) :] @ every.T
    earlier = np.arange(len(every)) < len(before) + np.arange(len(found))[:, np.newaxis]
    return np.asarray((earlier & (distances < SAME**2 * rows)).any(axis=1))


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
