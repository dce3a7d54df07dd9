"""What users give of Keras: layers, optimizers and callbacks, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from pretrained_cnn._check import brief
from pretrained_cnn.errors import InvalidArgumentError, import_package


def as_layers(head: Any) -> tuple[keras.Layer, ...]:
    """The layers of a head that a user gives, as a tuple. Raises InvalidArgumentError for anything else."""
    layers = (head,) if isinstance(head, keras.Layer) else tuple(head) if isinstance(head, Sequence) else ()
    if not (layers and all(isinstance(layer, keras.Layer) for layer in layers)):
        raise InvalidArgumentError(
            f'head={head!r} is not known; give "linear", "mlp", MLP(hidden=..., dropout=...), or Keras layers'
        )
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InvalidArgumentError(f"head=...: two layers are named {repeated!r}; give each a name of its own")
    activation = getattr(layers[-1], "activation", layers[-1])
    if activation in (keras.activations.softmax, keras.activations.sigmoid) or isinstance(
        activation, keras.layers.Softmax
    ):
        raise InvalidArgumentError(
            f"head=...: its last layer, {layers[-1].name!r}, gives probabilities; leave that layer out, since "
            "training adds the layer of the classes"
        )
    return layers


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
                f"optimizer=...: {type(optimizer).__name__} cannot be rebuilt from its configuration: "
                f"{brief(error)}; register its classes with keras.saving.register_keras_serializable"
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
