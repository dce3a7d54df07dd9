"""Classifiers in files of TFLite, ONNX, OpenVINO and TensorFlow, against answers that are known."""

from __future__ import annotations

import functools
import gc
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graph_files
import numpy as np
import pytest
from graph_files import images, logits, softmax, write_litert, write_onnx, write_saved_model
from made_files import KINDS as MADE
from numpy.typing import NDArray

from pretrained_cnn import Classifier
from pretrained_cnn.errors import BundleError, InvalidArgumentError, ModelFileError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.spec import ResizePolicy

SHARED = Path(__file__).parents[2] / "shared" / "cases" / "models"
LABELS = ["a", "b", "c", "d"]

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


def opened(path: Path, **arguments: Any) -> Classifier:
    return Classifier.from_file(path, **{"labels": LABELS, **arguments})


def unit(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    return softmax(logits(x / 255))


def torch(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    return softmax(logits((x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]))


def sigmoid(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits(x / 255))))


UNIT = {"preprocess": "unit"}
LOGITS = {"preprocess": "unit", "from_logits": True}


def takes(dtype: str, scale: float, zero: int) -> dict[str, Any]:
    return {"input_dtype": dtype, "input_quantization": (scale, zero)}


def gives(dtype: str, scale: float, zero: int) -> dict[str, Any]:
    return {"output_dtype": dtype, "output_quantization": (scale, zero)}


