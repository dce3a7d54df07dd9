"""Logistic regression on embeddings, with the strength of its regularization chosen by images that it has not seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._progress import report
from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.transfer.heads import HeadData, measure, metric_names
from pretrained_cnn.transfer.minimize import minimize

log = logging.getLogger(__name__)

LIMIT = 16
"""The exponent beyond which no strength is tried, either way, in half decades: C = 1e-8 and 1e8."""

PRIOR = 1.0
"""The width of the prior of the strength, in half decades around C = 1."""

LEAST_GAIN = 1e-4
"""What a strength must lower the loss by, in nats, to be better than another."""

ROUGHLY, CLOSELY = 1e-7, 1e-10
"""How far the mean loss may be from its minimum, in nats, while strengths are compared, and in the end."""

LARGE = 2**25
"""From this number of logits times features on, strengths are compared in float32, which takes half the time."""

HUGE = 2**31
"""From this number on, the head that is kept is also fitted in float32, as closely as strengths are compared."""


class Fitted(NamedTuple):
    """A head, and how it was chosen."""

    head: Head
    strength: float
    """The inverse strength of regularization that was chosen, scikit-learn's ``C``."""
    rows: list[dict[str, Any]]
    """For each strength that was tried, what `measure` says of the images of the fits and of those held out."""
    scores: NDArray[np.float64]
    """The probabilities of the images of all trials that were held out, at the strength that was chosen."""
    targets: NDArray[Any]
    """The classes of these images."""


def fit_linear(train: HeadData, trials: Sequence[tuple[HeadData, HeadData]], classes: int) -> Fitted:
    """The head fitted on ``train``, with the strength that is best in ``trials``.

    A trial is what to fit on, and what to measure on. The best strength has the least log loss over the images of all
    trials, plus what a prior says against it: a Gaussian in log C around 1, scikit-learn's default. Few images say
    little of C, and a C far from 1 by chance costs more than C = 1 does; the weight of the prior is that of 2 nats over
    all images for one decade, so it vanishes with many. Embeddings are centered and divided by one number, the root of
    their mean variance: dividing each feature by a deviation of its own costs accuracy where it is estimated from a few
    images. All of that ends up in the kernel.
    """
    chosen = choose_strength(trials, classes)
    huge = len(train.vectors) * classes * train.vectors.shape[1] > HUGE
    final = Regression(train, classes, np.float32 if huge else np.float64)
    head = final.fit(chosen.strength, start=chosen.head, tolerance=ROUGHLY if huge else CLOSELY)
    report("head", len(chosen.rows) + 1)
    return chosen._replace(head=head)


def choose_strength(trials: Sequence[tuple[HeadData, HeadData]], classes: int) -> Fitted:
    """The strength that is best in ``trials``, as `fit_linear` chooses it, with the head of the first trial."""
    problems = [(Regression(fitted, classes), held) for fitted, held in trials]
    targets, weights = (np.concatenate([getattr(held, of) for _, held in trials]) for of in ("targets", "weights"))
    names = metric_names(targets.ndim == 2)
    heads: dict[int, list[Head]] = {}
    on_train: dict[int, NDArray[np.float64]] = {}
    on_held: dict[int, NDArray[np.float64]] = {}
    found: dict[int, tuple[float, float]] = {}

    def try_(exponent: int) -> float:
        starts = heads[_nearest(exponent, heads)] if heads else [None] * len(problems)
        strength = 10.0 ** (exponent / 2)
        heads[exponent] = [
            problem.fit(strength, start=start, tolerance=ROUGHLY)
            for (problem, _), start in zip(problems, starts, strict=True)
        ]
        fitted = list(zip(problems, heads[exponent], strict=True))
        on_train[exponent] = np.mean([problem.measure(head) for (problem, _), head in fitted], axis=0)
        on_held[exponent] = np.concatenate([head(held.vectors) for (_, held), head in fitted])
        found[exponent] = measure(on_held[exponent], targets, weights)
        report("head", len(found))
        loss, other = found[exponent]
        log.info("head: C=%.3g gives %s %.4f and %s %.4f", strength, names[0], loss, names[1], other)
        return loss + (exponent / PRIOR) ** 2 / (2 * float(weights.sum()))

    report("head", 0)
    best = _search(try_)
    keys = ("C", *names, *(f"validation_{name}" for name in names))
    rows = [
        {"stage": "head", **dict(zip(keys, (10.0 ** (i / 2), *on_train[i].tolist(), *found[i]), strict=True))}
        for i in sorted(found)
    ]
    return Fitted(heads[best][0], 10.0 ** (best / 2), rows, on_held[best], targets)


def _nearest(exponent: int, tried: Iterable[int]) -> int:
    return min(tried, key=lambda each: abs(each - exponent))


def _search(loss_of: Callable[[int], float]) -> int:
    """The exponent, in half decades, of the best strength.

    The loss falls and then rises with the strength. So the search goes by decades until it is past the best one, and
    then tries the half decades beside it; there is no grid whose end might be the best.
    """
    tried = {0: loss_of(0)}
    best = 0
    for step in (2, -2):
        while abs(best + step) <= LIMIT and best + step not in tried:
            tried[best + step] = loss_of(best + step)
            if tried[best] - tried[best + step] > LEAST_GAIN:
                best += step
    for beside in (best + 1, best - 1):
        if abs(beside) <= LIMIT:
            tried[beside] = loss_of(beside)
    for beside in (best + 1, best - 1):
        if tried[best] - tried.get(beside, np.inf) > LEAST_GAIN:
            best = beside
            break
    return best


