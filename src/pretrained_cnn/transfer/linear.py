"""Logistic regression on embeddings, with the strength of its regularization chosen by images that it has not seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._progress import report
from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.transfer.heads import HeadData, measure, metric_names

log = logging.getLogger(__name__)

FIRST = -4
"""The exponent of the first strength that is tried, in half decades: C = 0.01."""

LIMIT = 16
"""The exponent beyond which no strength is tried, either way: C = 1e-8 and 1e8."""

PATIENCE = 2
"""The search continues until this number of strengths in a row have not lowered the loss."""

LEAST_GAIN = 1e-4
"""What a strength must lower the loss by, in nats, to be better than another."""

ROUGHLY, CLOSELY = 1e-7, 1e-10
"""How far the mean loss may be from its minimum, in nats, while strengths are compared and in the end."""

LARGE = 2**25
"""From this number of logits times features on, strengths are compared in float32, which takes half the time."""


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
    trials. Embeddings are centered and divided by one number, the root of their mean variance: dividing each feature by
    a deviation of its own costs accuracy where it is estimated from a few images. All of that ends up in the kernel.
    """
    problems = [(Regression(fitted, classes), held) for fitted, held in trials]
    heads: list[Head | None] = [None] * len(problems)

    targets, weights = (np.concatenate([getattr(held, of) for _, held in trials]) for of in ("targets", "weights"))

    names = metric_names(train.targets.ndim == 2)
    on_train: dict[float, NDArray[np.float64]] = {}
    on_held: dict[float, NDArray[np.float64]] = {}

    def loss_of(strength: float) -> tuple[float, float]:
        scores, fits = [], []
        for i, (problem, held) in enumerate(problems):
            heads[i] = head = problem.fit(strength, start=heads[i], tolerance=ROUGHLY)
            scores.append(head(held.vectors))
            fits.append(problem.measure(head))
        on_train[strength] = np.mean(fits, axis=0)
        on_held[strength] = np.concatenate(scores)
        found = measure(on_held[strength], targets, weights)
        report("head", len(on_held))
        log.info("head: C=%.3g gives %s %.4f and %s %.4f", strength, names[0], found[0], names[1], found[1])
        return found

    report("head", 0)
    strength, tried = _search(loss_of)
    keys = (*names, *(f"validation_{name}" for name in names))
    rows = [
        {"stage": "head", "C": c, **dict(zip(keys, (*on_train[c].tolist(), *found), strict=True))}
        for c, found in sorted(tried.items())
    ]
    start = heads[0] if len(heads) == 1 else None
    head = Regression(train, classes, np.float64).fit(strength, start=start, tolerance=CLOSELY)
    return Fitted(head, strength, rows, on_held[strength], targets)


def _search(
    loss_of: Callable[[float], tuple[float, float]],
) -> tuple[float, dict[float, tuple[float, float]]]:
    """The best strength, and all that were tried, each with what ``loss_of`` gives for it.

    The loss falls and then rises with the strength. So the search continues in steps of half a decade until it is
    past the best one, first to weaker and, without a gain, to stronger regularization. A fixed grid could end before
    the best one.
    """
    best = 10.0 ** (FIRST / 2)
    tried = {best: loss_of(best)}
    for step in (1, -1):
        exponent, waited = FIRST, 0
        while waited < PATIENCE and abs(exponent) < LIMIT:
            exponent += step
            strength = 10.0 ** (exponent / 2)
            tried[strength] = loss_of(strength)
            gained = tried[best][0] - tried[strength][0] > LEAST_GAIN
            best, waited = (strength, 0) if gained else (best, waited + 1)
        if best > 10.0 ** (FIRST / 2):
            break
    return best, tried


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
        variance = weights @ np.square(vectors).mean(axis=1) / self._total
        self._scale = np.sqrt(variance) if variance > 0 else 1.0
        vectors /= self._scale
        self._basis, self._variances = _principal_axes(np.sqrt(weights / self._total)[:, None] * vectors)
        if dtype is None:
            dtype = np.float32 if len(vectors) * classes * len(self._variances) > LARGE else np.float64
        self._features = (vectors @ self._basis).astype(dtype)
        self._weights = weights / self._total

    def fit(self, strength: float, *, start: Head | None = None, tolerance: float) -> Head:
        """The head whose mean loss is at most about ``tolerance`` above the least, found from ``start`` on.

        It minimizes ``strength`` times the sum of the weighted log losses plus half the squares of the kernel, as
        scikit-learn does. For two classes, scikit-learn has only one logit, whose square counts half as much as that of
        two.
        """
        from scipy.optimize import minimize

        penalty = (2 if self._classes == 2 and not self._several else 1) / (strength * self._total)
        kernel = np.zeros((len(self._variances) + 1, self._classes)) if start is None else self._inner(start)
        # In the axes of the images, with steps that fit the curvature in each, L-BFGS takes few of them.
        scores, _ = self._scores(kernel)
        curvature = max(float((scores * (1 - scores)).mean()), 1e-4)
        steps = 1 / np.sqrt(np.append(curvature * self._variances + penalty, curvature))
        images = np.arange(len(self._targets))
        gap = np.inf

        def objective(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            nonlocal gap
            kernel = steps[:, None] * point.reshape(-1, self._classes)
            scores, losses = self._scores(kernel)
            if self._several:
                scores -= self._targets
            else:
                scores[images, self._targets] -= 1
            scores *= self._weights[:, None].astype(scores.dtype)
            slope = np.vstack([self._features.T @ scores, scores.sum(axis=0)]).astype(np.float64)
            slope[:-1] += penalty * kernel[:-1]
            slope *= steps[:, None]
            gap = float(np.square(slope).sum()) / 2
            return self._weights @ losses + penalty / 2 * np.square(kernel[:-1]).sum(), slope.ravel()

        def stop(_: NDArray[np.float64]) -> None:
            if gap < tolerance:
                raise StopIteration

        found = minimize(
            objective,
            (kernel / steps[:, None]).ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop,
            options={"maxiter": 10_000, "maxfun": 20_000, "ftol": 0, "gtol": 0},
        )
        return self._outer(steps[:, None] * found.x.reshape(-1, self._classes))

    def measure(self, head: Head) -> tuple[float, float]:
        """What `measure` says of a head, on the images that it was fitted on."""
        scores, _ = self._scores(self._inner(head))
        return measure(scores, self._targets, self._weights)

    def _scores(self, kernel: NDArray[np.float64]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """The probabilities and the log losses of the images."""
        kernel = kernel.astype(self._features.dtype)
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