def numbers(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    return softmax(logits((x / 100 - [0.1, 0.2, 0.3]) / 2))


LITERT: list[tuple[dict[str, Any], dict[str, Any], Answer, float]] = [
    ({}, UNIT, unit, 1e-6),
    ({}, {"preprocess": "keras_torch"}, torch, 1e-6),
    ({}, {"preprocess": "keras_caffe"}, lambda x: softmax(logits(x[..., ::-1] - [103.939, 116.779, 123.68])), 1e-6),
    ({}, {"scale": 1 / 255, "channels": "bgr"}, lambda x: unit(x[..., ::-1]), 1e-6),
    ({}, {"scale": 0.01, "mean": [0.1, 0.2, 0.3], "std": 2}, numbers, 1e-6),
    ({"any_batch": True}, UNIT, unit, 1e-6),
    ({"layout": "NCHW"}, UNIT, unit, 1e-6),
    ({"layout": "NCHW", "channels": 1}, UNIT, unit, 1e-6),
    ({"layout": "NHW", "channels": 1}, UNIT, unit, 1e-6),
    ({"channels": 1}, UNIT, unit, 1e-6),
    ({"first": "MUL", "factor": 1 / 255}, {}, unit, 1e-6),
    ({"first": "DIV", "factor": 255}, {"preprocess": "none"}, unit, 1e-6),
    ({"first": "MUL", "factor": 0.5}, {"scale": 2 / 255}, unit, 1e-6),
    ({"last": None}, LOGITS, unit, 1e-6),
    ({"last": None}, {"preprocess": "unit", "from_logits": True, "multi_label": True}, sigmoid, 1e-6),
    ({"last": "LOGISTIC"}, {"preprocess": "unit", "multi_label": True}, sigmoid, 1e-6),
    ({"shape_of_output": (1, 4, 1, 1), "any_batch": True}, UNIT, unit, 1e-6),
    ({"shape_of_output": (1, 1, 1, 4)}, UNIT, unit, 1e-6),
    (takes("uint8", 1 / 255, 0), {}, unit, 1e-6),
    (takes("int8", 1 / 255, -128), {}, unit, 1e-6),
    (takes("int8", 1 / 255, -128), {"channels": "bgr"}, lambda x: unit(x[..., ::-1]), 1e-6),
    (takes("int8", 1.0, -128), {}, lambda x: softmax(logits(x)), 1e-6),
    (takes("uint8", 1 / 128, 128), {}, lambda x: softmax(logits((x - 128.0) / 128)), 1e-6),
    (takes("uint8", 0.0187, 114), {"preprocess": "keras_torch"}, torch, 0.03),
    (gives("uint8", 1 / 256, 0), UNIT, unit, 1 / 256),
    (gives("int8", 1 / 256, -128), UNIT, unit, 1 / 256),
    ({**gives("int8", 0.05, -10), "last": None}, LOGITS, unit, 0.025),
]  # fmt: skip


@pytest.mark.parametrize(("file", "arguments", "answer", "within"), LITERT, ids=lambda value: None)
def test_litert(file: dict[str, Any], arguments: dict[str, Any], answer: Answer, within: float, tmp_path: Path) -> None:
    given = images(file.get("channels", 3))
    with opened(write_litert(tmp_path / "a.tflite", **file), **arguments) as clf:
        scores = clf.predict_proba(list(given))
    np.testing.assert_allclose(scores, answer(given), rtol=0, atol=within)


ARGUMENT, FILE = InvalidArgumentError, ModelFileError

REFUSED: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({}, {}, ARGUMENT, "does not say which pixel values.*keras_torch.*begins with MEAN"),
    ({"first": "MUL"}, UNIT, ARGUMENT, "twice.*begins with MUL by constants"),
    (takes("uint8", 1 / 255, 0), UNIT, ARGUMENT, "pixels as they are"),
    (takes("uint8", 0.0187, 114), {}, ARGUMENT, "takes uint8 and begins"),
    ({"last": None}, UNIT, ARGUMENT, "no probabilities.*from_logits=True"),
    (gives("int8", 0.05, -10), UNIT, ARGUMENT, "may be 0 to 6.85.*from_logits"),
    ({"last": "LOGISTIC"}, UNIT, ARGUMENT, "sum to .* multi_label=True"),
    ({}, LOGITS, ARGUMENT, "probabilities already.*softmax; leave"),
    ({"channels": 1}, {"preprocess": "keras_caffe"}, ARGUMENT, "is for 3 channels, and the network takes 1"),
    ({}, {"preprocess": abs}, ARGUMENT, "takes numbers only"),
    ({}, {"preprocess": "unit", "labels": ["a"]}, ARGUMENT, "1 labels do not match the 4 classes"),
    ({}, {"preprocess": "unit", "labels": None}, ARGUMENT, "with 4 names"),
    ({}, {"preprocess": "unit", "input_size": (8, 8)}, FILE, r"takes images of \(6, 4\)"),
    ({}, {"preprocess": "unit", "layout": "NCHW"}, FILE, "no axis of 1 or 3 channels"),
    ({"channels": 2}, UNIT, FILE, r"\(1, 6, 4, 2\), which is no image"),
    ({"custom": True}, UNIT, FILE, "custom op: Mine"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "arguments", "error", "message"), REFUSED, ids=lambda value: None)
