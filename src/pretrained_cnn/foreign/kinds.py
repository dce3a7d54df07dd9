"""What a model file is, by its first bytes and never by its name. Nothing of a file is executed."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = ["FileKind", "kind_of"]

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
TORCH_OF_OLD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
}
MODEL_NAMES = re.compile(
    r"(^|/)(saved_model\.pb|model\.json|.*\.(keras|h5|hdf5|tflite|onnx|pt|pth|safetensors|mlmodel|xml))$", re.IGNORECASE
)
MODEL_PROTO = {*range(1, 9), 14, 20, 25, 26}
"""The fields of ONNX's ModelProto."""

BY_KERAS = "rebuild the network in Keras, copy the weights, and pass it to Classifier.from_keras"
BY_BUILDER = "give them with their network, as in Classifier('ResNet50', weights={path!r})"
UNPACK = "unpack it, and pass the model file in it"


@dataclass(frozen=True)
class FileKind:
    """What a file is, and what to do with it."""

    what: str
    """As the end of a sentence: ``"a PyTorch checkpoint"``."""
    way_out: str
    """``{path!r}`` stands for its path."""

    def sentence(self, path: Path) -> str:
        """What is at ``path``, and the way out."""
        return f"{self.what}; {self.way_out.format(path=str(path))}"


FROM_FILE = "open it with Classifier.from_file({path!r}, labels=[...])"
KERAS = FileKind("a Keras archive", FROM_FILE)
KERAS_HDF5 = FileKind("a Keras model in HDF5", FROM_FILE)
WEIGHTS = FileKind("weights alone, without the network that they are for", BY_BUILDER)
LITERT = FileKind("a LiteRT (TensorFlow Lite) file", FROM_FILE)
ONNX = FileKind("an ONNX file", FROM_FILE)
OPENVINO = FileKind("an OpenVINO model", FROM_FILE)
SAVED_MODEL = FileKind("a SavedModel", FROM_FILE)
TORCH = FileKind("a PyTorch checkpoint", BY_KERAS)
TORCH_SCRIPT = FileKind("a TorchScript program", BY_KERAS)
PICKLE = FileKind("a Python pickle, which runs code when it is read", "save the model in Keras's own format, .keras")
SAFETENSORS = FileKind("weights alone (safetensors), without the network that they are for", BY_KERAS)
CORE_ML = FileKind("a Core ML model", "pass the Keras model that it was converted from to Classifier.from_keras")
TENSORFLOW_JS = FileKind(
    "a TensorFlow.js model", "download the same model as Keras .h5 (Teachable Machine offers it), and pass that file"
)
FROZEN_GRAPH = FileKind("a graph of TensorFlow 1", "convert it to a SavedModel with TensorFlow")
CHECKPOINT = FileKind("weights alone (a TensorFlow checkpoint), without the network that they are for", BY_KERAS)
ARCHITECTURE = FileKind(
    "the architecture of a Keras model without its weights",
    "build it with keras.models.model_from_json, load the weights, and pass it to Classifier.from_keras",
)
NUMPY = FileKind("arrays of NumPy without the network that they are for", BY_KERAS)
PACKED = FileKind("an archive with a model in it", UNPACK)
COMPRESSED_FILE = FileKind("a compressed archive", UNPACK)
EMPTY = FileKind("an empty file", "copy or download it again")
DAMAGED_ZIP = FileKind("a zip archive that is damaged or cut off", "copy or download it again")
DAMAGED_HDF5 = FileKind("an HDF5 file that is damaged or cut off", "copy or download it again")
POINTER = FileKind("a pointer of Git LFS and not the file itself", "run `git lfs pull` where it was cloned")
WEB_PAGE = FileKind(
    "a web page and not a model", "download the file itself (on GitHub: the button 'Download raw file')"
)
UNPACKED_KERAS = FileKind(
    "the unpacked content of a .keras archive", "zip the files in this folder (not the folder) into one file again"
)


def kind_of(path: Path) -> FileKind | None:
    """What the file or the folder at ``path`` is; None where that is no model, and nothing like one.

    Raises OSError if it cannot be read.
    """
    if path.is_dir():
        return _folder(path)
    size = path.stat().st_size
    if not size:
        return EMPTY
    with path.open("rb") as stream:
        start = stream.read(4096)
        if start.startswith(ZIP):
            return _zip(stream)
        if start.startswith(HDF5):
            return _hdf5(stream, start, size)
        return _by_start(start, path) or (ONNX if _is_onnx(stream, size) else None)


