"""``pretrained-cnn check FILE``: what a model file is, what is still to be told, and the presets tried on images."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from graph_files import write_litert, write_onnx
from keras import layers
from PIL import Image

from pretrained_cnn import Classifier, cli

Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Main:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = cli.main(["check", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def brightness(*before: Any, activation: Any = "softmax") -> keras.Model:
    """A network that gives class 0 for values below 0.4, class 2 above 1.5, else class 1."""
    dense = layers.Dense(3, activation)
    inputs = [keras.Input((8, 8, 3)), *before, layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*inputs, dense])
    dense.set_weights([np.array([[0, 2, 4]] * 3) / 3, np.array([0, -0.8, -3.8])])
    return model


def rows(out: str) -> dict[str, str]:
    """The first part of what is printed, by the names of the rows."""
    return {line[:12].strip(): line[12:] for line in out.partition("\n\n")[0].splitlines()}


def test_what_a_keras_file_is_and_what_is_to_be_told(check: Main) -> None:
    brightness().save("a.keras")
    code, out, err = check("a.keras")
    assert (code, err) == (0, "")
    found = rows(out)
    assert found["file"] == "a Keras archive"
    assert found["input"] == "float32 (N, 8, 8, 3)"
    assert found["output"] == "float32 (N, 3)"
    assert found["labels"] == "tell: --labels FILE with 3 names, or --labels numbers"
    assert found["preprocess"].startswith("tell: --preprocess keras_tf, keras_caffe, keras_torch, unit, ")
    assert "; the network begins with GlobalAveragePooling2D" in found["preprocess"]
    assert found["scores"] == "probabilities"


def test_what_is_told_is_not_asked_for(check: Main) -> None:
    brightness(layers.Rescaling(1 / 255), activation=None).save("a.keras")
    Path("labels.txt").write_text("dark\nmiddle\nlight\n")
    _, out, _ = check("a.keras", "--labels", "labels.txt")
    found = rows(out)
    assert found["labels"] == "3: dark; middle; light"
    assert found["preprocess"].startswith("not needed: the network begins with Rescaling")
    assert found["scores"] == "tell: --from-logits (the scores are no probabilities)"
    assert rows(check("a.keras", "--from-logits")[1])["scores"] == "told"
    code, _, err = check("a.keras", "--labels", "labels.txt", "--preprocess", "unit")
    assert (code, "would change the pixel values twice" in err) == (2, True)


def test_the_best_class_under_each_preset(check: Main) -> None:
    """They are those that the classifier opened with that preset gives."""
    brightness().save("a.keras")
    for level in (10, 120, 250):
        Image.new("RGB", (8, 8), (level,) * 3).save(f"{level:03}.png")
    code, out, err = check("a.keras", "010.png", "120.png", "250.png", "no.png")
    assert (code, err) == (1, "pretrained-cnn: no.png: the file does not exist\n")
    head, *lines = out.partition("\n\n")[2].splitlines()
    presets = ["none", "keras_tf, teachable_machine", "keras_caffe", "keras_torch", "unit"]
    assert [cell.strip() for cell in head.split("  ") if cell.strip()] == ["IMAGE", *presets]
    seen = [line.split() for line in lines]
    assert [name for name, *_ in seen] == ["010.png", "120.png", "250.png"]
    for place, preset in enumerate(presets, start=1):
        clf = Classifier.from_file("a.keras", labels="numbers", preprocess=preset.partition(",")[0])
        expected = [result.label for result in clf.predict_batch([line[0] for line in seen])]
        assert [line[place] for line in seen] == expected
    assert len({tuple(line[place] for line in seen) for place in range(1, 6)}) > 2


def test_a_gray_network_has_no_presets_for_colors(check: Main) -> None:
    write_onnx(Path("a.onnx"), channels=1)
    Image.new("L", (8, 8), 100).save("a.png")
    code, out, err = check("a.onnx", "a.png")
    assert (code, err) == (0, "")
    assert rows(out)["file"] == "an ONNX file"
    assert out.partition("\n\n")[2].startswith("IMAGE  none  keras_tf, teachable_machine  unit\n")


def test_the_values_that_a_graph_says(check: Main) -> None:
    write_litert(Path("a.bin"), input_dtype="uint8", input_quantization=(1 / 255, 0), last=None)
    found = rows(check("a.bin")[1])
    assert found["file"] == "a LiteRT (TensorFlow Lite) file"
    assert found["preprocess"] == "not needed: the network takes uint8, and with that pixels as they are"
    assert found["scores"].startswith("tell: --from-logits")
    write_litert(Path("b.bin"), last="LOGISTIC")
    assert rows(check("b.bin")[1])["scores"].startswith("tell: --multi-label")


def hdf5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["kernel"] = np.zeros(3)
    return stream.getvalue()


def zipped(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "content")
    return stream.getvalue()


OTHER: dict[str, tuple[bytes, str]] = {
    "weights.h5": (hdf5(), "is weights alone, without the network that they are for; give them with their network, as "
                           "in --model ResNet50 --weights weights.h5"),
    "model.pt": (zipped("model/data.pkl"), "is a PyTorch checkpoint; rebuild the network in Keras"),
    "model.mlmodel": (b"\x08\x01\x12\x00", "is a Core ML model; pass the Keras model that it was converted from"),
    "model.zip": (zipped("a/keras_model.h5"), "is an archive with a model in it; unpack it"),
    "notes.txt": (b"to do", "is a file, not a model"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_what_is_no_classifier_is_named_with_the_way_out(name: str, check: Main) -> None:
    content, message = OTHER[name]
    Path(name).write_bytes(content)
    code, out, err = check(name)
    assert (code, out) == (2, "")
    assert err.startswith(f"pretrained-cnn: {name!r} {message}")


def test_images_and_labels_are_not_for_a_bundle(check: Main, tmp_path: Path) -> None:
    brightness().save("a.keras")
    Classifier.from_file("a.keras", labels="numbers", preprocess="unit").save(tmp_path / "b")
    assert check("b")[0] == 0
    assert "classify them with `pretrained-cnn classify a.png --model b`" in check("b", "a.png")[2]
    assert "--labels is for a model file, which b is not" in check("b", "--labels", "numbers")[2]
