"""The classifier in a Keras file: what it takes and gives, what it does to pixel values, and its spec."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from pretrained_cnn.backbones.graph import calls, is_graph, simple
from pretrained_cnn.backbones.wrap import wrap
from pretrained_cnn.errors import InvalidArgumentError, ModelFileError
from pretrained_cnn.foreign.description import FileDescription, tensor
from pretrained_cnn.foreign.graph_files import open_graph
from pretrained_cnn.foreign.keras_load import Exported, loaded
from pretrained_cnn.foreign.kinds import SAVED_MODEL
from pretrained_cnn.foreign.labels import choose_labels
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.presets import PixelScaling, choose_preprocess, presets_table
from pretrained_cnn.spec import ModelSpec, ResizePolicy

__all__ = ["as_spec", "describe", "open_keras", "open_tf_keras", "said_by"]


def open_keras(
    path: Path,
    image_policy: ImagePolicy,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    trust: bool = False,
    **arguments: Any,
) -> ModelSpec | Path:
    """The spec whose builder gives the model in a file; the arguments are those of `Classifier.from_file`.

    For a model of Keras 2 that cannot be rebuilt in Keras 3, the temporary folder of a bundle that runs a SavedModel.
    """
    numbers = (arguments.get(name) for name in ("preprocess", "scale", "mean", "std"))
    choose_preprocess(*numbers)  # before the work of loading
    with loaded(path, custom_objects=custom_objects, trust=trust) as found:
        if isinstance(found, Exported):
            return open_graph(found.path, SAVED_MODEL, image_policy, name=path.name, reason=found.reason, **arguments)
        return as_spec(found, path.name, **arguments)


def open_tf_keras(model: Any, image_policy: ImagePolicy, **arguments: Any) -> ModelSpec | Path:
    """The same for an object of tf_keras; the arguments are those of `Classifier.from_keras`."""
    from pretrained_cnn.foreign.keras2 import export_object, rebuild_object

    try:
        found = rebuild_object(model)
    except Exception as error:  # Keras raises whatever its layers do
        reason = " ".join(str(error).split()).partition(". ")[0][:300]
    else:
        return wrap(found, **arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            exported = export_object(model, Path(folder, "exported"))
        except Exception as error:  # so does tf_keras
            raise ModelFileError(
                f"the model {model.name!r} of tf_keras (Keras 2) can neither be rebuilt in Keras 3 ({reason}) nor be "
                f"exported: {' '.join(str(error).split())[:300]}"
            ) from error
        if all(arguments.get(name) is None for name in ("preprocess", "scale")):
            arguments["preprocess"] = "none"
        return open_graph(exported, SAVED_MODEL, image_policy, name=model.name, reason=reason, **arguments)


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
            "leave preprocess out, or give scale=..., mean=... and std=... to do it anyway"
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
    """The first operation of a network, or of a model within it, that changes values; None if none does."""
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
