"""Heads: what turns an embedding into the probabilities of the user's classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.runtimes.head import Head

if TYPE_CHECKING:
    import keras

HIDDEN = 256
DROPOUT = 0.5


@dataclass(frozen=True)
class HeadData:
    """Embeddings ``(n, D)``, the index of each image's class, and what each image counts."""

    vectors: NDArray[np.float32]
    targets: NDArray[np.intp]
    weights: NDArray[np.float64]

    def keep(self, which: NDArray[np.bool_]) -> HeadData:
        """Some of the images."""
        return HeadData(self.vectors[which], self.targets[which], self.weights[which])


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


def measure(
    probabilities: NDArray[np.floating], targets: NDArray[np.intp], weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """The mean log loss in nats, in which each image counts its weight, and the part whose best class is true."""
    true = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    losses = -np.log(np.maximum(true, 1e-12))
    return float(np.average(losses, weights=weights)), float((probabilities.argmax(axis=1) == targets).mean())