class Regression:
    """Logistic regression on some embeddings, ready to be fitted with any strength.

    Where an image may have several labels, these are independent regressions, one a label.
    """

    def __init__(self, data: HeadData, classes: int, dtype: type[np.floating] | None = None) -> None:
        counted = data.weights > 0
        weights, self._targets, self._classes = data.weights[counted], data.targets[counted], classes
        vectors = data.vectors[counted].astype(np.float64)
        self._several = self._targets.ndim == 2
        self._total = weights.sum()
        self._mean = weights @ vectors / self._total
        vectors -= self._mean
        variance = weights @ np.einsum("nd,nd->n", vectors, vectors) / (self._total * vectors.shape[1])
        self._scale = np.sqrt(variance) if variance > 0 else 1.0
        vectors /= self._scale
        roots = np.sqrt(weights / self._total)[:, None]
        vectors *= roots  # in place: of many images, this is most of the memory
        self._basis, self._variances = _principal_axes(vectors)
        if dtype is None:
            dtype = np.float32 if len(vectors) * classes * len(self._variances) > LARGE else np.float64
        features = vectors @ self._basis
        features /= roots
        self._features = features.astype(dtype, copy=False)
        self._weights = weights / self._total

    def fit(self, strength: float, *, start: Head | None = None, tolerance: float) -> Head:
        """The head whose mean loss is at most about ``tolerance`` above the least, found from ``start`` on.

        It minimizes ``strength`` times the sum of the weighted log losses plus half the squares of the kernel, as
        scikit-learn does. For two classes, scikit-learn has only one logit, whose square counts half as much as that of
        two.
        """
        penalty = (2 if self._classes == 2 and not self._several else 1) / (strength * self._total)
        dtype = self._features.dtype
        kernel = np.zeros((len(self._variances) + 1, self._classes)) if start is None else self._inner(start)
        # In the axes of the images, with steps that fit the curvature in each, L-BFGS takes few of them.
        scores, _ = self._scores(kernel.astype(dtype))
        curvature = max(float((scores * (1 - scores)).mean()), 1e-4)
        steps = (1 / np.sqrt(np.append(curvature * self._variances + penalty, curvature)))[:, None].astype(dtype)
        shrunk = np.append(np.full(len(self._variances), penalty), 0)[:, None].astype(dtype)
        weights = self._weights.astype(dtype)[:, None]
        images = np.arange(len(self._targets))

        def objective(point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            kernel = steps * point
            scores, losses = self._scores(kernel)
            if self._several:
                scores -= self._targets
            else:
                scores[images, self._targets] -= 1
            scores *= weights
            slope = np.empty_like(kernel)
            np.matmul(self._features.T, scores, out=slope[:-1])
            scores.sum(axis=0, out=slope[-1])
            decay = shrunk * kernel
            value = self._weights @ losses + np.vdot(decay, kernel) / 2
            slope += decay
            slope *= steps
            return float(value), slope

        found = minimize(objective, (kernel / steps).astype(dtype), tolerance=tolerance)
        return self._outer((steps * found).astype(np.float64))

    def measure(self, head: Head) -> tuple[float, float]:
        """What `measure` says of a head, on the images that it was fitted on."""
        scores, _ = self._scores(self._inner(head).astype(self._features.dtype))
        return measure(scores, self._targets, self._weights)

    def _scores(self, kernel: NDArray[Any]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """The probabilities and the log losses of the images."""
        scores = self._features @ kernel[:-1] + kernel[-1]
        if self._several:
            losses = np.logaddexp(0, scores) - self._targets * scores
            return np.exp(-np.logaddexp(0, -scores)), losses.sum(axis=1)
        scores -= scores.max(axis=1, keepdims=True)
        true = scores[np.arange(len(scores)), self._targets]
        np.exp(scores, out=scores)
        sums = scores.sum(axis=1)
        scores /= sums[:, None]
        return scores, np.log(sums) - true

    def _outer(self, kernel: NDArray[np.float64]) -> Head:
        """The head for embeddings as they are, from a kernel with its bias below, for the axes of the images."""
        outer = self._basis @ kernel[:-1] / self._scale
        bias = kernel[-1] - self._mean @ outer
        return Head([(outer.astype(np.float32), bias.astype(np.float32))], self._several)

    def _inner(self, head: Head) -> NDArray[np.float64]:
        """The opposite of `_outer`."""
        ((kernel, bias),) = head.layers
        return np.vstack([self._scale * (self._basis.T @ kernel), bias + self._mean @ kernel])


def _principal_axes(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An orthonormal basis ``(D, r)`` of the span of vectors ``(n, D)``, and the sum of squares along each axis.

    The penalty is the same in any rotation, and the best kernel lies in the span of the images. So a fit in these axes
    gives the same answer, and costs less with fewer images than features.
    """
    images, features = vectors.shape
    values, rotation = np.linalg.eigh(vectors @ vectors.T if images < features else vectors.T @ vectors)
    kept = values > max(values.max(), 1e-300) * 1e-10
    values, rotation = values[kept], rotation[:, kept]
    return vectors.T @ (rotation / np.sqrt(values)) if images < features else rotation, values
