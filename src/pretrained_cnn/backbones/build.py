"""From a spec to a Keras network with its weights."""

from __future__ import annotations

import hashlib
import inspect
import math
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from pretrained_cnn import weights as weights_files
from pretrained_cnn._check import brief
from pretrained_cnn._compat import efficientnet_deviations
from pretrained_cnn._files import POINTER, is_lfs_pointer
from pretrained_cnn._lazy import Reference
from pretrained_cnn._process import need_eager, random_kept
from pretrained_cnn.backbones.graph import apply, calls, free_name, is_graph, layer_names, leaves, simple
from pretrained_cnn.errors import InvalidArgumentError, InvalidSpecError, PretrainedCNNError, WeightsError
from pretrained_cnn.presets import PixelScaling
from pretrained_cnn.scores import EXACT, NOT_FINITE, ROUGH, finite, outside, probes, problem
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
    """float32 ``(N, H, W, channels)``, preprocessed -> scores ``(N, C)``, or ``(N, embedding_size)`` without a top."""
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
    need_eager()
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
    backbone = Backbone(spec, as_classifier(spec, model) if has_head else model, has_head)
    if has_head and not _is_published_graph(spec, weights, options):
        judge(backbone)
    return backbone


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
            f"the network of {backbone.spec.name} cannot be copied: {_way_to_copy(backbone.model, error)}"
        ) from error
    model.set_weights(backbone.model.get_weights())
    return Backbone(backbone.spec, model, backbone.has_head)


def as_classifier(spec: ModelSpec, model: keras.Model) -> keras.Model:
    """``model`` as a graph that takes float32 images of the spec's size and gives a score for each label ``(N, C)``.

    One input or output in a list or a dictionary is taken out. A fixed batch, an open size, channels first and a gray
    image without an axis of channels are adapted. One output for two labels, the probability ``p`` of the second,
    becomes ``(1 - p, p)``. Raises InvalidSpecError, which says what is in the way, for anything else.
    """
    model = one_output(spec, model)
    width = model.outputs[0].shape[-1]
    count = len(spec.labels)
    if width == 1 and not spec.multi_label and count:
        if count == 1:
            raise InvalidSpecError(
                f"{spec.name}: one label on one output would be the answer for every image; "
                "give labels=[...] with 2 names, the first one for images whose output is near 0"
            )
        if count == 2:
            return _two_classes(spec, model)
    if count and width != count:
        raise InvalidSpecError(
            f"{spec.name}: {count} labels do not match the network's {width} outputs; "
            f"give labels=[...] with {2 if width == 1 else width} names"
        )
    return model


def one_output(spec: ModelSpec, model: keras.Model) -> keras.Model:
    """``model`` as a graph from an image ``(N, H, W, channels)`` of the spec to one vector ``(N, C)``."""
    name, shape = spec.name, (*spec.input_size, spec.channels)
    counts = tuple(len(getattr(model, key, None) or [None]) for key in ("inputs", "outputs"))
    if is_graph(model) and counts != (1, 1):
        raise InvalidSpecError(
            f"{name}: a classifier has one input and one output, not {counts[0]} and {counts[1]}"
            + (f" ({', '.join(model.output_names)}); choose one: {_CHOOSE}" if counts[1] > 1 else "")
        )
    model = simple(model)
    if is_graph(model) and _fits(tuple(model.inputs[0].shape), shape, exactly=True):
        outputs = model.outputs[0]
    else:
        pixels = keras.Input(shape, name=free_name("images", layer_names(model) if is_graph(model) else ()))
        outputs = _call(name, model, _as_taken(spec, model, pixels))
        model = keras.Model(pixels, outputs, name=model.name)
    vector = _as_vector(spec, model, outputs)
    return model if vector is outputs else keras.Model(model.inputs[0], vector, name=model.name)


_CHOOSE = "keras.Model(model.inputs, model.outputs[0])"


def _fits(taken: tuple[int | None, ...], shape: tuple[int, ...], *, exactly: bool = False) -> bool:
    """Whether an input ``taken`` takes images of ``shape``; ``exactly`` only with an open batch and no open side."""
    if exactly:
        return taken == (None, *shape)
    return len(taken) == 4 and all(side in (None, want) for side, want in zip(taken[1:], shape, strict=True))


