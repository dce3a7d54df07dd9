"""Keras 2 files that Keras 3 does not load: rebuilt in Keras 3, and compared with tf_keras before they are believed."""

from __future__ import annotations

import inspect
import json
import math
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import ModelFileError, import_package
from pretrained_cnn.foreign.keras2_operations import OPERATIONS, REPLAYED, check_functions, is_tensor, replayed

__all__ = ["export", "export_object", "rebuild", "rebuild_object"]

TOLERANCE = 1e-5
"""Of the largest value."""

PROBES = 16
MODELS = ("Functional", "Model", "Sequential")
RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
}
OF_EVERY_LAYER = ("name", "trainable", "dtype")
OF_THE_FILE = ("module", "registered_name", "build_config", "shared_object_id")
"""Where Keras 2 found a class, and what Keras 3 finds out by itself."""


def rebuild(path: Path, config: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> keras.Model:
    """The model of Keras 3 that computes what tf_keras computes from the same file.

    ``path`` ends in ``.keras`` or ``.h5``, by its content, and its ``config`` was judged before. Raises
    MissingDependencyError without tf_keras, and ModelFileError if the model cannot be rebuilt or does not agree.
    """
    tf_keras = import_package("tf_keras", extra="keras2")
    model = _build(config, custom_objects)
    weights = path if path.suffix == ".h5" else _weights_of(path)
    model.load_weights(weights)
    try:
        expected = tf_keras.models.load_model(path, dict(custom_objects), compile=False)
    except Exception as error:  # such as an archive that was written on Windows
        if path.suffix == ".h5":
            raise ModelFileError(f"tf_keras cannot load it either: {str(error)[:200]}") from error
        return model  # `load_weights` found each variable under its name, with its shape
    _compare(model, expected)
    return model


def rebuild_object(model: Any) -> keras.Model:
    """The model of Keras 3 that computes what ``model``, an object of tf_keras, computes; raises as `rebuild` does."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HDF5 is legacy, tf_keras says
        path = Path(folder, "model.h5")
        model.save(path, save_format="h5")
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])
        found = _build(config, {})
        found.load_weights(path)
    _compare(found, model)
    return found


def export(path: Path, config: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> Path:
    """A SavedModel of what tf_keras loads from a file, for a model that cannot be rebuilt, in the folder of the file.

    tf_keras calls whatever function of TensorFlow the ``config`` names: raises ModelFileError for one that does more
    than compute.
    """
    tf_keras = import_package("tf_keras", extra="keras2")
    check_functions(config)
    model = tf_keras.models.load_model(path, dict(custom_objects), compile=False)
    return export_object(model, path.with_name("exported"))


def export_object(model: Any, folder: Path) -> Path:
    """A SavedModel of ``model``, an object of tf_keras, in ``folder``, with a signature for any number of images."""
    tf = import_package("tensorflow", extra=None)
    given = model.save_spec()  # of the images that the model was called with, or was made for
    if given is None:
        raise ModelFileError(f"{model.name} does not know the shape of its input; call it on images first")
    (images, *_), _ = given
    spec = tf.TensorSpec(images.shape, images.dtype, name="images")
    module = tf.Module()
    module.kept = list(model.variables)
    serve = tf.function(lambda images: model(images, training=False), input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=serve.get_concrete_function())
    return folder


def _build(config: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> keras.Model:
    mended = _mended(_without_slashes(config))
    kind = keras.Sequential if mended["class_name"] == "Sequential" else keras.Model
    return kind.from_config(mended["config"], custom_objects={**custom_objects, **REPLAYED})


def _weights_of(path: Path) -> Path:
    """The weights in an archive, with groups as Keras names them: on Windows it wrote ``layers\\conv2d``."""
    written = path.with_name("model.weights.h5")
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as source, written.open("wb") as target:
        shutil.copyfileobj(source, target)
    with h5py.File(written, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            renamed = name.replace("\\", "/").replace("_layer_checkpoint_dependencies/", "layers/")
            if renamed != name and isinstance(file[name], h5py.Dataset):
                file.require_group(renamed.rpartition("/")[0])
                file.move(name, renamed)
    return written


def _without_slashes(config: Any) -> Any:
    """The description with names of layers that Keras 3 takes: none has a slash."""
    names: dict[str, str] = {}
    pending = [config]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            name = node.get("name")
            if "class_name" not in node and isinstance(name, str) and "/" in name:
                names[name] = name.replace("/", "_")
        pending += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return _replaced(config, names) if names else config


def _replaced(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _replaced(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(each, names) for each in node]
    return names.get(node, node) if isinstance(node, str) else node


def _mended(node: Any) -> Any:
    """What Keras 3 takes, made of a description by Keras 2."""
    if isinstance(node, list):
        return [_mended(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("class_name") in OPERATIONS:
        return replayed(node)
    found = {key: _mended(value) for key, value in node.items()}
    if "class_name" not in found or not isinstance(found.get("config"), dict):
        return found
    for key in OF_THE_FILE:
        found.pop(key, None)
    _rename(found)
    name, config = found["class_name"], found["config"]
    if name == "Sequential":
        config["layers"] = _with_input(node["config"]["layers"], config["layers"])
    if name in MODELS:
        for key in ("input_layers", "output_layers"):
            places = config.get(key)
            if places and len(places) == 1 and isinstance(places[0], list):  # one tensor, and not a list of one
                config[key] = places[0]
        _count_calls(config.get("layers", []))
        return found
    known = getattr(keras.layers, name, None) or getattr(keras.initializers, name, None)
    if name == "InputLayer":
        shape = config.get("batch_input_shape", config.get("batch_shape"))
        found["config"] = {"batch_shape": shape, "dtype": config.get("dtype"), "name": config.get("name")}
    elif isinstance(known, type):
        taken = _parameters(known)
        found["config"] = {key: value for key, value in config.items() if key in taken}
    return found


def _rename(layer: dict[str, Any]) -> None:
    """Call a layer, and its arguments, as Keras 3 does."""
    name, config = layer["class_name"], layer["config"]
    layer["class_name"] = RENAMED.get(name, name)
    if name == "LeakyReLU" and "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    elif name == "ThresholdedReLU":
        config["threshold"] = config.pop("theta")
    elif name == "SyncBatchNormalization":
        config["synchronized"] = True


def _with_input(written: list[dict[str, Any]], layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers of a Sequential after an input, whose shape the first of the ``written`` ones may know instead."""
    shape = written[0]["config"].get("batch_input_shape") if written else None
    if shape is None or written[0]["class_name"] == "InputLayer":
        return layers
    return [{"class_name": "InputLayer", "config": {"batch_shape": shape}}, *layers]


def _count_calls(layers: list[dict[str, Any]]) -> None:
    """Count the calls of models within a model from 0: in Keras 2 the first was that of the model's own inputs."""
    places = [
        place
        for layer in layers
        for node in layer.get("inbound_nodes", [])
        if isinstance(node, list)
        for place in node
        if is_tensor(place[:3])
    ]
    for layer in layers:
        calls = [place for place in places if layer["class_name"] in MODELS and place[0] == layer.get("name")]
        surplus = max((place[1] for place in calls), default=0) - len(layer.get("inbound_nodes", [])) + 1
        for place in calls:
            place[1] -= max(surplus, 0)


def _parameters(kind: type) -> set[str]:
    """The names that the initializers of a class of Keras take."""
    found = set(OF_EVERY_LAYER if issubclass(kind, keras.Layer) else ())
    for each in kind.__mro__:
        if "__init__" in vars(each) and each is not keras.Layer:
            found |= set(inspect.signature(vars(each)["__init__"]).parameters)
    return found - {"self", "args", "kwargs"}


def _compare(model: keras.Model, expected: Any) -> None:
    """Raise ModelFileError unless both give the same for the same images, or, if all get one answer, hold the same."""
    shape = [1 if side is None else side for side in model.inputs[0].shape[1:]]
    if None in model.inputs[0].shape[1:]:
        shape = [96, 96, *shape[2:]] if len(shape) == 3 else shape
    generator = np.random.default_rng(0)
    small = generator.uniform(-1, 1, (PROBES // 2, *shape))
    probes = np.concatenate([small, generator.uniform(0, 255, (PROBES // 2, *shape))]).astype(np.float32)
    differ = False
    for ours, theirs in zip(_seen(model, probes), _seen(expected, probes), strict=True):
        largest = float(np.abs(theirs).max(initial=0))
        difference = float(np.abs(ours - theirs).max(initial=0)) if ours.shape == theirs.shape else math.inf
        if not difference <= TOLERANCE * largest:
            raise ModelFileError(f"rebuilt in Keras 3, it differs from tf_keras by {difference:.2g} of {largest:.2g}")
        differ |= bool(np.ptp(theirs, axis=0).max() > TOLERANCE * largest)
    if not differ:
        _compare_weights(model, expected)


def _seen(model: Any, probes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What comes to the last dense layer, if there is one, and what the model gives."""
    dense = [layer for layer in _leaves(model) if type(layer).__name__ == "Dense"][-1:]
    seen: list[NDArray[np.float32]] = []
    for layer in dense:
        call = layer.call

        def watched(inputs: Any, *rest: Any, call: Any = call, **named: Any) -> Any:
            seen.append(np.asarray(keras.ops.convert_to_numpy(inputs)))
            return call(inputs, *rest, **named)

        layer.call = watched
    try:
        found = model(probes, training=False)
    finally:
        for layer in dense:
            del layer.call
    while isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    return [*seen, np.asarray(keras.ops.convert_to_numpy(found))]


def _leaves(model: Any) -> list[Any]:
    found: list[Any] = []
    for layer in model.layers:
        found += _leaves(layer) if hasattr(layer, "layers") else [layer]
    return found


def _compare_weights(model: keras.Model, expected: Any) -> None:
    ours = {layer.name: layer.get_weights() for layer in _leaves(model) if layer.weights}
    theirs = {layer.name.replace("/", "_"): layer.get_weights() for layer in _leaves(expected) if layer.weights}
    same = ours.keys() == theirs.keys() and all(
        len(ours[name]) == len(theirs[name]) and all(map(np.array_equal, ours[name], theirs[name])) for name in ours
    )
    if not same:
        raise ModelFileError("it gives the same for all images, and rebuilt in Keras 3 its weights are not the same")
