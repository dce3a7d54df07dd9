"""Logistic regression on embeddings, with the strength of its regularization chosen by images that it has not seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._progress import report
from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.transfer.heads import HeadData, measure, metric_names
from pretrained_cnn.transfer.minimize import Slope, minimize

log = logging.getLogger(__name__)

LIMIT = 16
"""The exponent beyond which no strength is tried, either way, in half decades: C = 1e-8 and 1e8."""

STRONG = -2
"""The exponent that is tried first. Such a strong regularization is fitted quickly, and is a good start for others."""

PRIOR = 1.0
"""The width of the prior of the strength, in half decades around C = 1."""

LEAST_GAIN = 1e-4
"""What a strength must lower the loss by, in nats, to be better than another."""

ROUGHLY, CLOSELY = 1e-6, 1e-10
"""How far the loss may be from its minimum, as a share of it, while strengths are compared, and in the end."""

LARGE = 2**25
"""From this number of logits times features on, heads are fitted in float32, which takes half the time."""

LARGE_ROUGHLY, LARGE_CLOSELY = 1e-3, 1e-4
"""The same shares for heads that are fitted in float32."""

BLOCK = 2**18
"""The number of logits that become probabilities at once: few enough for the cache of a processor."""

LEAST_CURVATURE = 1e-12
"""The least curvature of the loss in a logit that is reckoned with; it is 0 where all is certain."""


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
    tried: Mapping[int, Head]
    """The head of the first trial at each strength, by the exponent of the strength in half decades."""


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
    final = Regression(train, classes)
    best = round(2 * np.log10(chosen.strength))
    heads: dict[int, list[Head]] = {}
    # To weak regularization, the way is shorter from strong regularization than from the head of fewer images at once:
    # that head is sure of itself, and wrong, on some of the others.
    for exponent in (*range(STRONG, best, 2), best):
        (start,) = _starts(exponent, heads) if heads else [chosen.tried[exponent]]
        tolerance = final.tolerance(in_the_end=exponent == best)
        heads[exponent] = [final.fit(10.0 ** (exponent / 2), start=start, tolerance=tolerance)]
    (head,) = heads[best]
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
        starts = _starts(exponent, heads) if heads else [None] * len(problems)
        strength = 10.0 ** (exponent / 2)
        heads[exponent] = [
            problem.fit(strength, start=start, tolerance=problem.tolerance(in_the_end=False))
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
    return Fitted(heads[best][0], 10.0 ** (best / 2), rows, on_held[best], targets, {i: heads[i][0] for i in heads})


def _starts(exponent: int, heads: Mapping[int, list[Head]]) -> list[Head]:
    """About the heads of a strength: on the line through those of the two nearest strengths.

    Where the images can be told apart, the kernel grows evenly with the logarithm of the strength.
    """
    first, *others = sorted(heads, key=lambda tried: abs(tried - exponent))
    if not others:
        return heads[first]
    share = (exponent - first) / (others[0] - first)
    starts = []
    for one, other in zip(heads[first], heads[others[0]], strict=True):
        kernel, bias = ((1 - share) * a + share * b for a, b in zip(one.layers[0], other.layers[0], strict=True))
        starts.append(Head([(kernel, bias)], one.multi_label))
    return starts


def _search(loss_of: Callable[[int], float]) -> int:
    """The exponent, in half decades, of the best strength.

    The loss falls and then rises with the strength. So the search goes by decades until it is past the best one, and
    then tries the half decade beside it, on the side where the loss is lower; there is no grid whose end might be the
    best.
    """
    tried = {exponent: loss_of(exponent) for exponent in (STRONG, 0)}
    best = 0 if tried[0] < tried[STRONG] else STRONG
    for step in (2, -2):
        while abs(best + step) <= LIMIT and best + step not in tried:
            tried[best + step] = loss_of(best + step)
            if tried[best] - tried[best + step] > LEAST_GAIN:
                best += step
    decades = [exponent for exponent in (best - 2, best + 2) if exponent in tried]
    beside = (best + min(decades, key=lambda exponent: tried[exponent])) // 2
    return beside if tried[best] - loss_of(beside) > LEAST_GAIN else best


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
        self._large = len(vectors) * classes * len(self._variances) > LARGE
        if dtype is None:
            dtype = np.float32 if self._large else np.float64
        features = vectors @ self._basis
        features /= roots
        self._features = features.astype(dtype, copy=False)
        self._weights = weights / self._total

    def tolerance(self, *, in_the_end: bool) -> float:
        """How far the loss may be from its minimum, as a share of it."""
        if self._large:
            return LARGE_CLOSELY if in_the_end else LARGE_ROUGHLY
        return CLOSELY if in_the_end else ROUGHLY

    def fit(self, strength: float, *, start: Head | None = None, tolerance: float) -> Head:
        """The head whose mean loss is at most about ``tolerance`` above the least, found from ``start`` on.

        It minimizes ``strength`` times the sum of the weighted log losses plus half the squares of the kernel, as
        scikit-learn does. For two classes, scikit-learn has only one logit, whose square counts half as much as that of
        two.
        """
        penalty = (2 if self._classes == 2 and not self._several else 1) / (strength * self._total)
        dtype = self._features.dtype
        kernel = np.zeros((len(self._variances) + 1, self._classes)) if start is None else self._inner(start)
        variances = np.append(self._variances, 1)[:, None].astype(dtype)
        penalties = np.append(np.full(len(self._variances), penalty), 0)[:, None].astype(dtype)
        weights = self._weights.astype(dtype)[:, None]

        def objective(kernel: NDArray[Any]) -> tuple[float, Slope]:
            errors, losses, curvature = self._errors(kernel)
            decay = penalties * kernel

            def slope() -> tuple[NDArray[Any], NDArray[Any]]:
                np.multiply(errors, weights, out=errors)
                found = np.empty_like(kernel)
                np.matmul(self._features.T, errors, out=found[:-1])
                errors.sum(axis=0, out=found[-1])
                found += decay
                return found, 1 / (np.asarray(curvature, dtype) * variances + penalties)

            return self._weights @ losses + float(np.vdot(decay, kernel)) / 2, slope

        # In the axes of the images, where the curvature of each variable is about known, L-BFGS takes few steps.
        found = minimize(objective, kernel.astype(dtype), tolerance=tolerance)
        return self._outer(found.astype(np.float64))

    def measure(self, head: Head) -> tuple[float, float]:
        """What `measure` says of a head, on the images that it was fitted on."""
        scores, _, _ = self._errors(self._inner(head).astype(self._features.dtype))
        if self._several:
            scores += self._targets
        else:
            scores[np.arange(len(scores)), self._targets] += 1
        return measure(scores, self._targets, self._weights)

    def _errors(self, kernel: NDArray[Any]) -> tuple[NDArray[np.floating], NDArray[np.floating], float]:
        """What `_errors_of` says of the images, and the curvature of the mean loss in the logit of a class."""
        errors = self._features @ kernel[:-1]
        losses = np.empty(len(errors), errors.dtype)
        curvature = 0.0
        rows = max(1, BLOCK // self._classes)
        for start in range(0, len(errors), rows):  # a block stays in the processor's cache from step to step
            block = slice(start, start + rows)
            losses[block], curvatures = _errors_of(errors[block], kernel[-1], self._targets[block])
            curvature += float(self._weights[block] @ curvatures)
        return errors, losses, max(curvature / self._classes, LEAST_CURVATURE)

    def _outer(self, kernel: NDArray[np.float64]) -> Head:
        """The head for embeddings as they are, from a kernel with its bias below, for the axes of the images."""
        outer = self._basis @ kernel[:-1] / self._scale
        bias = kernel[-1] - self._mean @ outer
        return Head([(outer.astype(np.float32), bias.astype(np.float32))], self._several)

    def _inner(self, head: Head) -> NDArray[np.float64]:
        """The opposite of `_outer`."""
        ((kernel, bias),) = head.layers
        return np.vstack([self._scale * (self._basis.T @ kernel), bias + self._mean @ kernel])


def _errors_of(
    logits: NDArray[Any], bias: NDArray[Any], targets: NDArray[Any]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Turn logits ``(n, C)`` into errors, in place: probabilities less 1 for the true class.

    Gives the log loss, and the sum over the classes of p (1 - p), ``(n,)`` each. All three are also precise where they
    are close to 0, since nothing is subtracted from 1.
    """
    logits += bias
    if targets.ndim == 2:
        np.negative(logits, out=logits, where=targets)
        losses = np.logaddexp(0, logits)
        np.exp(logits - losses, out=logits)
        curvatures = logits.sum(axis=1) - np.einsum("nc,nc->n", logits, logits)
        np.negative(logits, out=logits, where=targets)
        return losses.sum(axis=1), curvatures
    images = np.arange(len(logits))
    logits -= logits.max(axis=1, keepdims=True)
    true = logits[images, targets]
    np.exp(logits, out=logits)
    logits[images, targets] = 0
    own, others = np.exp(true), logits.sum(axis=1)
    sums = own + others
    logits /= sums[:, None]
    doubts = others / sums
    curvatures = doubts * (2 - doubts) - np.einsum("nc,nc->n", logits, logits)
    logits[images, targets] = -doubts
    return np.where(own < others, np.log(sums) - true, np.log1p(others / np.maximum(own, others))), curvatures


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