def _as_taken(spec: ModelSpec, model: keras.Model, pixels: Any) -> Any:
    """``pixels`` ``(N, H, W, channels)`` in the layout that the model takes."""
    shape = (*spec.input_size, spec.channels)
    inputs = getattr(model, "inputs", None)
    if not inputs:  # a subclass of Model, which is known only by calling it
        return pixels
    taken = tuple(inputs[0].shape)
    if _fits(taken, shape):
        return pixels
    names = layer_names(model)
    if shape[2] == 1 and taken[1:] == shape[:2]:
        return layers.Reshape(shape[:2], name=free_name("without_channel", names))(pixels)
    if _fits(taken, (shape[2], *shape[:2])):
        return layers.Permute((3, 1, 2), name=free_name("channels_first", names))(pixels)
    raise InvalidSpecError(
        f"{spec.name}: the network takes {taken}, but its spec says {(None, *shape)}; {_way_out(taken)}"
    )


def _way_out(taken: tuple[int | None, ...]) -> str:
    if len(taken) == 4 and taken[3] not in (None, 1, 3) and taken[1] not in (1, 3):
        return f"images have 1 or 3 channels, not {taken[3]}"
    if len(taken) != 4:
        return "a classifier of images takes (None, height, width, channels)"
    return "give input_size=(height, width), and channels=1 for gray images, as the network takes them"


def _call(name: str, model: keras.Model, pixels: Any) -> Any:
    """What the model gives for ``pixels``, symbolically; its only output if they are in a list or a dictionary."""
    if not model.built and not is_graph(model) and isinstance(model, keras.Sequential):
        raise InvalidSpecError(f"{name}: {_NEVER_BUILT}")
    before = len(model.weights)
    try:
        outputs = keras.tree.flatten(apply(model, pixels))
    except Exception as error:  # a model may be anybody's code
        raise InvalidSpecError(
            f"{name}: the model cannot be called on images {tuple(pixels.shape)} as a part of a graph: "
            f"{type(error).__name__}: {brief(error)}; write its call with keras.ops, without conditions on values"
        ) from error
    if len(model.weights) > before:
        raise InvalidSpecError(f"{name}: {_NEVER_BUILT}")
    if len(outputs) != 1:
        raise InvalidSpecError(
            f"{name}: a classifier has one output, not {len(outputs)}; wrap a model that gives one of them"
        )
    return outputs[0]


_NEVER_BUILT = (
    "the model has never been built, so it has no trained weights: call it on an image, then load its weights, "
    "before you wrap it"
)


def _as_vector(spec: ModelSpec, model: keras.Model, outputs: Any) -> Any:
    """Scores ``(N, C)`` of ``outputs``, from which axes of one place are taken, ``(N, 1, 1, C)``."""
    shape = tuple(outputs.shape)
    if len(shape) == 2 and shape[1] is not None:
        return outputs
    name = free_name("scores", layer_names(model))
    if len(shape) > 2 and None not in shape[1:] and math.prod(shape[1:]) in (shape[-1], shape[1]):
        return layers.Flatten(name=name, data_format="channels_last")(outputs)
    if spec.labels and len(shape) in (0, 2):  # a layer of foreign code may not know its shape
        return layers.Reshape((len(spec.labels),), name=name)(outputs)
    raise InvalidSpecError(f"{spec.name}: the network gives {shape}, not one score a class (N, C)")


def _two_classes(spec: ModelSpec, model: keras.Model) -> keras.Model:
    """The probability of the second class as those of both."""
    second = keras.Input((1,), name="second")
    both = ops.concatenate([1 - second, second], axis=-1)
    both = keras.Model(second, both, name=free_name(TWO_CLASSES, layer_names(model)))
    if last_activation(model) == "softmax":
        raise InvalidSpecError(f"{spec.name}: {_SOFTMAX_OVER_ONE}")
    return keras.Model(model.inputs[0], both(model.outputs[0]), name=model.name)


TWO_CLASSES = "two_classes"

_SOFTMAX_OVER_ONE = (
    "its one output is 1 for every image, as a softmax over one output is; "
    "end the network in Dense(1, activation='sigmoid') or Dense(2, activation='softmax'), and train it again"
)


def _is_two_classes(operation: Any) -> bool:
    return isinstance(operation, keras.Model) and operation.name.startswith(TWO_CLASSES)


_ACTIVATIONS = {"LeakyReLU": "leaky_relu", "LeakyRelu": "leaky_relu", "HardSigmoid": "hard_sigmoid"}
"""Classes of Keras whose activation has another name than they have in small letters."""


def last_activation(model: keras.Model) -> str | None:
    """The name of the function that the outputs pass last; None where the graph does not show it."""
    found = last_function(model)
    return None if found is None else found[0]


