"""Heads that are trained with Keras on embeddings, epoch by epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from pretrained_cnn._check import brief
from pretrained_cnn._process import random_kept
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.transfer.fit import Step, fit
from pretrained_cnn.transfer.heads import AnyHead, HeadData, LayersHead, measure
from pretrained_cnn.transfer.settings import MLP, Schedule


def check_head(layers: Sequence[keras.Layer], width: int) -> None:
    """Raise InvalidArgumentError unless the layers turn embeddings of that width into vectors."""
    inputs = keras.Input((width,))
    try:
        shape = _apply(_fresh(layers), inputs).shape
    except Exception as error:  # each layer raises its own
        raise InvalidArgumentError(
            f"head=...: the layers do not take an embedding of shape (N, {width}): {brief(error)}"
        ) from None
    if len(shape) != 2 or shape[1] is None:
        raise InvalidArgumentError(
            f"head=...: the layers give {shape} of an embedding; they must give vectors (N, D); end with Flatten()"
        )


def fit_layers(
    train: HeadData,
    validation: HeadData,
    layers: MLP | Sequence[keras.Layer],
    classes: int,
    schedule: Schedule,
    seed: int,
) -> tuple[AnyHead, list[dict[str, Any]]]:
    """The head with the least log loss on ``validation``, and what each epoch gave there.

    A Keras layer is copied by its configuration, so that the one that was given stays as it is. Embeddings are centered
    and divided by one number, as for the linear head: a deviation for each feature costs accuracy with few images. The
    scaling is merged into the weights of an `MLP`, and is a layer before other layers.
    """
    mean = train.vectors.mean(axis=0)
    deviation = np.sqrt(train.vectors.var(axis=0).mean()) or np.float32(1)
    inner = _layers_of(layers, seed) if isinstance(layers, MLP) else _seeded(layers, seed)
    initializer = keras.initializers.GlorotUniform(seed + sum(isinstance(layer, keras.layers.Dense) for layer in inner))
    output = keras.layers.Dense(classes, activation="softmax", kernel_initializer=initializer, dtype="float32")
    model = keras.Sequential([keras.Input((train.vectors.shape[1],)), *inner, output])
    inputs, held = ((part.vectors - mean) / deviation for part in (train, validation))

    def steps(epoch: int) -> Iterator[Step]:
        order = np.random.default_rng([seed, epoch]).permutation(len(inputs))
        for start in range(0, len(order), schedule.batch_size):
            part = order[start : start + schedule.batch_size]
            yield Step(inputs[part], train.targets[part], train.weights[part])

    rows = fit(
        model,
        steps,
        lambda: measure(
            keras.ops.convert_to_numpy(model.predict_on_batch(held)), validation.targets, validation.weights
        ),
        schedule,
        kept=model.weights,
        stage="head",
        classes=classes,
        seed=seed,
    )
    if isinstance(layers, MLP):
        (kernel, bias), *others = [layer.get_weights() for layer in model.layers if layer.weights]
        kernel = kernel / deviation
        return Head([(kernel, bias - mean @ kernel), *map(tuple, others)]), rows
    scale = float(1 / deviation)
    scaling = keras.layers.Rescaling(scale, offset=(-scale * mean).tolist(), name="scaling")
    return LayersHead.of([scaling, *model.layers]), rows


def _layers_of(mlp: MLP, seed: int) -> list[keras.Layer]:
    layers: list[keras.Layer] = []
    for i, width in enumerate(mlp.hidden):  # type: ignore[arg-type]  # a tuple, once it is made
        initializer = keras.initializers.GlorotUniform(seed + i)
        layers.append(keras.layers.Dense(width, activation="relu", kernel_initializer=initializer))
        layers.append(keras.layers.Dropout(mlp.dropout))
    return layers


def _seeded(layers: Sequence[keras.Layer], seed: int) -> list[keras.Layer]:
    """Fresh copies, whose seeds are drawn from ``seed`` where they have none of their own."""
    with random_kept():
        random.seed(seed)  # which Keras draws from
        return _fresh(layers)


def _fresh(layers: Sequence[keras.Layer]) -> list[keras.Layer]:
    return [type(layer).from_config(layer.get_config()) for layer in layers]


def _apply(layers: Sequence[keras.Layer], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x
