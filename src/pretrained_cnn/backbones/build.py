"""From a spec to a Keras network with its weights."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from pretrained_cnn import weights as weights_files
from pretrained_cnn._lazy import Reference
from pretrained_cnn._process import random_kept
from pretrained_cnn.errors import InvalidArgumentError, InvalidSpecError, PretrainedCNNError, WeightsError
from pretrained_cnn.spec import ModelSpec

RESERVED = {
    "include_top": "the top is left out by itself when the weights file has none",
    "input_shape": "give input_size=(height, width)",
    "input_tensor": "wrap the model with Classifier.from_keras",
    "name": "Keras takes it for the name of the weights file",
    "pooling": "embeddings are pooled by themselves",
    "weights": 'give weights="imagenet", a path or None',
}
"""Builder options that are not for the caller, with the way out."""


@dataclass(frozen=True)
class Backbone:
    """A network that was built from a spec."""

    spec: ModelSpec
    model: keras.Model
    """float32 ``(N, H, W, 3)``, preprocessed -> scores ``(N, C)``, or ``(N, embedding_size)`` without a top."""
    has_head: bool


def build(
    spec: ModelSpec,
    *,
    weights: str | Path | None = "imagenet",
    options: Mapping[str, Any] = {},
) -> Backbone:
    """Build the network of ``spec`` at its input size, with ``weights``.

    ``weights`` is ``"imagenet"``, the path of a weights file, or None for random weights. A file without
    the top gives a backbone without one. ``options`` go to the builder. Raises InvalidSpecError if builder
    and spec do not fit together, WeightsError if the weights do not fit the network.
    """
    if weights is not None:  # random ones are drawn from Python's random, as in Keras
        with random_kept():
            return _build(spec, weights, options)
    return _build(spec, weights, options)


def _build(spec: ModelSpec, weights: str | Path | None, options: Mapping[str, Any]) -> Backbone:
    builder = _Builder(spec, options)
    if weights is None:
        model, has_head = builder.call(), True
    elif weights != "imagenet":
        model, has_head = _load_path(builder, Path(weights))
    elif spec.weights:
        if spec.labels and len(spec.labels) != 1000:
            raise InvalidArgumentError(
                f"{len(spec.labels)} labels do not fit {spec.name}'s ImageNet weights, which have 1000 outputs; "
                "give 1000 labels, or weights=<path> of your own, or weights=None"
            )
        model, has_head = _load_published(builder, options), True
    else:
        model, has_head = builder.call(weights="imagenet"), True
    if has_head:
        check_outputs(spec, model)
    return Backbone(spec, model, has_head)


def weights_digest(model: keras.Model) -> str:
    """The SHA-256 of all weights of ``model``, in their order: hexadecimal, the same for the same weights."""
    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{values.shape}{values.dtype}".encode())
        digest.update(values.data)
    return digest.hexdigest()


def copy(backbone: Backbone) -> Backbone:
    """The same network with weights of its own. Raises InvalidSpecError if a layer of it cannot be made again."""
    try:
        with random_kept():
            model = keras.models.clone_model(backbone.model)
    except Exception as error:  # a layer may be anybody's code
        raise InvalidArgumentError(
            f"the network of {backbone.spec.name} cannot be copied: {_brief(error)}; "
            "give its layers a get_config method"
        ) from error
    model.set_weights(backbone.model.get_weights())
    return Backbone(backbone.spec, model, backbone.has_head)


def check_outputs(spec: ModelSpec, model: keras.Model) -> None:
    """Raise InvalidSpecError unless ``model`` takes images of the spec's size and gives a score for each label."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InvalidSpecError(
            f"{spec.name}: a classifier has one input and one output, not {len(model.inputs)} and {len(model.outputs)}"
        )
    height, width = spec.input_size
    expected = (None, height, width, 3)
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or any(side not in (None, want) for side, want in zip(shape, expected, strict=True)):
        raise InvalidSpecError(
            f"{spec.name}: the network takes {shape}, but its spec says {expected}: "
            "input_size=(height, width) must be the network's own, in channels_last order"
        )
    outputs = tuple(model.outputs[0].shape)
    if len(outputs) != 2 or outputs[1] is None:
        raise InvalidSpecError(f"{spec.name}: the network gives {outputs}, not one score a class (N, C)")
    if spec.labels and outputs[1] != len(spec.labels):
        raise InvalidSpecError(
            f"{spec.name}: {len(spec.labels)} labels do not match the network's {outputs[1]} outputs; "
            f"give labels=[...] with {outputs[1]} names"
        )
    if last_activation(model) == "linear":
        raise InvalidSpecError(
            f"{spec.name}: the network's last layer is linear, so its outputs are logits and not probabilities; "
            "end it in a softmax, or use Classifier.from_keras(..., from_logits=True)"
        )