def last_function(model: keras.Model) -> tuple[str, NDArray[np.float32]] | None:
    """The name of the function that the outputs pass last, and what it gives for numbers from -8 to 8.

    None where the graph does not show it, or where it is not one of Keras's.
    """
    if not is_graph(model):
        return None
    for call in reversed(calls(model)):
        operation = call.operation
        if _is_two_classes(operation):
            continue
        if isinstance(operation, keras.Model):
            return last_function(operation)
        if isinstance(operation, layers.Dropout | layers.Flatten | layers.Reshape) or type(operation) is layers.Layer:
            continue
        function = getattr(operation, "activation", None)
        own_name = type(operation).__name__  # an operation or a layer of its own: Softmax, Tanh, ReLU, LeakyReLU
        if function is None:
            function = operation
        name = getattr(function, "__name__", None) or _ACTIVATIONS.get(own_name) or own_name.lower()
        if not hasattr(keras.activations, name):
            return None
        shape = (64, *(side or 1 for side in call.inputs[0].shape[1:-1]), int(call.outputs[0].shape[-1]))
        numbers = np.random.default_rng(0).uniform(-8, 8, shape).astype(np.float32)
        try:
            values = function(ops.convert_to_tensor(numbers))
        except Exception:  # a function that takes another number of values than it gives, such as glu
            return None
        return name, np.asarray(ops.convert_to_numpy(ops.cast(values, "float32")))
    return None


def judge(backbone: Backbone) -> None:
    """Run the probe images through a network and look at what it gives. Raises InvalidSpecError if that is no answer.

    Scores must be finite and, where the spec has labels, probabilities.
    """
    spec, model = backbone.spec, backbone.model
    scores = on_probes(spec, model)
    if not finite(scores).all():
        raise InvalidSpecError(f"{spec.name}: {NOT_FINITE}")
    if not spec.labels:
        return  # a decode function of its own reads whatever it likes
    last, values = last_function(model) or (None, None)
    found = problem(scores, multi_label=spec.multi_label, tolerance=tolerance(model), linear=last == "linear")
    if found is not None and last == "sparsemax" and values is not None and problem(values) is not None:
        found = (
            "the network ends in Keras's sparsemax, whose values do not sum to 1 in this version of Keras, so its "
            "outputs are not probabilities; compute the sparsemax with keras.ops, or end the network in a softmax"
        )
    if found is not None:
        raise InvalidSpecError(f"{spec.name}: {found}")
    one_output = any(_is_two_classes(call.operation) for call in calls(model)[-1:])
    # The probe images alone do not show it: where no outputs must sum to 1, they can lie within 0 to 1 by chance.
    if (one_output or spec.multi_label) and values is not None and outside(values, EXACT) is not None:
        raise InvalidSpecError(
            f"{spec.name}: the network ends in {last}, which gives values outside 0 to 1, so its outputs are not "
            "probabilities; end the network in a sigmoid, or, if they are logits, use "
            "Classifier.from_keras(..., from_logits=True)"
        )
    if one_output and (scores[:, 1] == 1).all() and last != "sigmoid":
        raise InvalidSpecError(f"{spec.name}: {_SOFTMAX_OVER_ONE}")


def on_probes(spec: ModelSpec, model: keras.Model) -> NDArray[np.float32]:
    """What a network gives for the probe images, preprocessed as the spec says: float32 ``(4, C)``."""
    need_eager()
    images = keras.Input((*spec.input_size, spec.channels), dtype="uint8", name="images")
    fed = preprocessed(spec, ops.cast(images, "float32"))
    pixels = ops.convert_to_tensor(probes(spec.input_size, spec.channels))
    values = keras.Model(images, fed)(pixels, training=False)
    _check_preprocessed(spec, model, np.asarray(ops.convert_to_numpy(ops.cast(values, "float32"))))
    try:
        outputs = model(values, training=False)
    except Exception as error:  # layers may be anybody's code
        raise InvalidSpecError(
            f"{spec.name}: the network cannot run on images of its input size: {type(error).__name__}: {brief(error)}"
        ) from error
    return np.asarray(ops.convert_to_numpy(ops.cast(outputs, "float32")))


def preprocessed(spec: ModelSpec, pixels: Any) -> Any:
    """``pixels`` by the preprocess function of the spec."""
    function = spec.preprocess
    if function is None:
        return pixels
    if keras.config.image_data_format() != "channels_last" and _is_of_keras(function):
        raise InvalidArgumentError(f"{spec.name}: {_CHANNELS_FIRST.format('its preprocess function')}")
    try:
        return function(pixels)
    except Exception as error:  # a preprocess may be anybody's code
        raise InvalidArgumentError(
            f"preprocess of {spec.name} cannot become part of the graph: {type(error).__name__}: {error}; "
            "write it with keras.ops or plain arithmetic"
        ) from error


