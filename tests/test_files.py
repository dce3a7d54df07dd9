"""What a model file is, by its first bytes, and files of many kinds with their right answers."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from graph_files import images
from made_files import KINDS as MADE

from pretrained_cnn import Classifier, InvalidArgumentError, ModelFileError
from pretrained_cnn.foreign import kinds
from pretrained_cnn.foreign.kinds import KERAS, KERAS_HDF5, LITERT, FileKind, kind_of
from pretrained_cnn.models import find_model

TORCH_OF_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return stream.getvalue()


def hdf5(**attributes: str) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs.update(attributes)
        file.create_group("layers")
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.h5"))
    return stream.getvalue()


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def numpy_file() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


SAFETENSORS = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
ONNX = b"\x08\x09" + field(2, b"pytorch") + field(7, b"graph") + field(8, b"\x10\x11")
XML = b'<?xml version="1.0"?>\n<net name="model" version="11"><layers/></net>'

# name, content, the sentence
KINDS: list[tuple[str, Callable[[], bytes] | bytes, str]] = [
    ("a.h5", lambda: hdf5(), "weights alone, without the network that they are for; give them with their network"),
    ("a.h5", lambda: hdf5()[:60], "an HDF5 file that is damaged or cut off; copy or download it again"),
    ("a.keras", lambda: zipped("config.json", "model.weights.h5")[:50], "a zip archive that is damaged or cut off"),
    ("a.bin", lambda: zipped("a/data.pkl", "a/version"), "a PyTorch checkpoint; rebuild the network in Keras"),
    ("a.bin", lambda: zipped("a/data.pkl", "a/constants.pkl", "a/code/a.py"), "a TorchScript program"),
    ("a.bin", TORCH_OF_OLD, "a PyTorch checkpoint"),
    ("a.h5", lambda: pickle.dumps({"a": 1}), "a Python pickle, which runs code when it is read"),
    ("a.bin", lambda: len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS + bytes(4), "weights alone (safetensors)"),
    ("a.mlmodel", b"\x08\x04\x12\x02ab", "a Core ML model"),
    ("a.json", b'{"modelTopology": {"class_name": "Model"}}', "a TensorFlow.js model"),
    ("a.zip", lambda: zipped("model.json", "weights.bin", "metadata.json"), "a TensorFlow.js model"),
    ("a.json", b'{"class_name": "Sequential", "config": {}}', "the architecture of a Keras model without its weights"),
    ("a.zip", lambda: zipped("keras_model.h5", "labels.txt"), "an archive with a model in it; unpack it"),
    ("a.zip", lambda: zipped("export/saved_model.pb"), "an archive with a model in it; unpack it"),
    ("a.tar", tar, "a compressed archive; unpack it"),
    ("a.h5.gz", b"\x1f\x8b\x08\0\0\0\0\0", "a compressed archive; unpack it"),
    ("a.npz", lambda: zipped("a.npy", "b.npy"), "arrays of NumPy"),
    ("a.npy", numpy_file, "arrays of NumPy"),
    ("saved_model.pb", b"\x08\x01\x12\x02ab", "the graph of a SavedModel; pass the folder that it lies in"),
    ("frozen.pb", b"\n\x02ab", "a graph of TensorFlow 1"),
    ("model.ckpt.index", b"\0\0", "weights alone (a TensorFlow checkpoint)"),
    ("a.onnx", b"", "an empty file; copy or download it again"),
    ("a.h5", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
    ("a.h5", b"\n<!DOCTYPE html>\n<html>", "a web page and not a model; download the file itself"),
]


OPENED: list[tuple[str, Callable[[], bytes], FileKind]] = [
    ("a.keras", lambda: zipped("config.json", "metadata.json", "model.weights.h5"), KERAS),
    ("a.h5", lambda: zipped("config.json", "model.weights.h5"), KERAS),
    ("a.h5", lambda: hdf5(model_config="{}"), KERAS_HDF5),
    ("a.keras", lambda: hdf5(model_config="{}"), KERAS_HDF5),
    ("a.bin", lambda: b"\x1c\0\0\0TFL3\x14\0\x20\0", LITERT),
    ("a.bin", lambda: ONNX, kinds.ONNX),
    ("a.bin", lambda: XML, kinds.OPENVINO),
]


@pytest.mark.parametrize(("name", "content", "kind"), OPENED)
def test_a_file_that_can_be_opened_is_known_by_its_content(
    tmp_path: Path, name: str, content: Callable[[], bytes], kind: FileKind
) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    assert find_model(path) == (path, kind)


@pytest.mark.parametrize(("name", "content", "sentence"), KINDS, ids=[f"{kind[2][:40]} {kind[0]}" for kind in KINDS])
def test_a_file_is_named_as_what_it_is(
    tmp_path: Path, name: str, content: Callable[[], bytes] | bytes, sentence: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content())
    with pytest.raises(InvalidArgumentError) as caught:
        find_model(path)
    assert f"{str(path)!r} is {sentence}" in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\n",
        b"\xff\xd8\xff\xe0 an image",
        b"\x08\x09",
        ONNX[:-1],
        ONNX + b"\x01",
        b"\x08\x09\x3a" + b"\xff" * 8 + b"\x7f",
        b"\x80\x04",
        b"{}",
    ],
)
def test_what_is_no_model_has_no_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert kind_of(path) is None


def test_folders(tmp_path: Path) -> None:
    for files, what in (
        (["saved_model.pb"], "a SavedModel"),
        (["config.json", "model.weights.h5"], "the unpacked content of a .keras archive"),
        (["readme.md"], None),
    ):
        folder = tmp_path / files[0].replace(".", "_")
        folder.mkdir()
        for file in files:
            (folder / file).touch()
        kind = kind_of(folder)
        assert (kind and kind.what.startswith(what or "")) == (what and True)


def test_no_content_ends_in_anything_but_a_kind(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "file.h5"
    for _, content, _ in KINDS:
        data = bytearray(content if isinstance(content, bytes) else content())
        for _ in range(20 if data else 0):
            changed = bytearray(data[: random.integers(1, len(data) + 1)])
            for place in random.integers(0, len(changed), 3):
                changed[place] = random.integers(256)
            path.write_bytes(changed)
            kind_of(path)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs", "ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * MADE[name].slow) for name in MADE])
def test_the_answer_or_the_sentence(name: str, tmp_path: Path) -> None:
    kind = MADE[name]
    path = kind.write(tmp_path)
    arguments = {"labels": list("abcd"), **kind.arguments}
    if kind.sentence is not None:
        with pytest.raises((InvalidArgumentError, ModelFileError)) as caught:
            Classifier.from_file(path, **arguments)
        assert kind.sentence in str(caught.value)
        return
    with Classifier.from_file(path, **arguments) as clf:
        given = images(clf.spec.channels)
        scores = clf.predict_proba(list(given))
        assert (clf.spec.embedding_size is not None) == kind.embeds or clf.engine.bundle is None
        if kind.embeds:
            means = (given / 255).mean(axis=(1, 2))
            np.testing.assert_allclose(clf.embed(list(given)), means, rtol=0, atol=kind.within)
    expected = kind.answer(given)
    assert np.ptp(expected, axis=0).max() > 0.1, "an answer to everything says nothing"
    np.testing.assert_allclose(scores, expected, rtol=0, atol=kind.within)
