"""What is wrong with images is said before a network is loaded, downloaded or built."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from patterns import CLASSES, SMALL, draw

from pretrained_cnn import Classifier, DataError, ImageError, ModelSpec, audit, cli
from pretrained_cnn.engine import Engine

BUNDLE, FILE, SPEC = "small.bundle", "small.keras", "patterns:SMALL"
MODELS = (BUNDLE, FILE, SPEC)

LABELED = {
    "nowhere": "nowhere: it does not exist; give a folder",
    "empty": "empty: no image is in its folders",
    "broken.zip": "broken.zip: ",
    "flat": "flat: 000.png is in no folder of a class",
    "columns.csv": "columns.csv: no column",
}
"""What is wrong whatever the classes are."""

OTHER = {"stripes": "'across'", "labels.csv": "'zebra'"}
"""Classes that are not the classifier's, which a model file knows only once it is opened."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images first")
    draw(folder / "stripes", 2)
    shutil.copytree(folder / "stripes" / CLASSES[0], folder / "flat")
    (folder / "empty/a").mkdir(parents=True)
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 no archive")
    (folder / "labels.csv").write_text("path,label\nflat/000.png,zebra\n")
    (folder / "columns.csv").write_text("name,kind\nflat/000.png,a\n")
    (folder / "list.txt").write_text("")
    clf = Classifier(SMALL, weights=None)
    clf.save(folder / BUNDLE)
    clf.keras_model.save(folder / FILE)
    clf.close()
    return folder


@pytest.fixture
def _no_network(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a network is loaded")

    for name in ("from_bundle", "from_file", "backbone", "open"):
        monkeypatch.setattr(Engine, name, refuse)
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def commands(model: str, source: str) -> list[list[str]]:
    """All commands that judge a classifier by labeled images."""
    found = [
        ["evaluate", source, "-m", model],
        ["report", source, "-m", model, "--labeled", "-o", "r.html"],
    ]
    if model == BUNDLE:
        found.append(["calibrate", model, source, "-o", "new.bundle"])
    found += [["compare", model, SPEC, source], ["compare", "results.csv", model, source]]
    return found


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("model", MODELS)
def test_labeled_images_come_before_the_network(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for source, message in {**LABELED, **({} if model == FILE else OTHER)}.items():
        for words in commands(model, source):
            assert cli.main(words) == 1, words
            assert message in capsys.readouterr().err, words


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("model", MODELS)
def test_other_images_come_before_the_network(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        "nowhere": "nowhere: the file or folder does not exist",
        "empty": "empty: ",
        "no*.png": "no*.png: ",
        "list.txt": "list.txt: ",
    }
    for source, message in found.items():
        assert cli.main(["label-next", source, "-m", model]) == 1
        assert message in capsys.readouterr().err
    for words in (["audit", "stripes", "--against"], ["audit"], ["train", "-o", "t.bundle"], ["choose"]):
        assert cli.main([*words, "nowhere", "-m", model]) == 1, words
        assert "nowhere: it does not exist" in capsys.readouterr().err, words


@pytest.mark.usefixtures("_no_network")
def test_so_it_is_in_python() -> None:
    clf, spec = Classifier(SMALL, weights=None), ModelSpec.replace(SMALL, name="Other")
    for model in ("nowhere.bundle", clf):
        with pytest.raises(DataError, match="nowhere: it does not exist"):
            clf.compare(model, "nowhere")
    with pytest.raises(DataError, match="'across'"):
        clf.compare(Classifier(spec, weights=None), "stripes")
    with pytest.raises(DataError, match="nowhere: it does not exist"):
        audit("nowhere", BUNDLE)
    with pytest.raises(DataError, match="at least 19 images to calibrate with, and 2 could be read"):
        clf.calibrate([("flat/000.png", "a"), ("flat/001.png", "b")])
    with pytest.raises(ImageError, match="empty"):
        clf.rank_unlabeled("empty")


def test_no_image_that_can_be_read_is_an_error() -> None:
    clf = Classifier(SMALL, weights=None)
    with pytest.raises(ImageError, match=r"gone\.png"):
        clf.rank_unlabeled(["gone.png", "away.png"])