_CHANNELS_FIRST = (
    "keras.config.image_data_format() is 'channels_first', and {} reads images as channels_last here; "
    "call keras.config.set_image_data_format('channels_last') first"
)


def _is_of_keras(function: Any) -> bool:
    path = function.path if isinstance(function, Reference) else getattr(function, "__module__", None) or ""
    return path.startswith("keras.")


def _check_preprocessed(spec: ModelSpec, model: keras.Model, values: NDArray[np.float32]) -> None:
    """Raise InvalidSpecError if the preprocess function does what the network does again, or what it cannot take."""
    dtype = keras.backend.standardize_dtype(model.inputs[0].dtype)
    if dtype == "bool" or (dtype.startswith("int") and values.max() > np.iinfo(dtype).max):
        raise InvalidSpecError(
            f"{spec.name}: the network takes {dtype}, and pixel values go up to {values.max():.3g}; wrap a network "
            "that takes uint8 or float32"
        )
    if spec.preprocess is None:
        return
    expected = (*spec.input_size, spec.channels)
    if values.shape[1:] != expected:
        raise InvalidSpecError(
            f"{spec.name}: preprocess gives images {values.shape[1:]}, and the network takes {expected}; "
            "a preprocess changes values, and resize=ResizePolicy(...) the size"
        )
    if dtype.startswith(("uint", "int")):
        if (values != np.rint(values)).any() or values.min() < 0:
            raise InvalidSpecError(
                f"{spec.name}: the network takes whole numbers, {model.inputs[0].dtype}, and preprocess gives "
                f"{values.min():.3g} to {values.max():.3g}, which would be cut to whole numbers; leave preprocess out"
            )
    elif isinstance(spec.preprocess, PixelScaling) and spec.preprocess.by_numbers:
        return  # anyone who gives numbers means them
    elif np.abs(values).max() <= 2 and (layer := _scales_again(model, probes(spec.input_size, spec.channels), values)):
        raise InvalidSpecError(
            f"{spec.name}: preprocess scales the images to {values.min():.3g} to {values.max():.3g}, and the network's "
            f"layer {layer!r} would scale them again; leave preprocess out"
        )


_MOVES_PIXELS = (
    layers.Resizing,
    layers.CenterCrop,
    layers.Cropping2D,
    layers.ZeroPadding2D,
    layers.RandomCrop,
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomTranslation,
    layers.RandomZoom,
)
"""Layers that change the number of pixels or what they show, and leave the range of their values as it is."""


def _scales_again(model: keras.Model, pixels: NDArray[Any], values: NDArray[Any]) -> str | None:
    """The name of what scales ``pixels``, of 0..255, to a few units, so that ``values``, a few units, become nothing.

    Only what comes before the first weights is looked at: there, a network scales its input.
    """
    if not is_graph(model):
        return None
    followed = {id(model.inputs[0])}
    for call in calls(model):
        operation = call.operation
        if len(call.inputs) != 1 or id(call.inputs[0]) not in followed or len(call.outputs) != 1:
            continue
        if isinstance(operation, keras.Model):
            inner = [_at(model, call.inputs[0], array) for array in (pixels, values)]
            found = _scales_again(operation, *inner)
            if found is not None:
                return found
            continue
        if getattr(operation, "weights", ()) and not isinstance(operation, layers.Normalization):
            continue
        sizes = [math.prod(side or 1 for side in tensor.shape[1:]) for tensor in (call.inputs[0], call.outputs[0])]
        if sizes[0] != sizes[1] and not isinstance(operation, _MOVES_PIXELS):
            continue
        followed.add(id(call.outputs[0]))
        before, after = (np.ptp(_at(model, call.outputs[0], array)) for array in (pixels, values))
        if before <= 16 and after <= 1 / 10 and before > 8 * after:
            return str(operation.name)
    return None


