"""Files that people published, from the command line: their right answers, and all that works on them."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pretrained_cnn import Classifier, cli
from pretrained_cnn.foreign import keras_file, keras_load

pytestmark = pytest.mark.slow

FILES = ("waste", "gender", "fashion", "gestures", "imagenet")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command. A Keras file is loaded once: rebuilding and comparing takes seconds."""
    load = functools.cache(lambda path: contextlib.ExitStack().enter_context(keras_load.loaded(path)))
    monkeypatch.setattr(keras_file, "loaded", lambda path, **_: contextlib.nullcontext(load(path)))

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


class Published:
    """One of the files, with its images and answers."""

    def __init__(self, name: str, root: Path, folder: Path) -> None:
        models = json.loads((root / "golden.json").read_text("utf-8"))["models"]
        (self.model,) = [model for model in models if model["file"].startswith(f"{name}/")]
        self.path = root / self.model["file"]
        self.labels = folder / "labels.txt"
        if self.model["labels_file"] is None:
            self.labels.write_text("\n".join(self.model["labels"]), "utf-8")
        else:
            self.labels = root / self.model["labels_file"]
        self.images = [(root / "pictures" / each["picture"], each) for each in self.model["pictures"] if each["exact"]]

    def options(self) -> Iterator[object]:
        yield from ("--model", self.path, "--labels", self.labels)
        numbers = self.model["preprocess"]
        if numbers["quantization"] is None:
            for name in ("scale", "mean", "std"):
                yield from (f"--{name}", numbers[name])
        if self.model["output"]["apply"] is not None:
            yield "--from-logits"


@pytest.fixture
def published(request: pytest.FixtureRequest, assets: Path, tmp_path: Path) -> Published:
    return Published(request.param, assets.parent / "cases" / "models", tmp_path)


@pytest.mark.parametrize("published", FILES, indirect=True)
def test_every_command(published: Published, call: Call, tmp_path: Path) -> None:
    model, images = published.model, [path for path, _ in published.images]
    options = list(published.options())
    step = 0.0 if model["output"]["quantization"] is None else model["output"]["quantization"]["scale"]

    def right(out: str) -> list[str]:
        """The best class of each image, whose scores are the golden ones."""
        results = [json.loads(line) for line in out.splitlines()]
        for result, (_, golden) in zip(results, published.images, strict=True):
            expected = golden["top"][0][1] if "top" in golden else max(golden["scores"])
            assert result["predictions"][0]["score"] == pytest.approx(expected, abs=golden["tolerance"] + step)
        return [result["predictions"][0]["label"] for result in results]

    code, out, err = call("classify", *images, "--json", "--top", 1, *options)
    assert code == 0, err
    best = right(out)

    table = tmp_path / "table.csv"
    rows = [f'"{path}","{label}"' for path, label in zip(images, best, strict=True)]
    table.write_text("\n".join(["path,label", *rows]), "utf-8")
    code, out, err = call("evaluate", table, "--json", *options)
    assert code == 0, err
    assert json.loads(out)["top1"] == 1

    bundle = tmp_path / "bundle"
    code, _, err = call("export", "--output", bundle, *options)
    assert code == 0, err
    assert right(call("classify", *images, "--json", "--top", 1, "--model", bundle)[1]) == best

    code, _, err = call("embed", *images, "--output", tmp_path / "e.npy", *options)
    assert code == 0, err
    assert np.load(tmp_path / "e.npy").shape[0] == len(images)
    rows = [f'"{path}","{label}"' for path, label in zip(images, ("a", "b", "a"), strict=True)]
    table.write_text("\n".join(["path,label", *rows]), "utf-8")
    told = [option for option in options if option not in ("--labels", published.labels)]
    code, _, err = call("train", table, "--validation", table, "--output", tmp_path / "t", *told)
    assert code == 0, err


def test_a_first_class_of_background(assets: Path, tmp_path: Path) -> None:
    """1,001 scores are ImageNet's with a first class of background, whose absence is named."""
    root = assets.parent / "cases" / "models"
    published = Published("imagenet", root, tmp_path)
    names = [label.name for label in Classifier.from_file(published.path).spec.labels]
    assert (len(names), names[0], names[1]) == (1001, "background", "tench, Tinca tinca")
    lines = published.labels.read_text("utf-8").splitlines()
    with pytest.raises(
        ValueError, match="one is missing: networks of TensorFlow often have a first class 'background'"
    ):
        Classifier.from_file(published.path, labels=lines[1:])
    labels = Classifier.from_file(published.path, labels=published.labels).spec.labels
    twice = [(index, label.id) for index, label in enumerate(labels) if label.name == "crane"]
    assert len(twice) == 2
    assert all(id_ == str(index) for index, id_ in twice)
