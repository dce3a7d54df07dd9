"""Heads: what turns an embedding into the probabilities of the user's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.runtimes.head import Head

if TYPE_CHECKING:
    import keras

STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 3))
"""The inverse strengths of regularization that are tried, scikit-learn's ``C``: 0.0001 to 10 in half decades."""

HIDDEN = 256
DROPOUT = 0.5


@dataclass(frozen=True)
class HeadData:
    """Embeddings ``(n, D)``, the index of each image's class, and what each image counts."""

    vectors: NDArray[np.float32]
    targets: NDArray[np.intp]
    weights: NDArray[np.float64]


def attach(head: Head, trunk: keras.Model) -> keras.Model:
    """The network of ``trunk``, which gives embeddings ``(N, D)``, and ``head``."""
    import keras

    from pretrained_cnn.backbones.graph import free_name, layer_names

    taken = layer_names(trunk)  # Keras's own names begin anew in each process, and may be those of the trunk
    x = trunk.outputs[0]
    built = []
    for number, (kernel, _) in enumerate(head.layers[:-1], 1):
        name = free_name(f"head_hidden_{number}", taken)
        built.append(keras.layers.Dense(kernel.shape[1], activation="relu", name=name))
        x = keras.layers.Dropout(DROPOUT, name=free_name(f"head_dropout_{number}", taken))(built[-1](x))
    name, classes = free_name("head", taken), head.layers[-1][0].shape[1]
    built.append(keras.layers.Dense(classes, activation="softmax", dtype="float32", name=name))
    model = keras.Model(trunk.inputs, built[-1](x), name=trunk.name)
    for layer, weights in zip(built, head.layers, strict=True):
        layer.set_weights(list(weights))
    return model


def measure(probabilities: NDArray[np.floating], targets: NDArray[np.intp]) -> tuple[float, float]:
    """The mean log loss in nats, and the part whose best class is the true one."""
    true = probabilities[np.arange(len(targets)), targets]
    loss = -np.log(np.maximum(true, 1e-12)).mean()
    return float(loss), float((probabilities.argmax(axis=1) == targets).mean())


def linear(train: HeadData, validation: HeadData, *, refit: bool) -> tuple[Head, list[dict[str, Any]], float]:
    """Logistic regression on standardized embeddings, with the one of `STRENGTHS` that is best on ``validation``.

    That is the one with the least log loss. With it the head is fitted to convergence on ``train``, or, with ``refit``,
    on both. Gives the head, what each strength gave on validation, and the strength chosen.
    """
    rows: list[dict[str, Any]] = []
    for strength, head in zip(STRENGTHS, _fit(train, STRENGTHS), strict=True):
        loss, accuracy = measure(head(validation.vectors), validation.targets)
        rows.append({"stage": "head", "C": strength, "validation_loss": loss, "validation_accuracy": accuracy})
    best = int(np.argmin([row["validation_loss"] for row in rows]))
    if refit:
        pairs = ((getattr(train, name), getattr(validation, name)) for name in ("vectors", "targets", "weights"))
        train = HeadData(*(np.concatenate(pair) for pair in pairs))
    (head,) = _fit(train, [STRENGTHS[best]], tolerance=1e-7)
    if not refit:
        loss, accuracy = measure(head(validation.vectors), validation.targets)
        rows[best] |= {"validation_loss": loss, "validation_accuracy": accuracy}
    return head, rows, STRENGTHS[best]


def _fit(train: HeadData, strengths: Sequence[float], tolerance: float = 1e-4) -> list[Head]:
    """A head for each strength, each fit starting where the one before it ended."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    vectors = train.vectors.astype(np.float64)
    mean, deviation = vectors.mean(axis=0), vectors.std(axis=0)
    deviation[deviation == 0] = 1.0
    with threadpool_limits(1):  # the matrices are small: more threads take longer, and need not agree to the last bit
        features, basis = _in_span((vectors - mean) / deviation)
        model = LogisticRegression(max_iter=5000, warm_start=True, tol=tolerance)
        heads = []
        for strength in strengths:
            model.set_params(C=strength).fit(features, train.targets, sample_weight=train.weights)
            kernel, bias = _kernel_and_bias(model)
            heads.append(_with_scaling(kernel if basis is None else basis @ kernel, bias, mean, deviation))
    return heads


def _in_span(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Features ``(n, D)`` in coordinates of the span of the images, and its basis; as they are if ``n`` >= ``D``.

    The penalty is the same in any rotation, and the best kernel lies in the span of the images, so the fit there gives
    the same answer for a part of the cost.
    """
    if features.shape[0] >= features.shape[1]:
        return features, None
    values, rotation = np.linalg.eigh(features @ features.T)
    kept = values > values.max() * 1e-10
    basis = features.T @ (rotation[:, kept] / np.sqrt(values[kept]))
    return features @ basis, basis


def _kernel_and_bias(model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The layer that a fitted model of scikit-learn is. Of two classes it has the second's logit only."""
    kernel, bias = model.coef_.T, model.intercept_
    if kernel.shape[1] == 1:
        return np.hstack([0 * kernel, kernel]), np.append(0 * bias, bias)
    return kernel, bias


def _with_scaling(
    kernel: NDArray[np.float64], bias: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> Head:
    """The head for embeddings as they are, from a kernel for standardized ones."""
    kernel = kernel / deviation[:, None]
    return Head([(kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32))])
