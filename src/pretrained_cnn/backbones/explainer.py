"""Makes heat maps of what a Keras network computes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pretrained_cnn._check import choice
from pretrained_cnn._compat import run_graph
from pretrained_cnn.backbones.build import Backbone
from pretrained_cnn.backbones.graph import Call, calls, find_head, is_graph
from pretrained_cnn.backbones.serving import serving_graph
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.scores import probes
from pretrained_cnn.spec import HeatMapMethod

POOLING = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
CONVOLUTIONS = ("Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose")
"""Operations of Keras with a spatial kernel."""
MOVES_PLACES = (
    *("Permute", "Transpose", "Moveaxis", "Swapaxes", "Reshape", "Flip", "Roll", "Rot90", "GetItem", "Slice", "Take"),
    *("Cropping2D", "CenterCrop", "ZeroPadding2D", "Pad", "CropImages", "PadImages", "Lambda"),
)
"""Layers and operations of Keras that may give a map whose places, or axes, are others than those of what they take."""


@dataclass(frozen=True, eq=False)
class Map:
    """A map of features: what ``operation`` gives, ``(N, h, w, C)`` or, with the channels first, ``(N, C, h, w)``."""

    operation: Any
    channels_first: bool


class Explainer:
    """Makes heat maps with one backbone, many images at once. It may be used from several threads.

    The feature map is the last one before the head, or the head's own, that has more than one pixel and a layer with
    a spatial kernel behind it. It may be inside a model within the model. If the map is pooled before it is flattened,
    as in VGG, the map before the pooling is used. Raises InvalidArgumentError if there is none, or if ``method`` is not
    known.
    """

    def __init__(self, backbone: Backbone, method: HeatMapMethod = "grad_cam") -> None:
        self.method = choice("method", method, get_args(HeatMapMethod))
        self._name = backbone.spec.name
        self._graph = serving_graph(backbone)
        head = find_head(backbone.model)
        found = _maps(backbone.model, None if head is None else head.call)
        if not found:
            raise InvalidArgumentError(
                f"{backbone.spec.name} cannot be explained: no map of features was found in it, of shape (N, h, w, C), "
                "more than one pixel, with a convolution behind it, over the whole image; build it of keras layers, as "
                "a Functional or Sequential model"
            )
        self._map = found[-1]
        self._linear: dict[Any, Callable[[Any], Any]] = {}
        """The head, and what gives its linear scores; empty where these say nothing of the network's own."""
        if head is not None:
            linear = _linear(head.call)
            if linear is not None:
                self._linear[head.call.operation] = linear
                if not self._agrees(probes(backbone.spec.input_size, backbone.spec.channels)):
                    self._linear.clear()

    def __call__(self, pixels: NDArray[np.uint8], targets: NDArray[np.intp]) -> NDArray[np.float32]:
        """Heat maps of ``pixels``, RGB uint8 ``(N, H, W, 3)``, each for a class: its column, in ``targets`` ``(N,)``.

        Gives float32 ``(N, h, w)``, 0 to 1, of the size of the map of features, over all of the ``H`` x ``W`` pixels.
        """
        picked = ops.convert_to_tensor(np.asarray(targets)[:, None], dtype="int32")

        def score(change: Any) -> tuple[Any, Any]:
            scores, features = self._run(pixels, change)
            return ops.sum(ops.take_along_axis(scores, picked, axis=1)), features

        none = ops.zeros(np.shape(self._run(pixels, 0.0)[1]), dtype="float32")
        try:
            values = _gradient(score, none)
        except ValueError as error:  # layers may have gradients of their own, as those that compute in 8-bit floats
            raise InvalidArgumentError(f"{self._name} cannot be explained: it gives no gradient: {error}") from error
        if values[0] is None:
            raise InvalidArgumentError(
                f"{self._name} cannot be explained: no gradient leads from its scores back to its features; explain "
                "the network as it was trained, without what makes its scores whole numbers"
            )
        gradient, features = (np.asarray(ops.convert_to_numpy(array), np.float64) for array in values)
        if self._map.channels_first:
            gradient, features = (np.moveaxis(values, 1, -1) for values in (gradient, features))
        maps = np.maximum(_combine(self.method, features, gradient), 0)
        most = maps.max(axis=(1, 2), keepdims=True)
        maps = np.divide(maps, most, out=np.zeros_like(maps), where=most > 0)
        return np.asarray(maps, np.float32)

    def _agrees(self, pixels: NDArray[np.uint8]) -> bool:
        """Whether the head's linear scores put the classes in the order of the network's own."""
        linear, _ = self._run(pixels, 0.0)
        linear = np.asarray(ops.convert_to_numpy(linear))
        scores = np.asarray(ops.convert_to_numpy(self._graph(ops.convert_to_tensor(pixels))["scores"]))
        if linear.shape != scores.shape:
            return False
        ordered = np.take_along_axis(scores, linear.argsort(axis=1), axis=1)
        return bool((np.diff(ordered, axis=1) >= -1e-5).all())

    def _run(self, pixels: NDArray[np.uint8], change: Any) -> tuple[Any, Any]:
        """The linear scores ``(N, C)`` with ``change`` added to the map of features, and that map."""
        maps: list[Any] = []
        linear: list[Any] = []

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if is_graph(operation):
                outputs = walk(operation, *args)
            elif operation in self._linear:
                outputs = self._linear[operation](*args)
            else:
                outputs = operation(*args, **{**kwargs, **_inference(operation)})
            if operation is self._map.operation:
                maps.append(outputs)
                outputs = ops.cast(outputs, "float32") + change
            if operation in self._linear:
                linear.append(outputs)
            return outputs

        def walk(model: Any, inputs: Any) -> Any:
            if isinstance(model, keras.Sequential):
                for layer in model.layers:
                    inputs = call(layer, inputs)
                return inputs
            return run_graph(model, inputs, call)

        scores = walk(self._graph, ops.convert_to_tensor(pixels))["scores"]
        return _of_classes(linear[-1], scores) if linear else scores, maps[-1]


