"""Keras files: an archive or HDF5, whatever the file is called; Keras 3 loads them itself wherever it can."""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from pretrained_cnn.backbones.graph import calls, is_graph, simple
from pretrained_cnn.backbones.wrap import wrap
from pretrained_cnn.errors import InvalidArgumentError, MissingDependencyError, ModelFileError
from pretrained_cnn.foreign.description import FileDescription, tensor
from pretrained_cnn.foreign.keras_config import check_config, read_config
from pretrained_cnn.foreign.labels import choose_labels
from pretrained_cnn.presets import PixelScaling, choose_preprocess, presets_table
from pretrained_cnn.spec import ModelSpec, ResizePolicy

__all__ = ["as_spec", "describe", "load", "open_keras", "said_by"]

OF_KERAS_2 = ("1.", "2.")
"""How the versions begin whose files may need tf_keras."""


def open_keras(
    path: Path, *, custom_objects: Mapping[str, Any] | None = None, trust: bool = False, **arguments: Any
) -> ModelSpec:
    """The spec whose builder gives the model in a file; the arguments are those of `Classifier.from_file`."""
    numbers = (arguments.get(name) for name in ("preprocess", "scale", "mean", "std"))
    choose_preprocess(*numbers)  # before the work of loading
    return as_spec(load(path, custom_objects=custom_objects, trust=trust), path.name, **arguments)


def as_spec(
    model: keras.Model,
    name: str,
    *,
    labels: Any = None,
    preprocess: Any = None,
    scale: Any = None,
    mean: Any = None,
    std: Any = None,
    resize: ResizePolicy | None = None,
    input_size: tuple[int, int] | None = None,
    from_logits: bool = False,
    multi_label: bool = False,
) -> ModelSpec:
    """The spec whose builder gives the model that `load` found in the file ``name``."""
    chosen = choose_preprocess(preprocess, scale, mean, std)
    table = choose_labels(labels, _outputs(model, name), name)
    said = said_by(model)
    if chosen is None and said is None:
        raise InvalidArgumentError(
            f"{name} does not say which pixel values it was trained with, and wrong ones give wrong answers "
            "without an error; give scale=..., mean=... and std=..., or preprocess=... by the name of one of these:\n"
            f"{presets_table()}\nIts graph begins with {_beginning(model)}; `pretrained-cnn check FILE IMAGE...` "
            "prints the best class under each preset"
        )
    if isinstance(preprocess, str) and preprocess != "none" and said is not None:
        raise InvalidArgumentError(
            f"preprocess={preprocess!r} would change the pixel values twice: the network itself begins with {said}; "
            "leave preprocess out, or give scale=..., mean=... and std=... to do it all the same"
        )
    return wrap(
        model,
        name=name,
        labels=table,
        preprocess=None if chosen == PixelScaling() else chosen,
        resize=resize,
        input_size=input_size,
        from_logits=from_logits,
        multi_label=multi_label,
    )


def describe(model: keras.Model, name: str) -> FileDescription:
    """What the model that `load` found in the file ``name`` takes and gives."""
    count = _outputs(model, name)
    given, found = model.inputs[0], simple(model).outputs[0]
    said = said_by(model)
    return FileDescription(
        input=tensor(given.dtype, given.shape),
        output=tensor(found.dtype, found.shape),
        scores=count,
        begins=_beginning(model),
        says_values=None if said is None else f"the network begins with {said}",
    )


def load(path: Path, *, custom_objects: Mapping[str, Any] | None = None, trust: bool = False) -> keras.Model:
    """The model in a file. Raises ModelFileError for one that holds foreign code, is damaged, or cannot be loaded.

    What is judged is a copy of the file, so that nobody changes it between the judgement and the loading.
    """
    with tempfile.TemporaryDirectory() as folder:
        suffix = ".keras" if zipfile.is_zipfile(path) else ".h5"  # Keras goes by the name
        copied = Path(folder, f"model{suffix}")
        shutil.copyfile(path, copied)
        try:
            config = read_config(copied)
            if not trust:
                check_config(path, config, custom_objects or {})
        except ModelFileError as error:
            raise ModelFileError(str(error).replace(str(copied), str(path))) from error.__cause__
        try:
            model = keras.saving.load_model(copied, dict(custom_objects or {}), compile=False, safe_mode=not trust)
        except Exception as error:  # Keras raises whatever its layers do
            if not _version(copied).startswith(OF_KERAS_2):
                raise ModelFileError(_not_loaded(path, copied, error)) from error
            model = _rebuilt(path, copied, config, custom_objects or {})
    if not isinstance(model, keras.Model):
        raise ModelFileError(f"{path} holds a {type(model).__name__} and not a model of Keras")
    return model