def _at(model: keras.Model, tensor: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    """What a tensor of the model's graph is for ``images``."""
    if tensor is model.inputs[0]:
        return images.astype(np.float32)
    found = keras.Model(model.inputs[0], tensor)(ops.convert_to_tensor(images.astype(np.float32)), training=False)
    return np.asarray(ops.convert_to_numpy(ops.cast(found, "float32")))


def tolerance(model: keras.Model) -> float:
    """How far probabilities of a network may sum from 1: more where it computes in 16 bits."""
    dtypes = {keras.backend.standardize_dtype(model.outputs[0].dtype)}
    dtypes |= {getattr(operation, "compute_dtype", "float32") for operation in leaves(model)}
    return ROUGH if dtypes & {"float16", "bfloat16"} else EXACT


def _way_to_copy(model: keras.Model, error: Exception) -> str:
    if any(isinstance(operation, layers.Lambda) for operation in leaves(model)):
        return (
            "Keras copies no Lambda layer before keras.config.enable_unsafe_deserialization() was called; "
            "call it if the code of the layer is your own, or write a layer class in its place"
        )
    return f"{brief(error)}; give its layers a get_config method"


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
        shape = (*self.spec.input_size, self.spec.channels)
        if keras.config.image_data_format() != "channels_last" and _is_of_keras(self.function):
            raise InvalidArgumentError(_CHANNELS_FIRST.format(self.spec.name))
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


def _is_published_graph(spec: ModelSpec, weights: str | Path | None, options: Mapping[str, Any]) -> bool:
    """Whether a network is one of the catalog's as it was published, which needs no judging."""
    known = isinstance(spec.builder, Reference) and spec.builder.path.startswith(("keras.", "pretrained_cnn."))
    return known and not options and weights in (None, "imagenet")


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
    deviations = efficientnet_deviations(function)
    if deviations is None:
        return model
    scale = [1.0 / math.sqrt(deviation) for deviation in deviations]

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        return layers.Rescaling(scale)(outputs) if isinstance(layer, layers.Normalization) else outputs

    return keras.models.clone_model(model, call_function=call)


def _load(model: keras.Model, path: Path) -> None:
    try:
        model.load_weights(path)
    except Exception as error:  # h5py, zipfile and Keras each raise their own
        if path.is_file() and is_lfs_pointer(path):
            raise WeightsError(f"{path} is {POINTER}") from None
        raise WeightsError(f"{path} does not hold weights of this network: {brief(error)}") from error
    surplus = _surplus(model, path)
    if surplus:
        raise _SurplusError(path, ", ".join(surplus[:5]))


class _SurplusError(WeightsError):
    """A weights file holds more layers than the network has."""

    def __init__(self, path: Path, layers: str) -> None:
        super().__init__(f"{path} also holds {layers}, for which the network has no place")
        self.layers = layers


def _holds_model(path: Path) -> bool:
    """Whether a file holds a whole model of Keras, architecture included, by its content and not by its name."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    return h5py.is_hdf5(path) and "model_config" in _attributes(path)


def _attributes(path: Path) -> list[str]:
    with h5py.File(path) as file:
        return list(file.attrs)


def _surplus(model: keras.Model, path: Path) -> list[str]:
    """The layers in a weights file of Keras 3 that ``model`` has no place for, which Keras would leave out in silence.

    Older files say how many layers they have, and Keras compares.
    """
    stored = _stored(path)
    if len(stored) <= len(model.weights):
        return []
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "own.weights.h5")
        model.save_weights(own)
        extra = set(stored) - set(_stored(own))
    return list(dict.fromkeys(name.partition("/vars/")[0] for name in stored if name in extra))


def _stored(path: Path) -> list[str]:
    """The names of the weights of layers in a file of Keras 3; none for any other file."""
    names: list[str] = []
    if h5py.is_hdf5(path) and "layer_names" not in _attributes(path):
        with h5py.File(path) as file:
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return [name for name in names if "/vars/" in name and not name.startswith(("optimizer/", "seed_generator"))]


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
        refused = f"it does not hold weights of this network: {brief(error.__cause__ or error)}"
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
    if _holds_model(path):
        raise WeightsError(
            f"weights={str(path)!r} is a whole model, with layers of its own that {spec.name} may not have; wrap it: "
            f"Classifier.from_keras(keras.saving.load_model({str(path)!r}), labels=[...])"
        )
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
        except _SurplusError as error:
            raise WeightsError(
                f"weights={str(path)!r} hold {spec.name} without its top, and also {error.layers}; if these are "
                "classes of its own, give labels=[...] with their names, else load the whole model and wrap it: "
                "Classifier.from_keras(model, labels=[...])"
            ) from error
        except WeightsError:
            pass
    misfit = _misfit(spec, whole)
    raise WeightsError(
        f"weights={str(path)!r} are not weights of {spec.name}, neither with its top nor without: "
        f"{brief(refused.__cause__ or refused)}"
        f"{f'. {misfit}' if misfit else ''}"
    ) from refused


def _is_published(spec: ModelSpec, path: Path) -> bool:
    """Whether the file is one of the spec's own published files, by its content."""
    hashed = [file for file in spec.weights if file.hash is not None]
    return any(file.problem(path) is None for file in hashed)