def test_litert_is_refused(
    file: dict[str, Any], arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = write_litert(tmp_path / "a.tflite", **file)
    with pytest.raises(error, match=f"(?s){message}"):
        opened(path, **arguments)


STEPS = [("Div", 127.5), ("Sub", 1.0)]
NORMALIZES = [("Sub", [0.485, 0.456, 0.406]), ("Div", [0.229, 0.224, 0.225])]
ULTRALYTICS = {"task": "classify", "names": "{0: 'p', 1: 'q', 2: 'r', 3: 's'}"}
TIMM = {"mean": "[0.485, 0.456, 0.406]", "std": "[0.229, 0.224, 0.225]", "crop_pct": "0.9", "interpolation": "bicubic"}

BINARY = {**UNIT, "labels": ["no", "yes"]}


def binary(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.concatenate([1 - sigmoid(x)[:, :1], sigmoid(x)[:, :1]], axis=1)


ONNX: list[tuple[dict[str, Any], dict[str, Any], Answer, float]] = [
    ({}, UNIT, unit, 1e-6),
    ({}, {"preprocess": "keras_torch"}, torch, 1e-6),
    ({"batch": 1}, UNIT, unit, 1e-6),
    ({"batch": 2}, UNIT, unit, 1e-6),
    ({"layout": "NHWC"}, UNIT, unit, 1e-6),
    ({"layout": "NHW", "channels": 1}, UNIT, unit, 1e-6),
    ({"channels": 1}, UNIT, unit, 1e-6),
    ({"size": ("H", "W")}, {**UNIT, "input_size": graph_files.SIZE}, unit, 1e-6),
    ({"first": STEPS}, {}, lambda x: softmax(logits(x / 127.5 - 1)), 1e-6),
    ({"first": NORMALIZES}, UNIT, torch, 1e-6),
    ({"last": None}, LOGITS, unit, 1e-6),
    ({"last": "LogSoftmax"}, LOGITS, unit, 1e-6),
    ({"last": "Sigmoid"}, {**UNIT, "multi_label": True}, sigmoid, 1e-6),
    ({"shape_of_output": (-1, 4, 1, 1)}, UNIT, unit, 1e-6),
    ({"shape_of_output": (1, 4, 1, 1)}, UNIT, unit, 1e-6),
    ({"dense": "MatMul"}, UNIT, unit, 1e-6),
    ({"dense": "Conv"}, UNIT, unit, 1e-6),
    ({"opset": 9}, UNIT, unit, 1e-6),
    ({"classes": 1, "last": "Sigmoid"}, BINARY, binary, 1e-6),
    ({"classes": 1, "last": None}, {**BINARY, "from_logits": True}, binary, 1e-6),
    ({"external": "weights.bin"}, UNIT, unit, 1e-6),
    ({"dtype": "float16"}, UNIT, unit, 1e-3),
    ({"dtype": "uint8", "first": [("Div", 255)]}, {}, unit, 1e-6),
    ({"dtype": "int8", "input_quantization": (1 / 255, -128)}, {}, unit, 1e-6),
    ({"output_quantization": (1 / 256, 0)}, UNIT, unit, 1 / 256),
    ({"metadata": ULTRALYTICS}, {"labels": None}, unit, 1e-6),
    ({"metadata": TIMM}, {}, torch, 1e-6),
]


@pytest.mark.parametrize(("file", "arguments", "answer", "within"), ONNX, ids=lambda value: None)
def test_onnx(file: dict[str, Any], arguments: dict[str, Any], answer: Answer, within: float, tmp_path: Path) -> None:
    given = images(file.get("channels", 3))
    with opened(write_onnx(tmp_path / "a.onnx", **file), **arguments) as clf:
        scores = clf.predict_proba(list(given))
    np.testing.assert_allclose(scores, answer(given), rtol=0, atol=within)


ONNX_REFUSED: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({}, {}, ARGUMENT, "does not say which pixel values.*begins with ReduceMean"),
    ({"first": STEPS}, UNIT, ARGUMENT, "twice.*begins with Div by constants and Sub by constants"),
    ({"first": NORMALIZES}, {}, ARGUMENT, "does not say.*begins with Sub by constants"),
    ({"metadata": ULTRALYTICS}, {"preprocess": "keras_tf"}, ARGUMENT, "its metadata says scale=0.00392157"),
    ({"last": "LogSoftmax"}, UNIT, ARGUMENT, "no probabilities"),
    ({}, LOGITS, ARGUMENT, "probabilities already"),
    ({"size": ("H", "W")}, UNIT, FILE, "leaves its size open; give input_size"),
    ({"opset": 8}, UNIT, FILE, "operators of version 8"),
    ({}, {**UNIT, "runtime": "litert"}, BundleError, r"a\.onnx is of format='onnx', which runtime='litert' does"),
    ({"domain": "mine"}, UNIT, FILE, "custom operator mine:Mine"),
    ({"dtype": "uint8", "input_quantization": (0.02, 120)}, {}, ARGUMENT, "does not say which pixel values"),
]


@pytest.mark.parametrize(("file", "arguments", "error", "message"), ONNX_REFUSED, ids=lambda value: None)
def test_onnx_is_refused(
    file: dict[str, Any], arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path / "a.onnx", **file)
    with pytest.raises(error, match=f"(?s){message}"):
        opened(path, **arguments)


def test_weights_beside_an_onnx_file(tmp_path: Path) -> None:
    """They are read from its folder alone, and have to be there whole."""
    folder = tmp_path / "model"
    folder.mkdir()
    path = write_onnx(folder / "a.onnx", external="weights.bin")
    weights = (folder / "weights.bin").read_bytes()
    (folder / "weights.bin").write_bytes(weights[:-1])
    with pytest.raises(ModelFileError, match=r"'weights\.bin', which is damaged or cut"):
        opened(path, **UNIT)
    (folder / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match=r"'weights\.bin', which is not beside it"):
        opened(path, **UNIT)
    outside = tmp_path / "secret"
    outside.write_bytes(weights)
    (folder / "weights.bin").symlink_to(outside)
    with pytest.raises(ModelFileError, match="outside of its folder"):
        opened(path, **UNIT)
    path.write_bytes(path.read_bytes().replace(b"weights.bin", b"..//secret "[:11]))
    with pytest.raises(ModelFileError, match="outside of its folder"):
        opened(path, **UNIT)


def test_what_lies_beside_a_file_says_its_preprocessing(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    said = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3}
    said |= {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {str(i): name for i, name in enumerate("wxyz")}}))
    clf = opened(path, labels=None)
    assert [label.name for label in clf.labels] == [*"wxyz"]
    assert clf.spec.resize == ResizePolicy("crop", crop_fraction=0.875, interpolation="bicubic")
    np.testing.assert_allclose(clf.engine.open().run(images())[0], torch(images()), atol=1e-6)


