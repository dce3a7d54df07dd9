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


@dataclass(frozen=True)
class HeadData:
    """Embeddings ``(n, D)``, the index of each image's class, and what each image counts."""

    vectors: NDArray[np.float32]
    targets: NDArray[np.intp]
    weights: NDArray[np.float64]

    def keep(self, which: NDArray[np.bool_]) -> HeadData:
        """Some of the images."""
        return HeadData(self.vectors[which], self.targets[which], self.weights[which])


@dataclass(frozen=True, eq=False)
class LayersHead:
    """Layers of Keras, as what makes them anew: their classes, their configurations and their weights."""

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

    taken = layer_names(trunk)  # Keras's own names begin anew in each process, and may be those of the trunk
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
    classes = weights[-1][0].shape[1]
    built.append(keras.layers.Dense(classes, activation="softmax", dtype="float32", name=free_name("head", taken)))
    model = keras.Model(trunk.inputs, built[-1](x), name=trunk.name)
    for layer, values in zip(built, weights, strict=True):
        layer.set_weights(values)
    return model


def measure(
    probabilities: NDArray[np.floating], targets: NDArray[np.intp], weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """The mean log loss in nats, in which each image counts its weight, and the part whose best class is true."""
    true = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    losses = -np.log(np.maximum(true, 1e-12))
    return float(np.average(losses, weights=weights)), float((probabilities.argmax(axis=1) == targets).mean())
