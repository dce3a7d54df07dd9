"""Heads: what turns an embedding into the probabilities of the user's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.scores import average_precision

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class HeadData:
    """Embeddings ``(n, D)``, the classes of each image as in `Images.targets`, and what each image counts."""

    vectors: NDArray[np.float32]
    targets: NDArray[Any]
    weights: NDArray[np.float64]

    def keep(self, which: NDArray[np.bool_]) -> HeadData:
        """Some of the images."""
        return HeadData(self.vectors[which], self.targets[which], self.weights[which])


@dataclass(frozen=True, eq=False)
class LayersHead:
    """Layers of Keras, as what makes them again: their classes, their configurations and their weights."""

    layers: Sequence[tuple[type[keras.Layer], dict[str, Any], list[NDArray[Any]]]]

    @classmethod
    def of(cls, layers: Sequence[keras.Layer]) -> LayersHead:
        """The head that these layers are."""
        return cls([(type(layer), layer.get_config(), layer.get_weights()) for layer in layers])

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """All weights."""
        return [array for _, _, weights in self.layers for array in weights]


AnyHead = Head | LayersHead


def arrays_of(head: AnyHead) -> list[NDArray[Any]]:
    """All weights of a head."""
    return head.arrays if isinstance(head, LayersHead) else [array for layer in head.layers for array in layer]


def last_width(head: AnyHead) -> int:
    """What the layer of the classes takes, the size of an embedding of the network with this head."""
    return int(arrays_of(head)[-2].shape[0])


def attach(head: AnyHead, trunk: keras.Model, dropout: float = 0.0) -> keras.Model:
    """The network of ``trunk``, which gives embeddings ``(N, D)``, and ``head``; ``dropout`` is that of an MLP."""
    import keras

    from pretrained_cnn.backbones.graph import free_name, layer_names

    taken = layer_names(trunk)  # Keras's own names begin again in each process, and may be those of the backbone
    x = trunk.outputs[0]
    if isinstance(head, LayersHead):
        built = []
        for kind, config, _ in head.layers[:-1]:
            name = free_name(f"head_{config['name']}", taken)
            taken = [*taken, name]
            built.append(kind.from_config({**config, "name": name}))
            x = built[-1](x)
        weights = [array for _, _, array in head.layers]
    else:
        built = []
        for number, (kernel, _) in enumerate(head.layers[:-1], 1):
            name = free_name(f"head_hidden_{number}", taken)
            built.append(keras.layers.Dense(kernel.shape[1], activation="relu", name=name))
            x = keras.layers.Dropout(dropout, name=free_name(f"head_dropout_{number}", taken))(built[-1](x))
        weights = [list(layer) for layer in head.layers]
    classes, name = weights[-1][0].shape[1], free_name("head", taken)
    activation = "sigmoid" if isinstance(head, Head) and head.multi_label else "softmax"
    built.append(keras.layers.Dense(classes, activation=activation, dtype="float32", name=name))
    model = keras.Model(trunk.inputs, built[-1](x), name=trunk.name)
    for layer, values in zip(built, weights, strict=True):
        layer.set_weights(values)
    return model


def metric_names(multi_label: bool) -> tuple[str, str]:
    """What the two numbers of `measure` are called."""
    return ("loss", "mean_average_precision" if multi_label else "accuracy")


def measure(
    probabilities: NDArray[np.floating], targets: NDArray[Any], weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """The mean log loss in nats, in which each image counts its weight, and the part whose best class is true.

    Where an image may have several labels, the log loss is the mean over them, and the second number their mean average
    precision.
    """
    if targets.ndim == 2:
        true = np.where(targets, probabilities, 1 - probabilities)
        losses = -np.log(np.maximum(true, 1e-12)).mean(axis=1)
        columns = np.flatnonzero(targets.any(axis=0))
        precisions = [average_precision(targets[:, i], probabilities[:, i]) for i in columns]
        return float(np.average(losses, weights=weights)), float(np.mean(precisions))
    true = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    losses = -np.log(np.maximum(true, 1e-12))
    return float(np.average(losses, weights=weights)), float((probabilities.argmax(axis=1) == targets).mean())


def best_thresholds(probabilities: NDArray[np.floating], targets: NDArray[np.bool_]) -> tuple[float, ...]:
    """For each label the threshold with the greatest F1 on these images, the nearest to 0.5 of equals.

    It lies halfway between the scores of two images. 0.5 for a label that no image has.
    """
    found = []
    for scores, true in zip(probabilities.T.astype(np.float64), targets.T, strict=True):
        order = np.argsort(-scores)
        sorted_scores, right = scores[order], np.cumsum(true[order])
        halfway = (sorted_scores + np.append(sorted_scores[1:], 0.0)) / 2
        f1 = 2 * right / (np.arange(1, len(scores) + 1) + true.sum())
        f1[np.diff(sorted_scores, append=-1.0) == 0] = 0  # no threshold tells equal scores apart
        equals = np.flatnonzero(f1 > f1.max() - 1e-12)
        found.append(float(halfway[equals[np.abs(halfway[equals] - 0.5).argmin()]]) if true.any() else 0.5)
    return tuple(found)