def test_openvino(tmp_path: Path) -> None:
    """Written by OpenVINO itself, from ONNX."""
    from pretrained_cnn.runtimes.openvino import import_openvino

    ov = import_openvino()
    answers = {"Gemm": unit, "Conv": unit, "uint8": lambda x: softmax(logits(x / 127.5 - 1))}
    for name, answer in answers.items():
        file = {"dtype": "uint8", "first": STEPS} if name == "uint8" else {"dense": name, "batch": 1}
        path = tmp_path / f"{name}.xml"
        ov.save_model(ov.convert_model(write_onnx(tmp_path / "a.onnx", **file)), path, compress_to_fp16=False)
        clf = opened(path, **({} if name == "uint8" else UNIT))
        np.testing.assert_allclose(clf.engine.open().run(images())[0], answer(images()), atol=1e-6)
        assert clf.spec.embedding_size == 3
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelFileError, match=r"uint8\.bin is not beside it"):
        opened(path)


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["onnx", "litert", "int8", "saved_model"])
def test_embed_and_train_on_a_file(tool: str, tmp_path: Path) -> None:
    """The input of the last dense layer is the embedding, here the mean of each channel."""
    if tool == "onnx":
        clf = opened(write_onnx(tmp_path / "a.onnx", last=None, batch=1), **LOGITS)
    elif tool == "saved_model":
        clf = opened(write_saved_model(tmp_path / "a"), **UNIT)
    else:
        clf = opened(
            write_litert(tmp_path / "a", **(takes("int8", 1 / 255, -128) if tool == "int8" else {})),
            **({} if tool == "int8" else UNIT),
        )
    given = images(count=8)
    embeddings = clf.embed(list(given))
    np.testing.assert_allclose(embeddings, (given / 255).mean(axis=(1, 2)), atol=1e-6)
    pairs = [(image, "bright" if image.mean() > 110 else "dark") for image in given]
    trained = Classifier.train(pairs, clf, validation=pairs, cache=False)
    trained.save(tmp_path / "b")
    del clf
    gc.collect()
    for each in (trained, Classifier.load(tmp_path / "b")):
        assert [each.predict(image).label for image, _ in pairs] == [label for _, label in pairs]