def _folder(path: Path) -> FileKind | None:
    names = set(os.listdir(path))
    if "saved_model.pb" in names:
        return SAVED_MODEL
    if {"config.json", "model.weights.h5"} <= names:
        return UNPACKED_KERAS
    if {"Manifest.json", "Data"} <= names and path.suffix == ".mlpackage":
        return CORE_ML
    return None


def _by_start(start: bytes, path: Path) -> FileKind | None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[4:8] == b"TFL3":
        return LITERT
    if start.startswith(TORCH_OF_OLD):
        return TORCH
    if re.match(rb"\x80[\x02-\x05][\x80-\xff(}\]\x00c]", start):
        return PICKLE
    if int.from_bytes(start[:8], "little") < 2**30 and start[8:9] == b"{":
        return SAFETENSORS
    if start.startswith(b"\x93NUMPY"):
        return NUMPY
    if start.startswith(tuple(COMPRESSED)) or start[257:262] == b"ustar":
        return COMPRESSED_FILE
    if text.startswith(b"version https://git-lfs"):
        return POINTER
    if text[:20].lower().startswith((b"<!doctype html", b"<html")):
        return WEB_PAGE
    if text.startswith((b"<?xml", b"<net")) and b"<net " in text and b"version=" in text:
        return OPENVINO
    if text.startswith(b"{") and b'"modelTopology"' in text:
        return TENSORFLOW_JS
    if text.startswith(b"{") and b'"class_name"' in text and b'"config"' in text:
        return ARCHITECTURE
    return _by_name(path)


def _by_name(path: Path) -> FileKind | None:
    """Of the few formats that nothing marks."""
    name = path.name.lower()
    if name == "saved_model.pb":
        return FileKind("the graph of a SavedModel", "pass the folder that it lies in")
    if name.endswith(".mlmodel"):
        return CORE_ML
    if name.endswith((".pb", ".pbtxt")):
        return FROZEN_GRAPH
    if name == "checkpoint" or re.search(r"\.(index|ckpt|data-\d+-of-\d+)$", name):
        return CHECKPOINT
    return None


def _zip(stream: IO[bytes]) -> FileKind | None:
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return DAMAGED_ZIP
    if "config.json" in names and "model.weights.h5" in names:
        return KERAS
    parts = {name.partition("/")[2] for name in names}
    if "data.pkl" in names or "data.pkl" in parts:
        return TORCH_SCRIPT if "constants.pkl" in parts else TORCH
    if names and all(name.endswith(".npy") for name in names):
        return NUMPY
    if "model.json" in names:
        return TENSORFLOW_JS
    return PACKED if any(map(MODEL_NAMES.search, names)) else None


def _hdf5(stream: IO[bytes], start: bytes, size: int) -> FileKind:
    """By the bytes alone: HDF5's own library may crash on a damaged file."""
    end = _end_of_hdf5(start)
    if end is None or end > size:
        return DAMAGED_HDF5
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return WEIGHTS if content.find(b"model_config\0") < 0 else KERAS_HDF5


def _end_of_hdf5(start: bytes) -> int | None:
    """Where the superblock says that an HDF5 file ends; None for one that no version of HDF5 writes."""
    version = start[8] if len(start) > 8 else -1
    places = {0: (13, 40), 1: (13, 44), 2: (9, 28), 3: (9, 28)}
    if version not in places:
        return None
    width, place = places[version]
    if start[width : width + 1] != b"\x08" or len(start) < place + 8:
        return None
    return int.from_bytes(start[place : place + 8], "little")


def _is_onnx(stream: IO[bytes], size: int) -> bool:
    """Whether a file is a protobuf message of ModelProto's fields, with a version and a graph."""
    seen: set[int] = set()
    stream.seek(0)
    with contextlib.suppress(ValueError):
        for _ in range(100_000):
            at = stream.tell()
            if at >= size:
                return at == size and {1, 7} <= seen
            tag = _varint(stream)
            field, wire = tag >> 3, tag & 7
            if field not in MODEL_PROTO or wire not in (0, 2):
                return False
            seen.add(field)
            length = _varint(stream)
            if wire == 2:
                if length > size:  # what no file has, and no seek takes
                    return False
                stream.seek(length, os.SEEK_CUR)
    return False


def _varint(stream: IO[bytes]) -> int:
    value = 0
    for place in range(10):
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:
            return value
    raise ValueError("no number ends here")
