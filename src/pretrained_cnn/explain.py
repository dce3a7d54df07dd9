"""Where a network looks: heat maps over a picture for one of its classes.

Three methods, each of one forward pass and the gradient of the class's linear score (the logit, not the probability,
whose gradient also falls when other classes rise) with respect to the last map of features:

- ``"grad_cam"``: the features, weighted by the mean of their gradient (Selvaraju et al., 2017, arXiv:1610.02391).
- ``"grad_cam++"``: weighted by a mean that counts pixels by how much they matter, which finds several things of a class
  better (Chattopadhay et al., 2018, arXiv:1710.11063).
- ``"hires_cam"``: the features times their gradient, pixel by pixel: no place is shown that did not add to the score
  (Draelos and Carin, 2020, arXiv:2011.08891).

For networks whose head is one dense layer on pooled features, which most are, the first and the last give the same
map, that of CAM (Zhou et al., 2016, arXiv:1512.04150). Score-CAM is left out: it takes a forward pass for each channel
of the map, 2,048 for Xception.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from PIL import Image

from pretrained_cnn.backbones.build import Backbone
from pretrained_cnn.backbones.serving import serving_graph
from pretrained_cnn.errors import InvalidSpecError
from pretrained_cnn.images.resize import window
from pretrained_cnn.results import Prediction
from pretrained_cnn.spec import ResizePolicy

__all__ = ["Explainer", "Explanation", "Method"]

Method = Literal["grad_cam", "grad_cam++", "hires_cam"]

COLOURS = ((0, 0, 60), (90, 20, 140), (200, 40, 110), (250, 120, 40), (255, 235, 120))
"""From nothing to most, each brighter than the one before it, so that the order shows in grey too."""

POOLING = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
ACTIVATIONS = ("Softmax", "Sigmoid", "Activation")
"""Layers and operations of Keras that only bend a score."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a network saw a class in a picture.

    >>> from pretrained_cnn import Classifier
    >>> explanation = Classifier("EfficientNetLite0").explain("examples/images/clock.png")
    >>> explanation
    Explanation('examples/images/clock.png': analog_clock by grad_cam)
    >>> explanation.heat_map.shape, explanation.overlay().size
    ((360, 480), (480, 360))
    """

    source: str
    """The picture's name, as in `Result.source`."""
    prediction: Prediction
    """The class that is explained, and its score."""
    method: Method
    heat_map: NDArray[np.float32] = field(repr=False)
    """``(h, w)``, 0 to 1, over the picture at its own size; the maximum is 1, or 0 if nothing speaks for the class.

    What the network was not shown, such as the rim that a centre crop cuts off, is 0.
    """
    image: Image.Image = field(repr=False)
    """The picture, upright, RGB, ``w`` x ``h``."""

    def overlay(self, opacity: float = 0.6) -> Image.Image:
        """The picture with the heat map laid over it: RGB, of the picture's size.

        ``opacity``, 0 to 1, is that of the hottest place; where the map is 0 the picture shows as it is.
        """
        if not 0 <= opacity <= 1:
            raise InvalidSpecError(f"opacity={opacity!r} is not a number from 0 to 1")
        levels = np.rint(self.heat_map * 255).astype(np.uint8)
        steps = np.linspace(0, 255, len(COLOURS))
        palette = np.stack([np.interp(range(256), steps, channel) for channel in zip(*COLOURS, strict=True)], axis=-1)
        colours = Image.fromarray(palette.astype(np.uint8)[levels])
        return Image.composite(colours, self.image, Image.fromarray(np.rint(levels * opacity).astype(np.uint8)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the overlay to a file, in the format that its suffix names.

        Raises OSError if the file cannot be written, ValueError for a suffix that Pillow does not know.

        >>> import tempfile
        >>> from pretrained_cnn import Classifier
        >>> path = tempfile.mkdtemp() + "/clock.png"
        >>> Classifier("EfficientNetLite0").explain("examples/images/clock.png").save(path)
        """
        self.overlay().save(path)

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        stream = io.BytesIO()
        self.overlay().save(stream, "PNG")
        return stream.getvalue()

    def __repr__(self) -> str:
        return f"Explanation({self.source!r}: {self.prediction.label} by {self.method})"


class Explainer:
    """Makes heat maps with one backbone, many pictures at once. It may be used from several threads.

    The map of features is the last one that has more than one pixel, that of a model within the model included; where
    it is pooled before it is flattened, as in VGG, the one before the pooling. Raises InvalidSpecError if there is
    none, or if ``method`` is not known.
    """

    def __init__(self, backbone: Backbone, method: Method = "grad_cam") -> None:
        if method not in get_args(Method):
            raise InvalidSpecError(f"method={method!r} is not known; choose one of {', '.join(get_args(Method))}")
        self.method = method
        self._graph = serving_graph(backbone)
        found = next(_maps(backbone.model), None)
        if found is None:
            raise InvalidSpecError(
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
            # Keras's own way to go through a graph with something else in place of each call.
            return model._run_through_graph(inputs, call_fn=call)

        scores = walk(self._graph, ops.convert_to_tensor(pixels))
        return scores, maps[-1]


def place(
    heat_map: NDArray[np.float32], image_size: tuple[int, int], input_size: tuple[int, int], policy: ResizePolicy
) -> NDArray[np.float32]:
    """A heat map over what the network was shown as one over the whole picture: float32 ``(h, w)``.

    ``image_size`` is the picture's ``(width, height)``, ``input_size`` the network's ``(height, width)``.
    """
    left, top, right, bottom = window(image_size, input_size, policy)
    down, across = heat_map.shape[0] / (bottom - top), heat_map.shape[1] / (right - left)
    # Edges are repeated once, so that the outermost half of a pixel is not faded out.
    wide = Image.fromarray(np.pad(heat_map, 1, mode="edge"))
    to_map = (across, 0, 1 - left * across, 0, down, 1 - top * down)
    placed = wide.transform(image_size, Image.Transform.AFFINE, to_map, Image.Resampling.BILINEAR)
    heat = np.array(placed)
    columns, rows = np.arange(image_size[0]) + 0.5, np.arange(image_size[1]) + 0.5
    heat[:, (columns < left) | (columns > right)] = 0
    heat[(rows < top) | (rows > bottom)] = 0
    return np.asarray(heat / (heat.max() or 1), np.float32)


def _combine(method: Method, features: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
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
    return isinstance(operation, keras.Sequential) or hasattr(operation, "_run_through_graph")


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
        return operation  # type: ignore[no-any-return]
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

        return jax.grad(function, has_aux=True)(at)  # type: ignore[no-any-return]
    if backend == "torch":
        import torch

        at = at.detach().requires_grad_()
        with torch.enable_grad():
            value, rest = function(at)
        return torch.autograd.grad(value, at)[0], rest.detach()
    raise InvalidSpecError(f"explain needs gradients, which the Keras backend {backend!r} does not give")
