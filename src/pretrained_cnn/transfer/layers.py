"""Heads that are trained with Keras on embeddings, epoch by epoch; and the checks of what users give of Keras."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from pretrained_cnn._process import random_kept
from pretrained_cnn.errors import InvalidArgumentError, import_package
from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.transfer.fit import Step, fit
from pretrained_cnn.transfer.heads import AnyHead, HeadData, LayersHead, measure
from pretrained_cnn.transfer.settings import MLP, Schedule


def as_layers(head: Any) -> tuple[keras.Layer, ...]:
    """The layers of a head that a user gives, as a tuple. Raises InvalidArgumentError for anything else."""
    layers = (head,) if isinstance(head, keras.Layer) else tuple(head) if isinstance(head, Sequence) else ()
    if not (layers and all(isinstance(layer, keras.Layer) for layer in layers)):
        raise InvalidArgumentError(
            f'head={head!r} is not known; give "linear", "mlp", MLP(hidden=..., dropout=...), or Keras layers'
        )
    activation = getattr(layers[-1], "activation", layers[-1])
    if activation in (keras.activations.softmax, keras.activations.sigmoid) or isinstance(
        activation, keras.layers.Softmax
    ):
        raise InvalidArgumentError(
            f"head=...: its last layer, {layers[-1].name!r}, gives probabilities; leave that layer out, since "
            "training adds the layer of the classes"
        )
    return layers


def check_head(layers: Sequence[keras.Layer], width: int) -> None:
    """Raise InvalidArgumentError unless the layers turn embeddings of that width into vectors."""
    inputs = keras.Input((width,))
    try:
        shape = _apply(_fresh(layers), inputs).shape
    except Exception as error:  # each layer raises its own
        raise InvalidArgumentError(
            f"head=...: the layers do not take an embedding of shape (N, {width}): {str(error).splitlines()[0]}"
        ) from None
    if len(shape) != 2 or shape[1] is None:
        raise InvalidArgumentError(
            f"head=...: the layers give {shape} of an embedding; they must give vectors (N, D); end with Flatten()"
        )


def check_learning_rate(rate: Any) -> None:
    """Raise InvalidArgumentError unless it is None, a number, or a schedule of Keras."""
    if not isinstance(rate, float | keras.optimizers.schedules.LearningRateSchedule | None):
        raise InvalidArgumentError(f"learning_rate={rate!r} is neither a number above 0 nor a schedule of Keras")


def check_optimizer(optimizer: Any, learning_rate: Any) -> None:
    """Raise InvalidArgumentError for what is no optimizer, or has a learning rate beside ``learning_rate``."""
    if isinstance(optimizer, keras.optimizers.Optimizer):
        if learning_rate is not None:
            raise InvalidArgumentError(
                "learning_rate=... cannot be given with an optimizer, which has its own; give one of the two, or the "
                f'optimizer by its name: optimizer="{type(optimizer).__name__.lower()}"'
            )
        try:
            type(optimizer).from_config(optimizer.get_config())
        except Exception as error:  # each optimizer and schedule raises its own
            raise InvalidArgumentError(
                f"optimizer=...: {type(optimizer).__name__} cannot be made anew from its configuration: "
                f"{str(error).splitlines()[0]}; register its classes with keras.saving.register_keras_serializable"
            ) from None
    elif optimizer is not None:
        try:
            keras.optimizers.get(optimizer)
        except (TypeError, ValueError):
            raise InvalidArgumentError(
                f'optimizer={optimizer!r} is not known; give an optimizer of Keras or its name, such as "sgd"'
            ) from None


def as_callbacks(callbacks: Any) -> tuple[keras.callbacks.Callback, ...]:
    """The callbacks that a user gives, as a tuple. Raises InvalidArgumentError for anything else."""
    given = tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)
    for each in given:
        if not isinstance(each, keras.callbacks.Callback):
            raise InvalidArgumentError(f"callbacks=...: {each!r} is not a callback of Keras")
        if isinstance(each, keras.callbacks.TensorBoard):  # Keras asks for it after the first step
            import_package("tensorboard", extra=None)
    return given


def fit_layers(
    train: HeadData,
    validation: HeadData,
    layers: MLP | Sequence[keras.Layer],
    classes: int,
    schedule: Schedule,
    seed: int,
) -> tuple[AnyHead, list[dict[str, Any]]]:
    """The head with the least log loss on ``validation``, and what each epoch gave there.

    A Keras layer is copied by its configuration, so that the one that was given stays as it is. Embeddings are
    standardized; that ends up in the weights of an `MLP`, and in a layer before others.
    """
    mean, deviation = train.vectors.mean(axis=0), train.vectors.std(axis=0)
    if isinstance(layers, MLP):
        deviation[deviation == 0] = 1.0
        inner = _layers_of(layers, seed)
    else:
        deviation = np.sqrt(np.square(deviation).mean()) or np.float32(1)  # one number, as for the linear head
        inner = _seeded(layers, seed)
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
        kernel = kernel / deviation[:, None]
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
