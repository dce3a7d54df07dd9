"""Load Keras files: an archive or HDF5, whatever the file is called; Keras 3 loads them itself wherever it can.

A child process opens, judges, loads and runs a file first: what is damaged or hostile may crash Keras, HDF5 or
TensorFlow, and then only that process ends. This process loads what passed there.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from pretrained_cnn.bundle import child
from pretrained_cnn.bundle.convert import use_defaults_of_keras
from pretrained_cnn.errors import BundleError, MissingDependencyError, ModelFileError
from pretrained_cnn.foreign.keras_config import ForeignCodeError, check_config, read_config

__all__ = ["Exported", "loaded"]

MAX_SECONDS = 600
"""How long a file may take to open: a damaged one may make a loader run for ever."""

OPEN_SIDE = 96
"""Of a test image for a network that leaves its size open."""

OF_KERAS_2 = ("1.", "2.")
"""How the versions begin whose files may need tf_keras."""


class Exported(NamedTuple):
    """A SavedModel of a network of Keras 2 that cannot be rebuilt in Keras 3."""

    path: Path
    reason: str
    """Why it cannot be rebuilt."""


@contextlib.contextmanager
def loaded(
    path: Path, *, custom_objects: Mapping[str, Any] | None = None, trust: bool = False
) -> Iterator[keras.Model | Exported]:
    """The model in a file, or a SavedModel of it, which exists as long as the context lasts.

    What is judged is a copy of the file, so that nobody changes it between the judgment and the loading. A file with
    classes of the caller's program is loaded in this process alone, once all else in it was judged. Raises
    ModelFileError for a file that holds foreign code, is damaged, or cannot be loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        suffix = ".keras" if zipfile.is_zipfile(path) else ".h5"  # Keras goes by the name
        copied = Path(folder, f"model{suffix}")
        shutil.copyfile(path, copied)
        try:
            found = _load(path, copied, custom_objects or {}, trust=trust)
        except ForeignCodeError as error:
            raise ModelFileError(str(error)) from None
        yield found


def _load(path: Path, copied: Path, own: Mapping[str, Any], *, trust: bool) -> keras.Model | Exported:
    try:
        found = _load_elsewhere(path, copied, trust=trust)
    except ForeignCodeError:
        if not own and not keras.saving.get_custom_objects():
            raise
    except child.NoChildError:
        pass
    else:
        return found if isinstance(found, Exported) else _load_again(path, found, trust=trust)
    return _load_here(path, copied, own, trust=trust)[0]


def _load_elsewhere(path: Path, copied: Path, *, trust: bool) -> Path | Exported:
    """A file that Keras 3 loads to the model in ``copied``: that file, or one that a child process made of it."""
    if find_spec("tensorflow") is None:
        raise child.NoChildError("the child process computes with TensorFlow, which is not installed")
    request = {"path": str(path), "copied": str(copied), "trust": trust}
    function = f"{__name__}:convert"
    try:
        answer = child.call(function, request, purpose=f"opening {path.name}", seconds=MAX_SECONDS)
    except BundleError as error:  # a signal ended the child
        raise ModelFileError(f"{path.name} is damaged, or too large for the memory: {error}") from error
    if "refused" in answer:
        raise ForeignCodeError(answer["refused"])
    return Exported(Path(answer["file"]), answer["reason"]) if "reason" in answer else Path(answer["file"])


def convert(path: str, copied: str, trust: bool) -> dict[str, str]:
    """Try a file, in the child: ``file`` is what Keras 3 loads, ``refused`` why foreign code in it is not loaded.

    With a ``reason``, ``file`` is a SavedModel.
    """
    use_defaults_of_keras()
    try:
        found, is_rebuilt = _load_here(Path(path), Path(copied), {}, trust=trust)
    except ForeignCodeError as error:
        return {"refused": str(error)}
    if isinstance(found, Exported):
        return {"file": str(found.path), "reason": found.reason}
    _run(found)
    if not is_rebuilt:
        return {"file": copied}
    rebuilt = Path(copied).with_name("rebuilt.keras")
    found.save(rebuilt)
    return {"file": str(rebuilt)}


def _load_again(path: Path, found: Path, *, trust: bool) -> keras.Model:
    """What the child loaded, in this process, whose backend and settings may be others."""
    try:
        return keras.saving.load_model(found, compile=False, safe_mode=not trust)
    except Exception as error:  # Keras raises whatever its layers do
        raise ModelFileError(_not_loaded(path, found, error)) from error


def _load_here(path: Path, copied: Path, custom_objects: Mapping[str, Any], *, trust: bool) -> tuple[keras.Model, bool]:
    """The model in a file, and whether it was rebuilt, so that Keras does not load the file itself."""
    try:
        config = read_config(copied)
        if not trust:
            check_config(path, config, custom_objects)
    except ForeignCodeError:
        raise
    except ModelFileError as error:
        raise ModelFileError(str(error).replace(str(copied), str(path))) from error.__cause__
    is_rebuilt = False
    try:
        model = keras.saving.load_model(copied, dict(custom_objects), compile=False, safe_mode=not trust)
    except Exception as error:  # Keras raises whatever its layers do
        if not _version(copied).startswith(OF_KERAS_2):
            raise ModelFileError(_not_loaded(path, copied, error)) from error
        model, is_rebuilt = _rebuilt(path, copied, config, custom_objects), True
    if not isinstance(model, keras.Model | Exported):
        raise ModelFileError(f"{path} holds a {type(model).__name__} and not a model of Keras")
    return model, is_rebuilt


def _run(model: keras.Model) -> None:
    """Run a model on noise, in the child, so that what crashes TensorFlow does it there.

    What it cannot run raises in the parent, where more is known of the image that it takes.
    """
    shapes = [tuple(each.shape) for each in getattr(model, "inputs", None) or []]
    if len(shapes) != 1:
        return
    shape = [side or OPEN_SIDE for side in shapes[0][1:]]
    noise = np.random.default_rng(0).integers(0, 256, (shapes[0][0] or 2, *shape))
    try:
        model(keras.ops.cast(noise, model.inputs[0].dtype), training=False)
    except Exception:  # Keras raises whatever its layers do
        return


def _rebuilt(
    path: Path, copied: Path, config: dict[str, Any], custom_objects: Mapping[str, Any]
) -> keras.Model | Exported:
    from pretrained_cnn.foreign.keras2 import export, rebuild

    try:
        return rebuild(copied, config, custom_objects)
    except MissingDependencyError:
        raise
    except Exception as error:  # Keras raises whatever its layers do
        reason = _brief(error)
        try:
            return Exported(export(copied, config, custom_objects), reason)
        except Exception as second:  # so does tf_keras
            raise ModelFileError(f"{_not_loaded(path, copied, error)} ({_brief(second)})") from error


def _not_loaded(path: Path, copied: Path, error: Exception) -> str:
    version = _version(copied)
    writer = f"which Keras {version} wrote" if version else "which does not say what wrote it"
    return (
        f"Keras {keras.__version__} cannot load {path}, {writer}: {_brief(error)}; load it with the version of Keras "
        "that wrote it, and save it again"
    )


def _brief(error: Exception) -> str:
    return str(error).rpartition("Exception encountered: ")[2].strip().partition("\n")[0][:300]


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
    except Exception:  # zipfile, zlib, JSON and HDF5 raise their own for what is damaged
        return ""
    text = found.decode() if isinstance(found, bytes) else str(found)
    return text if re.fullmatch(r"[\w.+-]{1,40}", text) else ""
