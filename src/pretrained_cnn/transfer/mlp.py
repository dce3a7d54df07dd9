"""A head with one hidden layer and dropout, trained with Keras on embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.transfer.fit import Step, fit
from pretrained_cnn.transfer.heads import DROPOUT, HIDDEN, HeadData, measure

BATCH_SIZE = 32


def mlp(
    train: HeadData, validation: HeadData, *, classes: int, epochs: int, learning_rate: float, seed: int
) -> tuple[Head, list[dict[str, Any]]]:
    """The head with the least log loss on ``validation``, and what each epoch gave there."""
    mean, deviation = train.vectors.mean(axis=0), train.vectors.std(axis=0)
    deviation[deviation == 0] = 1.0
    inputs, held = ((part.vectors - mean) / deviation for part in (train, validation))
    hidden = keras.layers.Dense(HIDDEN, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed))
    output = keras.layers.Dense(
        classes, activation="softmax", kernel_initializer=keras.initializers.GlorotUniform(seed + 1)
    )
    model = keras.Sequential([keras.Input((inputs.shape[1],)), hidden, keras.layers.Dropout(DROPOUT), output])

    def steps(epoch: int) -> Iterator[Step]:
        order = np.random.default_rng([seed, epoch]).permutation(len(inputs))
        for start in range(0, len(order), BATCH_SIZE):
            part = order[start : start + BATCH_SIZE]
            yield Step(inputs[part], train.targets[part], train.weights[part])

    rows = fit(
        model,
        steps,
        lambda: measure(np.asarray(model.predict_on_batch(held)), validation.targets, validation.weights),
        stage="head",
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
    )
    kernel, bias = hidden.get_weights()
    kernel = kernel / deviation[:, None]
    return Head([(kernel, bias - mean @ kernel), tuple(output.get_weights())]), rows
