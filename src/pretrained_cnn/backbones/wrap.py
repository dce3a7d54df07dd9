"""A spec for a Keras model that exists already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.backbones.build import last_function, on_probes, one_output, tolerance
from pretrained_cnn.backbones.graph import free_name, layer_names
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.presets import PixelScaling, choose_preprocess
from pretrained_cnn.scores import EXACT, outside, problem
from pretrained_cnn.spec import ModelSpec, ResizePolicy

KERAS_RESIZE = ResizePolicy("squash", interpolation="bilinear", antialias=False)
"""What Keras's own loaders do with an image: ``image_dataset_from_directory`` and ``tf.image.resize``."""


def wrap(
    model: keras.Model,
    *,
    labels: Iterable[str | tuple[str, str]] | Mapping[Any, Any],
    preprocess: str | Callable[..., Any] | None = None,
    scale: float | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    resize: ResizePolicy | None = None,
    input_size: tuple[int, int] | None = None,
    from_logits: bool = False,
    multi_label: bool = False,
    name: str | None = None,
) -> ModelSpec:
    """The spec whose builder gives ``model`` itself; with ``from_logits``, followed by a softmax or a sigmoid.

    It is called ``name``, or else as the model is.
    """
    if not isinstance(model, keras.Model):
        raise InvalidArgumentError(f"from_keras takes a keras.Model, {_what_it_is(model)}")
    size, channels = _input_shape(model, input_size)
    chosen = choose_preprocess(preprocess, scale, mean, std)
    if isinstance(chosen, PixelScaling):
        chosen = chosen.fitting(channels, f"preprocess={preprocess!r}" if preprocess else "mean=... or std=...")
    spec = ModelSpec(
        name=name or model.name,
        builder=lambda input_shape: network,
        input_size=size,
        channels=channels,
        preprocess=chosen,
        labels=labels,
        multi_label=multi_label,
        resize=resize or KERAS_RESIZE,
    )
    network = one_output(spec, model)
    if from_logits:
        network = _with_probabilities(spec, network)
    return spec


def _with_probabilities(spec: ModelSpec, model: keras.Model) -> keras.Model:
    """The model followed by a softmax, or by a sigmoid where classes do not exclude each other or there is one output.

    Raises InvalidArgumentError if it gives probabilities already, or what cannot be logits.
    """
    independent = spec.multi_label or model.outputs[0].shape[-1] == 1
    activation, values = last_function(model) or (None, None)
    if activation != "linear" and (values is None or outside(values, EXACT) is None):
        scores = on_probes(spec, model)
        given = (
            outside(scores, 0) is None
            if independent
            else problem(scores, tolerance=tolerance(model)) is None or activation == "sigmoid"
        )
        if given or activation == "softmax":
            raise InvalidArgumentError(
                f"from_logits=True, but the outputs of {model.name!r} are probabilities already, from 0 to 1"
                f"{f', by its {activation}' if activation else ''}; leave from_logits out"
            )
    name = "sigmoid" if independent else "softmax"
    reason = None if values is None else _no_logits(values, independent=independent)
    if reason is not None:
        raise InvalidArgumentError(
            f"from_logits=True, but {model.name!r} ends in {activation}, which {reason}, and logits are any numbers; "
            f"give a model without that function. If it was trained with a {name} of these outputs, add that and leave "
            f"out from_logits: keras.Model(model.inputs, keras.activations.{name}(model.outputs[0]))"
        )
    last = keras.layers.Activation(
        name, name=free_name(f"probabilities_by_{name}", layer_names(model)), dtype="float32"
    )
    return keras.Model(model.inputs[0], last(model.outputs[0]), name=model.name)


def _no_logits(values: NDArray[np.float32], *, independent: bool) -> str | None:
    """Why ``values``, what the last function gives for numbers from -8 to 8, are no logits; None if they can be."""
    if values.min() >= 0:
        return "gives no number below 0"
    if values.max() <= 0:  # the softmax of logarithms of probabilities is these probabilities
        exact = not independent and np.allclose(np.exp(values).sum(axis=-1), 1, atol=1e-3)
        return None if exact else "gives no number above 0"
    return "gives numbers from -1 to 1 only" if np.abs(values).max() <= 1 else None


def _input_shape(model: keras.Model, input_size: tuple[int, int] | None) -> tuple[tuple[int, int], int]:
    """The ``(height, width)`` and the number of channels that a model takes, of whichever layout."""
    inputs = getattr(model, "inputs", None) or []
    shape: tuple[Any, ...] = tuple(inputs[0].shape)[1:] if inputs else (None, None, 3)
    if len(shape) == 2:  # gray, without an axis of channels
        shape = (*shape, 1)
    elif len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
        shape = (*shape[1:], shape[0])
    if len(shape) != 3:
        raise InvalidArgumentError(
            f"the first input of {model.name!r} takes {tuple(inputs[0].shape)}, which is no image "
            "(None, height, width, channels); wrap a model whose only input is an image"
        )
    height, width, channels = shape
    if input_size is None and None in (height, width):
        raise InvalidArgumentError(f"the input of {model.name!r} leaves its size open; give input_size=(height, width)")
    return input_size or (height, width), 1 if channels == 1 else 3


def _what_it_is(model: Any) -> str:
    """What was given in place of a Keras model, with the way to one."""
    kind = type(model)
    if isinstance(model, str | bytes) or hasattr(model, "__fspath__"):
        return f"not a path; load it first: Classifier.from_keras(keras.saving.load_model({model!r}), labels=[...])"
    if isinstance(model, keras.Layer):
        return (
            f"not a layer of type {kind.__name__}; make a model of it: "
            "inputs = keras.Input((height, width, 3)); keras.Model(inputs, layer(inputs))"
        )
    if hasattr(model, "signatures"):
        return (
            "not a SavedModel that tf.saved_model.load gave; wrap it as "
            "keras.Model(inputs, keras.layers.TFSMLayer(path, call_endpoint='serving_default')(inputs))"
        )
    return f"not an object of type {kind.__name__}"