def _inference(operation: Any) -> dict[str, bool]:
    """What tells a layer not to train: called by itself, a layer that augments would."""
    takes = isinstance(operation, keras.Layer) and "training" in inspect.signature(operation.call).parameters
    return {"training": False} if takes else {}


def _of_classes(linear: Any, scores: Any) -> Any:
    """What a head gives as ``(N, C)``: a convolution's as the mean over its places, one output's as both classes'."""
    if len(linear.shape) > 2:
        linear = ops.mean(linear, axis=tuple(range(1, len(linear.shape) - 1)))
    if linear.shape[-1] == 1 and scores.shape[-1] == 2:
        linear = ops.concatenate([-linear, linear], axis=-1)
    return ops.cast(linear, "float32")


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


def _maps(model: keras.Model, head: Call | None) -> list[Map]:
    """The maps of features of more than one pixel up to the head, in their order; those that only pool left out."""
    found: list[Map] = []
    if not is_graph(model):
        return found
    # Of each tensor: whether a spatial kernel is behind it, and whether its channels come first, None if its places are
    # not those of the image.
    facts: dict[int, tuple[bool, bool | None]] = {id(model.inputs[0]): (False, False)}

    def visit(model: keras.Model) -> bool:
        """Whether the head was met."""
        for call in calls(model):
            operation = call.operation
            known = [facts[id(tensor)] for tensor in call.inputs if id(tensor) in facts]
            if is_graph(operation) and known:
                facts[id(operation.inputs[0])] = known[0]
                if visit(operation):
                    return True
                fact = facts.get(id(operation.outputs[0]), known[0])
            else:
                fact = (any(behind for behind, _ in known) or _has_kernel(operation), _layout(call, known))
                shape: Any = getattr(call.outputs[0], "shape", ()) or ()
                if len(shape) == 4 and fact[0] and fact[1] is not None and not isinstance(operation, POOLING):
                    sides = shape[2:] if fact[1] else shape[1:3]
                    if None in sides or sides[0] * sides[1] > 1:
                        found.append(Map(operation, fact[1]))
            facts.update((id(tensor), fact) for tensor in call.outputs)
            if head is not None and operation is head.operation:
                return True
        return False

    visit(model)
    return found


def _has_kernel(operation: Any) -> bool:
    """Whether what it gives depends on the places around, by weights: a convolution, anyone who wrote it."""
    if hasattr(operation, "kernel_size") or type(operation).__name__ in CONVOLUTIONS:
        return True
    return any(len(weight.shape) >= 4 for weight in getattr(operation, "weights", ()))


def _layout(call: Call, known: list[tuple[bool, bool | None]]) -> bool | None:
    """Whether the channels of what a call gives come first; None if its places are not those of the image."""
    before = known[0][1] if known else False
    if before is None:
        return None
    if type(call.operation).__name__ in MOVES_PLACES and len(call.inputs) == 1:
        shapes = [tuple(tensor.shape) for tensor in (call.inputs[0], call.outputs[0])]
        if [len(shape) for shape in shapes] == [4, 4]:
            return next((first for first in (before, not before) if _keeps_places(call, before, first)), None)
        return before
    own = getattr(call.operation, "data_format", None)
    return before if own is None else own == "channels_first"


def _keeps_places(call: Call, channels_first: bool, then: bool) -> bool:
    """Whether what changes in a half of a map, the upper, lower, left or right one, changes there in what is given."""
    shape = [side or 8 for side in call.inputs[0].shape[1:]]
    operation = keras.Model(call.inputs[0], call.outputs[0])
    noise = np.random.default_rng(0).uniform(-1, 1, (1, *shape)).astype(np.float32)
    given = np.asarray(ops.convert_to_numpy(operation(noise, training=False)), np.float32)
    for side in (0, 1):
        for half in (slice(None, None, 1), slice(None, None, -1)):
            changed = noise.copy()
            rows = np.moveaxis(changed, (2 if channels_first else 1) + side, 0)[half]
            rows[: len(rows) // 2] *= -1
            found = np.asarray(ops.convert_to_numpy(operation(changed, training=False)), np.float32)
            moved = np.moveaxis(np.abs(found - given), (2 if then else 1) + side, 0)[half]
            middle = len(moved) // 2
            if middle and moved[:middle].sum() <= 3 * moved[len(moved) - middle :].sum():
                return False
    return True


def _linear(head: Call) -> Callable[[Any], Any] | None:
    """What the head gives before its activation. Weights stay the layer's own. None for a layer that is quantized."""
    layer = head.operation
    linear = type(layer).from_config({**layer.get_config(), "activation": "linear", "trainable": True})
    linear.build(head.inputs[0].shape)
    if getattr(layer, "quantization_mode", None) or len(linear.trainable_variables) != len(layer.weights):
        return None
    return lambda inputs: linear.stateless_call(layer.weights, [], inputs)[0]


def _gradient(function: Callable[[Any], tuple[Any, Any]], at: Any) -> tuple[Any, Any]:
    """The gradient of a function's first value, a scalar, and its second value. Keras has no word for it of its own."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:  # weights need none, and are most of the work
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
