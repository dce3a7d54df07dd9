"""From a network to its serving graph: uint8 images in, scores or embeddings out.

Preprocessing is a part of the graph, so that no caller can forget it or apply it twice, no export
can lose it, and a runtime is handed one byte a channel.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

import keras
from keras import ops

from pretrained_cnn._compat import last_inputs
from pretrained_cnn.backbones.build import Backbone, preprocessed
from pretrained_cnn.backbones.graph import (
    Call,
    before,
    calls,
    find_head,
    free_name,
    is_channels_first,
    is_graph,
    layer_names,
    pooled,
)
from pretrained_cnn.errors import BundleError, InvalidArgumentError, WeightsError
from pretrained_cnn.spec import ModelSpec, Output


def serving_graph(backbone: Backbone, outputs: Sequence[Output] = ("scores",), layer: str | None = None) -> keras.Model:
    """One graph: uint8 ``(N, H, W, channels)``, named ``images``, in; a dictionary of float32 arrays by name out.

    The dictionary has exactly ``outputs``: ``"scores"``, ``(N, C)``, need a backbone with a top; ``"embedding"``,
    ``(N, embedding_size)``, is the input of the last dense layer, or what ``layer`` gives, by name. Both come from one
    pass of the network.
    """
    spec = backbone.spec
    names = list(dict.fromkeys(outputs))
    if not names or not set(names) <= set(get_args(Output)):
        raise InvalidArgumentError(f"outputs={outputs!r}: choose one or both of {', '.join(get_args(Output))}")
    if "scores" in names and not backbone.has_head:
        raise WeightsError(
            f"the weights given for {spec.name} end before the classes (a file without the top): "
            "they serve embed; to predict, give weights with the top, or labels=[...] if it has classes of its own"
        )
    network = _network(backbone, names, layer)
    images = keras.Input((*spec.input_size, spec.channels), dtype="uint8", name="images")
    fed = preprocessed(spec, ops.cast(images, "float32"))
    # Without training=False a layer that augments would bring its random operations into an exported graph.
    found = _under_free_name(network, images, fed)(fed, training=False)
    found = found if isinstance(found, dict) else {names[0]: found}
    return keras.Model(images, {name: ops.cast(found[name], "float32") for name in names}, name="serving")


def _network(backbone: Backbone, names: Sequence[str], layer: str | None) -> keras.Model:
    """What gives the one output, or a dictionary of several."""
    if list(names) == ["scores"]:
        return backbone.model
    embedding = embedding_model(backbone, layer)
    if list(names) == ["embedding"]:
        return embedding
    model = backbone.model
    return keras.Model(model.inputs, {"scores": model.outputs[0], "embedding": embedding.outputs[0]}, name=model.name)


def feature_graph(backbone: Backbone, layers: Sequence[str]) -> keras.Model:
    """One graph: RGB uint8 ``(N, H, W, 3)`` in; a dictionary of float32 maps ``(N, h, w, c)``, one for each layer, out.

    Raises InvalidArgumentError if the network has no layer of a name, or the layer's output is not a map.
    """
    model, spec = backbone.model, backbone.spec
    maps = {}
    for name in layers:
        maps[name] = _call_of(model, name).outputs[0]
        if len(maps[name].shape) != 4:
            raise InvalidArgumentError(f"layer={name!r}: it gives {maps[name].shape}, which is not a map (N, h, w, c)")
    images = keras.Input((*spec.input_size, spec.channels), dtype="uint8", name="images")
    fed = preprocessed(spec, ops.cast(images, "float32"))
    found = _under_free_name(keras.Model(model.inputs[0], maps, name=model.name), images, fed)(fed)
    return keras.Model(images, {name: ops.cast(found[name], "float32") for name in layers}, name="features")


def embedding_model(backbone: Backbone, layer: str | None = None) -> keras.Model:
    """The network up to the input of its head, the last layer with a kernel, as ``(N, embedding_size)``.

    Or up to the output of ``layer``, a map as the mean over its pixels. Raises InvalidArgumentError if there is no
    layer of that name, or its output is not one vector or map an image.
    """
    model, spec = backbone.model, backbone.spec
    channels_first = False
    if layer is not None:
        call = _call_of(model, layer)
        embedding, channels_first = call.outputs[0], is_channels_first(call.operation)
    elif backbone.has_head:
        head = find_head(model)
        if head is None:
            raise InvalidArgumentError(f"{spec.name}: {_no_head(model)}")
        embedding, channels_first = before(model, head), is_channels_first(head.call.operation)
    else:
        embedding = model.outputs[0]
    # MobileNet's heads are convolutions over one pixel.
    embedding = pooled(embedding, layer_names(model), channels_first=channels_first)
    return keras.Model(model.inputs[0], embedding, name=model.name)


def _no_head(model: keras.Model) -> str:
    if any(isinstance(layer, keras.Model) and not is_graph(layer) for layer in [model, *model.layers]):
        return (
            "a subclass of keras.Model keeps its layers to itself, so there is no embedding; "
            "build the network as a Functional or Sequential model"
        )
    return "no last dense layer was found that everything passes through, so there is no embedding; name one: layer=..."


def _call_of(model: keras.Model, name: str) -> Call:
    """The last call of the layer of that name within ``model``."""
    found = [call for call in calls(model) if isinstance(call.operation, keras.Layer)] if is_graph(model) else []
    named = [call for call in found if call.operation.name == name]
    if not named:
        names = [call.operation.name for call in found]
        near = difflib.get_close_matches(name, names, n=3) or names[-3:]
        raise InvalidArgumentError(
            f"layer={name!r}: {model.name} has no layer of that name; did you mean {' or '.join(map(repr, near))}?"
        )
    shape = getattr(named[-1].outputs[0], "shape", None)
    if len(named[-1].outputs) != 1 or shape is None or len(shape) not in (2, 4) or shape[-1] is None:
        raise InvalidArgumentError(f"layer={name!r}: it gives {shape}, which is neither (N, D) nor a map (N, h, w, D)")
    return named[-1]


def _under_free_name(network: keras.Model, images: Any, fed: Any) -> keras.Model:
    """The network under a name that nothing else in its serving graph has."""
    taken = {images.name, *(call.operation.name for call in calls(keras.Model(images, fed)))}
    if network.name not in taken and not network.name.startswith("cast"):
        return network
    return keras.Model(network.inputs[0], network.output, name=free_name(f"{network.name}_network", taken))


def open_graph(graph: keras.Model, spec: ModelSpec, *, has_head: bool) -> Backbone:
    """The backbone within a serving graph that was loaded from a file, with its preprocessing in the spec again."""
    networks = [layer for layer in graph.layers if isinstance(layer, keras.Model)]
    casts = [operation for operation in graph.operations if type(operation).__name__ == "Cast"]
    if not (networks and casts):
        raise BundleError(f"the model of {spec.name} is not a serving graph: no network is in it")
    network, pixels = networks[-1], casts[0].output
    (fed,) = last_inputs(network)
    if isinstance(network.output, dict):
        network = keras.Model(network.inputs, network.output["scores"], name=network.name)
    preprocess = None if fed is pixels else keras.Model(pixels, fed, name="preprocess")
    return Backbone(spec.replace(builder=lambda input_shape: network, preprocess=preprocess), network, has_head)
