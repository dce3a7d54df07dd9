"""Makes heat maps of what a Keras network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pretrained_cnn._check import choice
from pretrained_cnn._compat import is_open_graph, run_graph
from pretrained_cnn.backbones.build import Backbone
from pretrained_cnn.backbones.serving import serving_graph
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.spec import HeatMapMethod

POOLING = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
ACTIVATIONS = ("Softmax", "Sigmoid", "Activation")
"""Layers and operations of Keras that only bend a score."""


class Explainer:
    """Makes heat maps with one backbone, many images at once. It may be used from several threads.

    The map of features is the last one that has more than one pixel, that of a model within the model included; where
    it is pooled before it is flattened, as in VGG, the one before the pooling. Raises InvalidArgumentError if there is
    none, or if ``method`` is not known.
    """

    def __init__(self, backbone: Backbone, method: HeatMapMethod = "grad_cam") -> None:
        self.method = choice("method", method, get_args(HeatMapMethod))
        self._graph = serving_graph(backbone)
        found = next(_maps(backbone.model), None)
        if found is None:
            raise InvalidArgumentError(
                f"{backbone.spec.name} cannot be explained: no map of features was found in it, of shape (N, h, w, C) "
                "and more than one pixel; build it of keras layers, as a Functional or Sequential model"
            )
        self._target = found
        self._last = _last(backbone.model)
        self._linear = _linear(self._last)

    def __call__(self, pixels: NDArray[np.uint8], targets: NDArray[np.intp]) -> NDArray[np.float32]:
        """Heat maps of ``pixels``, RGB uint8 ``(N, H, W, 3)``, each for a class: its column, in ``targets`` ``(N,)``.

        Gives float32 ``(N, h, w)``, 0 to 1, of the size of the map of features, over all of the ``H`` x ``W`` pixels.
        """
        picked = ops.convert_to_tensor(np.asarray(targets)[:, None], dtype="int32")

        def score(change: Any) -> tuple[Any, Any]:
            scores, features = self._run(pixels, change)
            return ops.sum(ops.take_along_axis(scores, picked, axis=1)), features

        shape = (len(pixels), *self._target.output.shape[1:])
        gradient, features = (
            np.asarray(ops.convert_to_numpy(values), np.float64) for values in _gradient(score, ops.zeros(shape))
        )
        maps = np.maximum(_combine(self.method, features, gradient), 0)
        most = maps.max(axis=(1, 2), keepdims=True)
        maps = np.divide(maps, most, out=np.zeros_like(maps), where=most > 0)
        return np.asarray(maps, np.float32)

    def _run(self, pixels: NDArray[np.uint8], change: Any) -> tuple[Any, Any]:
        """The linear scores ``(N, C)`` with ``change`` added to the map of features, and that map."""
        maps = []

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if operation is self._last:
                return self._linear(*args)
            outputs = walk(operation, *args) if _is_open(operation) else operation(*args, **kwargs)
            if operation is not self._target:
                return outputs
            maps.append(outputs)
            return ops.cast(outputs, "float32") + change

        def walk(model: Any, inputs: Any) -> Any:
            if isinstance(model, keras.Sequential):
                for layer in model.layers:
                    inputs = call(layer, inputs)
                return inputs
            return run_graph(model, inputs, call)

        scores = walk(self._graph, ops.convert_to_tensor(pixels))
        return scores["scores"], maps[-1]


def _combine(
    method: HeatMapMethod, features: NDArray[np.float64], gradient: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(N, h, w, C)`` twice to ``(N, h, w)``."""
    if method == "hires_cam":
        return np.asarray((features * gradient).sum(axis=-1))
    if method == "grad_cam":
        weights = gradient.mean(axis=(1, 2), keepdims=True)
    else:
        # For a score of exp(logit), as there: all its derivatives are powers of the logit's gradient.
        below = 2 * gradient**2 + features.sum(axis=(1, 2), keepdims=True) * gradient**3
        alpha = np.divide(gradient**2, below, out=np.zeros_like(below), where=below != 0)
        weights = (alpha * np.maximum(gradient, 0)).sum(axis=(1, 2), keepdims=True)
    return np.asarray((features * weights).sum(axis=-1))


def _is_open(operation: Any) -> bool:
    """Whether it is a model whose layers can be gone through; a subclass of Model keeps them to itself."""
    return isinstance(operation, keras.Sequential) or is_open_graph(operation)


def _maps(model: Any) -> Iterator[Any]:
    """The operations whose output is a map of more than one pixel, last first; those that only pool left out."""
    operations = model.layers if isinstance(model, keras.Sequential) else model.operations
    for operation in reversed(operations):
        if _is_open(operation):
            yield from _maps(operation)
        elif not isinstance(operation, (keras.layers.InputLayer, *POOLING)):
            shape: Any = getattr(operation.output, "shape", ())
            if len(shape) == 4 and None not in shape[1:] and shape[1] * shape[2] > 1:
                yield operation


def _last(model: Any) -> Any:
    """The operation that gives the scores."""
    operations = model.layers if isinstance(model, keras.Sequential) else model.operations
    return _last(operations[-1]) if _is_open(operations[-1]) else operations[-1]


def _linear(operation: Any) -> Callable[[Any], Any]:
    """What the operation gives before its activation. Weights stay the operation's own."""
    if type(operation).__name__ in ACTIVATIONS:
        return lambda inputs: inputs
    if not hasattr(operation, "activation"):
        return lambda inputs: operation(inputs)
    linear = type(operation).from_config({**operation.get_config(), "activation": "linear", "trainable": True})
    linear.build(operation.input.shape)
    return lambda inputs: linear.stateless_call(operation.weights, [], inputs)[0]


def _gradient(function: Callable[[Any], tuple[Any, Any]], at: Any) -> tuple[Any, Any]:
    """The gradient of a function's first value, a scalar, and its second value. Keras has no word for it of its own."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(at)
            value, rest = function(at)
        return tape.gradient(value, at), rest
    if backend == "jax":
        import jax

        gradient, rest = jax.grad(function, has_aux=True)(at)
        return gradient, rest
    if backend == "torch":
        import torch

        at = at.detach().requires_grad_()
        with torch.enable_grad():
            value, rest = function(at)
        return torch.autograd.grad(value, at)[0], rest.detach()
    raise InvalidArgumentError(f"explain needs gradients, which the Keras backend {backend!r} does not give")