@pytest.mark.slow
def test_saved_model(tmp_path: Path) -> None:
    clf = opened(write_saved_model(tmp_path / "a", first=lambda x: x / 255.0))
    np.testing.assert_allclose(clf.engine.open().run(images())[0], unit(images()), atol=1e-6)
    clf.save(tmp_path / "b")
    loaded = Classifier.load(tmp_path / "b")
    np.testing.assert_allclose(loaded.engine.open().run(images())[0], unit(images()), atol=1e-6)


@pytest.mark.slow
def test_signatures_of_a_saved_model(tmp_path: Path) -> None:
    path = write_saved_model(tmp_path / "a", batch=1, signatures=("one", "two"))
    with pytest.raises(InvalidArgumentError, match=r"several signatures; give signature=\.\.\., one of one, two"):
        opened(path, **UNIT)
    with pytest.raises(InvalidArgumentError, match=r"signature='three' does not .* are 'one' of float32 .*, 'two' of"):
        opened(path, signature="three", **UNIT)
    with pytest.raises(InvalidArgumentError, match=r"(?s)does not say which pixel values.*begins with Mean"):
        opened(path, signature="two")
    clf = opened(path, signature="two", **UNIT)
    np.testing.assert_allclose(clf.engine.open().run(images())[0], unit(images()), atol=1e-6)


@pytest.mark.slow
def test_operations_of_a_saved_model(tmp_path: Path) -> None:
    """What reads or writes files, or runs Python, is refused before it is loaded, also in branches and functions."""
    import tensorflow as tf

    target = tmp_path / "written"

    def write(x: Any) -> Any:
        tf.raw_ops.SaveV2(prefix=str(target), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.reduce_mean(x)])
        return x

    def read(x: Any) -> Any:
        return x + 0 * tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

    def branch(x: Any) -> Any:
        return tf.cond(tf.reduce_mean(x) > 300, lambda: read(x), lambda: x)

    steps = {"ReadFile": read, "EagerPyFunc": lambda x: tf.py_function(abs, [x], tf.float32), "SaveV2": write}
    for name, step in {**steps, "ReadFile ": branch, "WriteFile": lambda x: _with_file(x, target)}.items():
        path = write_saved_model(tmp_path / name.replace(" ", "2"), first=step)
        with pytest.raises(ModelFileError, match=f"has the operation {name.strip()}"):
            opened(path, **UNIT)
    assert not list(tmp_path.glob("written*"))


def _with_file(x: Any, target: Path) -> Any:
    import tensorflow as tf

    with tf.control_dependencies([tf.io.write_file(str(target), "x")]):
        return tf.identity(x)