def _rebuilt(path: Path, copied: Path, config: dict[str, Any], custom_objects: Mapping[str, Any]) -> keras.Model:
    from pretrained_cnn.foreign.keras2 import rebuild

    try:
        return rebuild(copied, config, custom_objects)
    except MissingDependencyError:
        raise
    except Exception as error:  # Keras raises whatever its layers do
        raise ModelFileError(_not_loaded(path, copied, error)) from error


def _not_loaded(path: Path, copied: Path, error: Exception) -> str:
    text = str(error).rpartition("Exception encountered: ")[2].strip().partition("\n")[0][:300]
    version = _version(copied)
    writer = f"which Keras {version} wrote" if version else "which does not say what wrote it"
    way_out = (
        "load it where tf_keras is installed, write it with model.export('exported'), and wrap "
        "keras.Model(inputs, keras.layers.TFSMLayer('exported', call_endpoint='serve')(inputs)) with "
        "Classifier.from_keras"
        if version.startswith(OF_KERAS_2)
        else "load it with the version of Keras that wrote it, and save it again"
    )
    return f"Keras {keras.__version__} cannot load {path}, {writer}: {text}; {way_out}"


def _version(path: Path) -> str:
    """The version of Keras that wrote a file; empty if the file does not say."""
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("metadata.json") as stream:
                found = json.loads(stream.read(65536))["keras_version"]
        else:
            with h5py.File(path, "r") as file:
                found = file.attrs["keras_version"]
    except (OSError, KeyError, ValueError, TypeError):
        return ""
    text = found.decode() if isinstance(found, bytes) else str(found)
    return text if re.fullmatch(r"[\w.+-]{1,40}", text) else ""


def _outputs(model: keras.Model, name: str) -> int:
    """The number of scores that a model gives for an image. Raises ModelFileError unless it is known and one vector."""
    found = getattr(simple(model), "outputs", None) or []
    if len(found) != 1:
        raise ModelFileError(
            f"{name}: a classifier has one output, and this model has {len(found) or 'none that is known'}; load "
            "it with keras.saving.load_model, and pass a model with one of them to Classifier.from_keras"
        )
    sides = tuple(found[0].shape)[1:]
    if not sides or None in sides:
        raise ModelFileError(f"{name} gives {tuple(found[0].shape)}, and a classifier gives one score a class")
    return math.prod(sides)


def said_by(model: keras.Model) -> str | None:
    """What a network does itself to the values of pixels, first of all; None if its graph does not show such a thing.

    Rescaling, Normalization, and arithmetic with constants count, behind whatever leaves values as they are: resizing,
    padding, casts, other orders of axes, and random augmentation, also in models within the model.
    """
    if keras.backend.standardize_dtype(model.inputs[0].dtype).startswith(("uint", "int")):
        return f"an input of whole numbers, {model.inputs[0].dtype}"
    first = _first(model)
    if isinstance(first, layers.Rescaling | layers.Normalization) or type(first).__name__ in ARITHMETIC:
        return f"{type(first).__name__} {first.name!r}"
    return None


ARITHMETIC = ("Multiply", "Divide", "TrueDivide", "Subtract", "Add")
"""Operations of ``keras.ops``, where one of the two operands is a constant."""

KEEP_VALUES = (
    layers.InputLayer,
    layers.Resizing,
    layers.CenterCrop,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Reshape,
    layers.Permute,
    layers.Identity,
    layers.Dropout,
    layers.GaussianNoise,
)

OPERATIONS_KEEP_VALUES = ("Cast", "Transpose", "Reshape", "GetItem", "ExpandDims", "Squeeze", "Identity", "Flip", "Pad")


def _first(model: keras.Model) -> Any:
    """The first operation of a network that changes values, in models within it too; None if all leave them."""
    for call in calls(simple(model)) if is_graph(model) else ():
        operation = call.operation
        if isinstance(operation, keras.Model):
            inner = _first(operation)
            if inner is not None or not is_graph(operation):
                return inner or operation
        elif not _keeps_values(operation, len(call.inputs)):
            return operation
    return None


def _keeps_values(operation: Any, inputs: int) -> bool:
    if isinstance(operation, KEEP_VALUES):
        return True
    if isinstance(operation, layers.Rescaling):
        return bool(np.all(np.asarray(operation.scale) == 1) and np.all(np.asarray(operation.offset) == 0))
    name = type(operation).__name__
    if isinstance(operation, keras.Layer):
        return name.startswith("Random") and type(operation).__module__.startswith("keras.")
    return name in OPERATIONS_KEEP_VALUES


def _beginning(model: keras.Model) -> str:
    first = _first(model)
    return "nothing that is known" if first is None else f"{type(first).__name__} {first.name!r}"