def last_activation(model: keras.Model) -> str | None:
    """The name of the function that the outputs pass last, or None where the last layer has none."""
    layer = model.layers[-1]
    if isinstance(layer, keras.Model):
        return last_activation(layer)
    if isinstance(layer, layers.Softmax):
        return "softmax"
    return getattr(getattr(layer, "activation", None), "__name__", None)


class _Builder:
    """Calls a spec's builder the way that its signature asks for."""

    def __init__(self, spec: ModelSpec, options: Mapping[str, Any]) -> None:
        for key in options:
            if key in RESERVED:
                raise InvalidArgumentError(f"{key}={options[key]!r} cannot be a builder option: {RESERVED[key]}")
        self.spec = spec
        self.options = dict(options)
        self.function = _resolve(spec)
        parameters = inspect.signature(self.function).parameters
        self.open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        self.known = [key for key in parameters if key not in RESERVED]
        self.keras_like = "weights" in parameters
        if self.keras_like and spec.labels and "classes" in parameters:
            self.options.setdefault("classes", len(spec.labels))
        for key in options:
            if not self.open and key not in self.known:
                raise InvalidArgumentError(
                    f"the builder of {spec.name} has no option {key!r}; it has {', '.join(self.known) or 'none'}"
                )

    @property
    def can_leave_top_out(self) -> bool:
        return self.keras_like and (self.open or "include_top" in inspect.signature(self.function).parameters)

    def call(self, *, weights: str | None = None, top: bool = True, published: bool = False) -> keras.Model:
        """Build; ``published`` gives the graph that the spec's published files were trained for."""
        shape = (*self.spec.input_size, 3)
        arguments = dict(self.options)
        if self.keras_like:
            arguments |= {"weights": weights, "input_shape": shape}
            if not top:
                arguments |= {"include_top": False, "pooling": "avg"}
        else:
            arguments["input_shape"] = shape
        try:
            model = self.function(**arguments)
        except PretrainedCNNError:
            raise
        except Exception as error:  # a builder may be anybody's code
            raise InvalidSpecError(
                f"the builder of {self.spec.name} failed for input_shape={shape}"
                f"{''.join(f', {key}={value!r}' for key, value in self.options.items())}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(model, keras.Model):
            raise InvalidSpecError(
                f"the builder of {self.spec.name} gave an object of type {type(model).__name__}, not a keras.Model"
            )
        return _as_published(self.function, model) if published else model


def _resolve(spec: ModelSpec) -> Any:
    if not isinstance(spec.builder, Reference):
        return spec.builder
    try:
        return spec.builder.resolve()
    except (ImportError, AttributeError) as error:
        raise InvalidSpecError(f"{spec.name}: builder={spec.builder.path!r} cannot be imported: {error}") from error


def _as_published(function: Any, model: keras.Model) -> keras.Model:
    """Give EfficientNet v1 the layer that its builder, ``function``, adds only for ``weights="imagenet"``.

    The published weights were trained on images divided by the standard deviations twice, and the
    builder makes up for it with one more Rescaling behind the Normalization (tensorflow/tensorflow
    issue 49930). A path to the same file builds a graph without it, and answers differently.
    """
    if getattr(function, "__module__", None) != "keras.src.applications.efficientnet":
        return model
    from keras.src.applications.efficientnet import IMAGENET_STDDEV_RGB

    scale = [1.0 / math.sqrt(deviation) for deviation in IMAGENET_STDDEV_RGB]

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        return layers.Rescaling(scale)(outputs) if isinstance(layer, layers.Normalization) else outputs

    return keras.models.clone_model(model, call_function=call)


def _brief(error: BaseException | None) -> str:
    """The first line of a message: behind it Keras prints the weights themselves."""
    return str(error).strip().partition("\n")[0]


def _load(model: keras.Model, path: Path) -> None:
    try:
        model.load_weights(path)
    except Exception as error:  # h5py, zipfile and Keras each raise their own
        raise WeightsError(f"{path} does not hold weights of this network: {_brief(error)}") from error


def _load_published(builder: _Builder, options: Mapping[str, Any]) -> keras.Model:
    """Build the network with its ImageNet weights. What cannot fit is refused before anything is downloaded."""
    spec = builder.spec
    file = spec.weights_file(input_size=spec.input_size, options=options)
    model = builder.call(published=True)
    misfit = _misfit(spec, model)
    if misfit is not None:
        raise InvalidArgumentError(misfit)
    path = weights_files.ensure(file, needed_by=spec.name)
    try:
        _load(model, path)
    except WeightsError as error:
        if file.hash is not None or options.keys() - file.options.keys():
            raise  # the file is the right one, or an option changed the network
        # Without a hash, another network's file had looked like the right one. A fresh one replaces it.
        refused = f"it does not hold weights of this network: {_brief(error.__cause__)}"
        _load(model, weights_files.ensure(file, needed_by=spec.name, refused=refused))
    return model


def _misfit(spec: ModelSpec, model: keras.Model) -> str | None:
    """Why no published weights fit ``model`` at its spec's input size; None if nothing is in the way.

    A head that pools takes a map of any size. One that flattens it, as in VGG, has as many weights as the
    map has pixels.
    """
    flattened = [layer.input.shape for layer in model.layers if isinstance(layer, layers.Flatten)]
    maps = [shape for shape in flattened if math.prod(shape[1:-1]) > 1]
    if not maps or model.output_shape[-1] != 1000 or spec.parameters in (None, model.count_params()):
        return None
    height, width = maps[0][1:3]
    return (
        f"input_size={spec.input_size} does not fit {spec.name}'s published weights: its first dense layer has weights "
        f"for each of the {height} x {width} pixels of the last map, so that the network has {model.count_params():,} "
        f"weights at this size, and the published file {spec.parameters:,}. Leave input_size out, or choose a backbone "
        "that pools, such as ResNet50, or, to embed only, give weights=<path> of the file without a top"
    )


def _load_path(builder: _Builder, path: Path) -> tuple[keras.Model, bool]:
    """Build the network that the file at ``path`` was made for: with its top, else without."""
    spec = builder.spec
    published = _is_published(spec, path)
    whole = builder.call(published=published)
    try:
        _load(whole, path)
        return whole, True
    except WeightsError as error:
        refused = error
    if builder.can_leave_top_out:
        trunk = builder.call(top=False, published=published)
        try:
            _load(trunk, path)
            return trunk, False
        except WeightsError:
            pass
    misfit = _misfit(spec, whole)
    raise WeightsError(
        f"weights={str(path)!r} are not weights of {spec.name}, neither with its top nor without: "
        f"{_brief(refused.__cause__)}"
        f"{f'. {misfit}' if misfit else ''}"
    ) from refused


def _is_published(spec: ModelSpec, path: Path) -> bool:
    """Whether the file is one of the spec's own published files, by its content."""
    hashed = [file for file in spec.weights if file.hash is not None]
    return any(file.problem(path) is None for file in hashed)