@pytest.mark.child
def test_a_file_that_takes_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What opens it is a child process, which is ended."""
    monkeypatch.setattr("pretrained_cnn.foreign.graph_files.MAX_SECONDS", 0.01)
    with pytest.raises(ModelFileError, match=r"opening a\.onnx: it took longer than 0\.01 seconds"):
        opened(write_onnx(tmp_path / "a.onnx"), **UNIT)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGALRM")
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("LiteRT: by hand", 500),
        ("ONNX: float64", 500),
        ("OpenVINO: of ONNX, float16", 500),
        ("SavedModel: of a function", 100),
    ],
)
def test_mutated_files(name: str, files: int, tmp_path: Path) -> None:
    """A changed file gives an answer or one of our errors, unless it ends the process, which is a child's elsewhere."""
    path = MADE[name].write(tmp_path)
    program = Path(__file__).parents[1] / "benchmarks" / "mutated_graphs.py"
    done = subprocess.run(
        [sys.executable, str(program), str(path), "--files", str(files)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (refused|ended the process)", done.stdout)}
    assert counts["refused"] > files // 10
    assert counts.get("ended the process", 0) <= files // 25


def golden() -> Iterator[Any]:
    if (SHARED / "golden.json").exists():
        for model in json.loads((SHARED / "golden.json").read_text("utf-8"))["models"]:
            if not model["file"].endswith((".h5", ".hdf5", ".keras")):
                yield pytest.param(model, id=model["file"])


@pytest.mark.skipif(not SHARED.exists(), reason="the shared files are not here")
@pytest.mark.parametrize("model", list(golden()))
def test_files_that_people_published(model: dict[str, Any], tmp_path: Path) -> None:
    labels = model["labels"] or SHARED / model["labels_file"]
    clf = opened(SHARED / model["file"], labels=labels, from_logits=model["output"]["apply"] == "softmax")
    clf.save(tmp_path / "b")
    for each in (clf, Classifier.load(tmp_path / "b")):
        for picture in model["pictures"]:
            scores = each.predict_proba([SHARED / "pictures" / picture["picture"]])[0]
            wanted = dict(picture["top"]) if "top" in picture else dict(enumerate(picture["scores"]))
            assert scores.argmax() == picture["best"]
            for index, score in wanted.items():
                assert abs(scores[index] - score) <= picture["tolerance"], picture["picture"]


def test_labels_and_normalization_in_metadata(tmp_path: Path) -> None:
    """A packed file of labels is taken; of an input of integers, which takes pixels, the normalization is not."""
    file = SHARED / "imagenet" / "mobilenet_v1_0.25_128_quant.tflite"
    if not file.exists():
        pytest.skip("the shared files are not here")
    assert [label.name for label in opened(file, labels=None).labels[:2]] == ["background", "tench, Tinca tinca"]


def test_a_graph_says_what_it_cannot_do(tmp_path: Path) -> None:
    clf = opened(MADE["ONNX: a softmax by hand"].write(tmp_path), preprocess="unit")
    image = images()[0]
    pairs = [(image, "one"), (255 - image, "two")]
    train = functools.partial(Classifier.train, pairs, clf, pairs, cache=False)
    for use in (lambda: clf.embed([image]), lambda: clf.explain(image), lambda: clf.keras_model, train):
        with pytest.raises(BundleError, match=r"a\.onnx is a graph of format='onnx' and gives scores only"):
            use()
    with pytest.raises(BundleError, match=r"a\.onnx is of format='onnx'.*without format=\.\.\.; another"):
        clf.save(tmp_path / "b", format="keras")


def test_the_temporary_bundle_goes_with_its_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process that made it; a fork of it, which has a number of its own, removes nothing."""
    folders = []
    for number in (os.getpid(), -1):
        clf = opened(write_litert(tmp_path / "a.tflite"), preprocess="unit")
        assert clf.engine.bundle is not None
        folders.append(clf.engine.bundle.path)
        assert folders[-1].exists()
        with monkeypatch.context() as patched:
            patched.setattr("os.getpid", lambda number=number: number)
            del clf
            gc.collect()
    assert [folder.exists() for folder in folders] == [False, True]
    shutil.rmtree(folders[1])


def test_a_pickle_has_the_content_of_the_file(tmp_path: Path) -> None:
    """So it opens on another machine, and after the file and this classifier are gone."""
    path = write_onnx(tmp_path / "a.onnx")
    clf = opened(path, **UNIT, image_policy=ImagePolicy(truncated="allow"))
    expected = clf.predict_proba(images())
    assert repr(clf) == "Classifier.from_file(<a.onnx>, runtime='onnxruntime')"
    folder, stored = clf.engine.bundle, pickle.dumps(clf)
    assert folder is not None
    shutil.rmtree(folder.path)
    path.unlink()
    again = pickle.loads(stored)
    np.testing.assert_array_equal(again.predict_proba(images()), expected)
    assert again.engine.image_policy.truncated == "allow"
    assert pickle.loads(pickle.dumps(again)).spec.labels == clf.spec.labels
