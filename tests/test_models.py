"""What may stand for a model."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pretrained_cnn import BundleError, InvalidArgumentError, UnknownModelError, get_spec
from pretrained_cnn.models import find_model, find_reference


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one of each kind of thing in it."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "cars.bundle/manifest.json",
        "cars.bundle/model.onnx",
        "Xception/manifest.json",
        "shelf/cars.bundle/manifest.json",
        "torn.bundle/check.npz",
        "photos/cat.jpg",
        "clothes/shirt/1.PNG",
        "saved/saved_model.pb",
        "notes/readme.md",
        "cat.jpg",
        "net.keras",
        "net.h5",
        "net.tflite",
        "cars.bundle.zip",
        "labels.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "net.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    with zipfile.ZipFile(tmp_path / "cars.bundle.zip", "w") as archive:
        archive.writestr("cars.bundle/manifest.json", "{}")
    (tmp_path / "labels.txt").write_text("cat")
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_name_a_spec_and_a_bundle(here: Path) -> None:
    spec = get_spec("Xception")
    assert find_model("x-ception") is spec
    assert find_model(spec) is spec
    for each in ("cars.bundle", "./cars.bundle", str(here / "cars.bundle"), Path("cars.bundle"), "shelf/cars.bundle"):
        assert find_model(each) == Path(each)


def test_a_name_comes_before_a_folder_of_that_name(here: Path) -> None:
    assert find_model("Xception") is get_spec("Xception")
    assert find_model("./Xception") == Path("Xception")
    assert find_model(Path("Xception")) == Path("Xception")


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("Xseption", UnknownModelError, "unknown model 'Xseption'; did you mean 'Xception'"),
        ("", UnknownModelError, "unknown model ''"),
        ("mine:spec", InvalidArgumentError, "import it and pass the object: from mine import spec"),
        ("cars.bundel", BundleError, "cars.bundel does not exist; did you mean 'cars.bundle'?"),
        ("shelf/car.bundle", BundleError, "shelf/car.bundle does not exist; did you mean 'shelf/cars.bundle'?"),
        ("no/such/folder", BundleError, "no/such/folder does not exist"),
        ("net.keros", BundleError, "net.keros does not exist; did you mean 'net.keras'?"),
        (Path("Resnet"), BundleError, "Resnet does not exist"),
        ("torn.bundle", BundleError, "torn.bundle/manifest.json is missing; copy the whole bundle again"),
        ("shelf", InvalidArgumentError, "'shelf' is a folder of bundles; did you mean 'shelf/cars.bundle'?"),
        ("photos", InvalidArgumentError, "classify the images with Classifier().stream('photos'), or train on them"),
        ("clothes", InvalidArgumentError, "or train on them with Classifier.train('clothes')"),
        ("notes", InvalidArgumentError, "'notes' is a folder without a bundle's manifest.json; expected a name"),
        ("empty", InvalidArgumentError, "'empty' is a folder without a bundle's manifest.json; expected a name"),
        ("cat.jpg", InvalidArgumentError, "'cat.jpg' is named like an image, not like a model; classify it with"),
        ("net.h5", InvalidArgumentError, "'net.h5' is an empty file; copy or download it again"),
        ("cars.bundle/model.onnx", InvalidArgumentError, "is a file of a bundle; pass its folder, 'cars.bundle'"),
        ("cars.bundle.zip", InvalidArgumentError, "'cars.bundle.zip' is an archive; unpack it"),
        ("labels.txt", InvalidArgumentError, "'labels.txt' is a file, not a model; expected a name"),
        (3, InvalidArgumentError, "an object of type int is not a model; expected a name that list_models() gives"),
        (None, InvalidArgumentError, "an object of type NoneType is not a model"),
        (b"Xception", InvalidArgumentError, "an object of type bytes is not a model"),
    ],
)
def test_anything_else_gets_the_hint_that_fits(here: Path, model: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        find_model(model)
    assert message.replace("/", os.sep) in str(caught.value).replace("/", os.sep)


def test_a_keras_model_and_a_classifier_are_not_taken_for_a_spec() -> None:
    import keras

    from pretrained_cnn import Classifier

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    with pytest.raises(InvalidArgumentError, match=r"use Classifier\.from_keras\(model, labels=\[\.\.\.\]\)"):
        find_model(model)
    with pytest.raises(InvalidArgumentError, match="this is a Classifier already"):
        find_model(Classifier("MobileNet"))


def test_a_spec_in_a_module_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path[:])
    Path("specs_of_mine.py").write_text(
        "from pretrained_cnn import get_spec\nlite = get_spec('EfficientNetLite0').replace(name='Mine')\nnumber = 3\n"
    )
    Path("broken_module_of_mine.py").write_text("1 / 0")
    assert find_reference("specs_of_mine:lite").name == "Mine"
    for path, message in (
        ("specs_of_mine:number", "specs_of_mine:number: an object of type int is not a model; expected a ModelSpec"),
        ("specs_of_mine:nothing", "specs_of_mine:nothing cannot be imported: AttributeError"),
        ("no_such_module:lite", "no_such_module:lite cannot be imported: ModuleNotFoundError"),
        ("broken_module_of_mine:lite", "cannot be imported: ZeroDivisionError: division by zero"),
        ("specs_of_mine:", "is not of the form"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            find_reference(path)
        assert message in str(caught.value)
