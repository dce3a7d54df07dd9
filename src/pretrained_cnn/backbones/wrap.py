"""A spec for a Keras model that exists already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from pretrained_cnn.backbones.build import last_activation
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.spec import ModelSpec, ResizePolicy


def wrap(
    model: keras.Model,
    *,
    labels: Sequence[str | tuple[str, str]],
    preprocess: Callable[..., Any] | None = None,
    resize: ResizePolicy | None = None,
    input_size: tuple[int, int] | None = None,
    from_logits: bool = False,
) -> ModelSpec:
    """The spec whose builder gives ``model`` itself; with ``from_logits``, followed by a softmax."""
    if not isinstance(model, keras.Model):
        raise InvalidArgumentError(f"from_keras takes a keras.Model, not an object of type {type(model).__name__}")
    size = input_size or _input_size(model)
    if not getattr(model, "inputs", None):  # a subclassed model: its graph is known only by calling it
        pixels = keras.Input((*size, 3))
        model = keras.Model(pixels, model(pixels), name=model.name)
    if from_logits:
        activation = last_activation(model)
        if activation not in (None, "linear"):
            raise InvalidArgumentError(
                f"from_logits=True, but the last layer of {model.name!r} ends in {activation}: "
                "its outputs are no logits; leave from_logits out"
            )
        model = keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]), name=model.name)
    network = model
    return ModelSpec(
        name=model.name,
        builder=lambda input_shape: network,
        input_size=size,
        preprocess=preprocess,
        labels=labels,
        resize=resize or ResizePolicy(),
    )


def _input_size(model: keras.Model) -> tuple[int, int]:
    try:
        _, height, width, _ = model.inputs[0].shape
    except (AttributeError, IndexError, TypeError, ValueError):
        height = width = None
    if height is None or width is None:
        raise InvalidArgumentError(f"the input of {model.name!r} leaves its size open; give input_size=(height, width)")
    return height, width
