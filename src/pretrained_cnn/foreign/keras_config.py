"""What a Keras file says it is built of, read as JSON before any loader sees it, and refused unless it is Keras's own.

A loader makes whatever object a file names, and a Lambda layer holds code. So the names are judged first: classes of
Keras that hold no code, and what the caller's program has registered or passes.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pretrained_cnn.errors import ModelFileError
from pretrained_cnn.foreign.kinds import WEIGHTS

__all__ = ["ForeignCodeError", "check_config", "read_config"]

MAX_CONFIG = 64 * 2**20
MAX_RATIO = 100
"""How much larger the content of a file may be than the file."""

SLACK = 2**20

HOLD_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
"""Layers of Keras that run what the file, or another file, says."""

VALUES = (
    "__keras_tensor__",
    "__tensor__",
    "__numpy__",
    "__bytes__",
    "__ellipsis__",
    "__slice__",
    "__tuple__",
    "TensorShape",
)
"""What Keras calls plain values."""

OF_KERAS_2 = (
    *("TFOpLambda", "SlicingOpLambda", "Model", "Functional", "Sequential", "Policy", "BatchNormalizationV1"),
    *("SyncBatchNormalization", "ThresholdedReLU", "RandomHeight", "RandomWidth", "LocallyConnected2D"),
)
"""Names of the files of Keras 2 that stand for no code."""


class ForeignCodeError(ModelFileError):
    """A file that names a class or a function which is neither Keras's own nor the caller's."""


def read_config(path: Path) -> dict[str, Any]:
    """The description of the model in a Keras archive or an HDF5 file.

    Raises ModelFileError for a file that is damaged, leads to other files, or is larger inside than it can be.
    """
    size = path.stat().st_size
    try:
        text = _of_archive(path, size) if zipfile.is_zipfile(path) else _of_hdf5(path, size)
        config = json.loads(text)
    except ModelFileError:
        raise
    except Exception as error:  # zipfile, zlib, JSON and HDF5 raise their own
        raise ModelFileError(f"{path} is damaged: {type(error).__name__}: {str(error)[:200]}") from error
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ModelFileError(f"{path} does not describe a model of Keras; save the model again with model.save(path)")
    return config


def _of_archive(path: Path, size: int) -> bytes:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(set(names)) != len(names) or any(".." in name.split("/") or name.startswith("/") for name in names):
            raise ModelFileError(f"{path} holds two files of one name, or one outside of itself; it is not opened")
        stored = [member for member in members if member.compress_type == zipfile.ZIP_STORED]
        if any(member.file_size != member.compress_size for member in stored) or (
            sum(member.file_size for member in members) > MAX_RATIO * size + SLACK
        ):
            raise ModelFileError(f"{path} is not opened: the sizes that it gives for its files do not add up")
        if archive.getinfo("config.json").file_size > MAX_CONFIG:
            raise ModelFileError(f"{path} is not opened: its description has more than {MAX_CONFIG} bytes")
        with archive.open("model.weights.h5") as weights:
            _check_hdf5(
                path, weights if archive.getinfo("model.weights.h5") in stored else io.BytesIO(weights.read()), size
            )
        return archive.read("config.json")


def _of_hdf5(path: Path, size: int) -> bytes:
    import h5py

    _check_hdf5(path, path, size)
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        if config is None:
            raise ModelFileError(f"{path} is {WEIGHTS.sentence(path)}")
        return config if isinstance(config, bytes) else str(config).encode()


def _check_hdf5(path: Path, source: Any, size: int) -> None:
    """Raise ModelFileError unless all of an HDF5 file lies in the file itself, and is no larger than it can be."""
    import h5py

    total = 0
    with h5py.File(source, "r") as file:
        for group, name in _links(file):
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ModelFileError(
                    f"{path} is not opened: {name!r} in it is a link to another file, {link.filename!r}"
                )
            found = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(found, h5py.Dataset):
                if found.external or found.is_virtual:
                    raise ModelFileError(f"{path} is not opened: the values of {name!r} in it lie in another file")
                total += found.size * found.dtype.itemsize
    if total > MAX_RATIO * size + SLACK:
        raise ModelFileError(f"{path} is not opened: its weights are said to have {total} bytes, and it has {size}")


def _links(file: Any) -> Iterator[tuple[Any, str]]:
    """Each link of each group, a group that has several names once."""
    import h5py

    pending, seen = [file], set()
    while pending:
        group = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in group:
            yield group, name
            if (
                isinstance(group.get(name, getlink=True), h5py.HardLink)
                and group.get(name, getclass=True) is h5py.Group
            ):
                pending.append(group[name])


def check_config(path: Path, config: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> None:
    """Raise ForeignCodeError for the first class or function that is neither Keras's own nor the caller's."""
    for node in _objects(config):
        reason = _reason(node, custom_objects)
        if reason is not None:
            raise ForeignCodeError(f"{path} is not opened: {reason}")


def _objects(config: Any) -> Iterator[Mapping[str, Any]]:
    """Everything in a description that stands for an object; what training took is not made, and left out."""
    pending = [config]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "class_name" in node:
                yield node
            pending += [value for key, value in node.items() if key != "compile_config"]
        elif isinstance(node, list):
            pending += node


def _reason(node: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> str | None:
    """Why an object is not made; None if it may be."""
    import keras

    name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    inner = node.get("config")
    if name == "function":
        name = inner
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        return f"it names a class by {str(name)[:100]!r}, which is not a name"
    label = inner.get("name") if isinstance(inner, dict) else None
    if name in custom_objects or registered in custom_objects:
        return None
    if name == "__lambda__" or name in HOLD_CODE:
        what = f"its layer {label!r} is a {name}" if label else f"it holds a {name.strip('_')}"
        return f"{what}, which runs code that comes with the file; if you trust its author, give trust=True"
    if name in VALUES or (name in OF_KERAS_2 and _is_of_keras_2(module)):
        return None
    if any(known is not None and keras.saving.get_registered_object(known) is not None for known in (registered, name)):
        return None
    if module is None or module == "builtins" or module.partition(".")[0] == "keras":
        if _is_of_keras(name, module):
            return None
        where = "" if module in (None, "builtins") else f" of {module}"
        kind = "function" if node["class_name"] == "function" else "class"
        return (
            f"{name!r}{where} is not a {kind} that Keras builds networks from; if it is your own, give "
            f"custom_objects={{{name!r}: {name.rpartition('>')[2]}}}"
        )
    return (
        f"{name!r} is of {module}, which is not Keras; if it is your own, give "
        f"custom_objects={{{(registered or name)!r}: {name}}}"
    )


def _is_of_keras_2(module: str | None) -> bool:
    return module in (None, "keras", "keras.models") or module.startswith(
        ("tf_keras.src.", "keras.src.engine.", "keras.src.layers.core.", "keras.engine.", "keras.layers.core.")
    )


def _is_of_keras(name: str, module: str | None) -> bool:
    """Whether Keras builds networks of the class or function; nothing is imported to find out."""
    import keras

    places = [
        keras.layers,
        keras.models,
        keras.initializers,
        keras.regularizers,
        keras.constraints,
        keras.activations,
        keras.dtype_policies,
        keras.quantizers,
        keras.random,
    ]
    if module is not None and module.startswith("keras.src."):
        places = [sys.modules.get(module)]
    found = next((getattr(place, name) for place in places if hasattr(place, name)), None)
    if isinstance(found, type):
        return issubclass(
            found,
            (
                keras.Operation,
                keras.initializers.Initializer,
                keras.regularizers.Regularizer,
                keras.constraints.Constraint,
                keras.dtype_policies.DTypePolicy,
                keras.quantizers.Quantizer,
                keras.random.SeedGenerator,
            ),
        )
    return callable(found) and found is getattr(keras.activations, name, None)
