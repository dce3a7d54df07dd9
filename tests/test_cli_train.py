"""``pretrained-cnn train``, ``evaluate`` and ``embed``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from patterns import SMALL, draw
from pyarrow import parquet

from pretrained_cnn import Classifier, cli


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(ROOT)

    def call(*arguments: Any) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("patterns")
    draw(parent / "train", 12)
    draw(parent / "validation", 6, seed=1)
    return parent


MODEL = ("--model", "patterns:SMALL")


def test_train_evaluate_classify(main: Any, folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "my.bundle"
    validation = ("--validation", folder / "validation")
    code, out, err = main("train", folder / "train", *validation, *MODEL, "--output", bundle)
    assert code == 0, err
    path, classes, accuracy, names = out.rstrip("\n").split("\t")
    assert (path, classes, names) == (str(bundle), "3 classes", "across, down, squares")
    assert (bundle / "README.md").read_text("utf-8").startswith("# An image classifier of 3 classes\n")

    code, out, err = main("evaluate", folder / "validation", "--model", bundle, "--json")
    assert (code, err) == (0, "")
    assert accuracy == f"{json.loads(out)['top1']:.4f} of validation"
    code, out, _ = main("evaluate", folder / "validation", "--model", bundle)
    assert out.startswith("18 images, 3 classes\ntop-1 ")

    code, out, _ = main("classify", folder / "validation" / "down" / "000.png", "--model", bundle, "--top", "1")
    assert code == 0
    assert out.split("\t")[2] in ("across", "down", "squares")


@pytest.mark.slow
def test_train_with_every_option(main: Any, folder: Path, tmp_path: Path) -> None:
    options = ["--head", "mlp", "--unfreeze", "1", "--augment", "--epochs", "1", "--learning-rate", "1e-4"]
    options += ["--hidden", "8, 4", "--dropout", "0.25", "--batch-size", "9", "--patience", "2", "--optimizer", "sgd"]
    options += ["--label-smoothing", "0.1", "--balanced", "--seed", "3", "--no-cache"]
    more = ("--format", "openvino", "--json", "--output", tmp_path / "a.bundle")
    code, out, err = main("train", folder / "train", *MODEL, *options, *more)
    assert code == 0, err
    settings = json.loads(out)["settings"]
    assert settings == {
        "head": "MLP(hidden=(8, 4), dropout=0.25)",
        "epochs": 1,
        "unfreeze": 1,
        "augment": "default",
        "learning_rate": 1e-4,
        "class_weight": "balanced",
        "seed": 3,
        "multi_label": False,
        "copies": None,
        "patience": 2,
        "batch_size": 9,
        "optimizer": "sgd",
        "label_smoothing": 0.1,
        "callbacks": [],
    }
    assert Classifier.load(tmp_path / "a.bundle").predict(folder / "train" / "down" / "000.png").top.label
    layer = ("--unfreeze", "conv9", "--output", tmp_path / "b.bundle")
    code, _, err = main("train", folder / "train", *MODEL, *layer)
    assert code == 2
    assert "--unfreeze conv9: small has no layer of that name; did you mean 'conv" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hidden", "64"], "--hidden needs --head mlp: the linear head has no hidden layers"),
        (["--dropout", "0.1"], "--dropout needs --head mlp: the linear head has no hidden layers"),
        (["--head", "mlp", "--hidden", "64,x"], "argument --hidden: 'x' is not a whole number of at least 1"),
        (["--head", "mlp", "--dropout", "1"], "--dropout 1.0 leaves nothing to learn from; give a number below 1"),
        (["--batch-size", "8"], "--batch-size has no meaning for --head linear, which is fitted to convergence; leave"),
        (["--seed", "-1"], "--seed -1 is not a whole number from 0 to 4294967295"),
        (["--copies", "2"], "--copies needs --augment and no --unfreeze, which changes the images again in each epoch"),
        (["--head", "mlp", "--optimizer", "adan"], "--optimizer adan"),
    ],
)
def test_settings_of_train_that_do_not_go_together(
    options: list[str], message: str, main: Any, folder: Path, tmp_path: Path
) -> None:
    code, out, err = main("train", folder / "train", *MODEL, *options, "--output", tmp_path / "a.bundle")
    assert (code, out) == (2, "")
    assert message in err


def test_train_with_several_labels(main: Any, folder: Path, tmp_path: Path) -> None:
    rows = [f'{path},"{path.parent.name},any"\n' for path in sorted(folder.glob("validation/*/*.png"))]
    (tmp_path / "a.csv").write_text("path,label\n" + "".join(rows))
    code, out, err = main("train", tmp_path / "a.csv", *MODEL, "--multi-label", "--output", tmp_path / "a.bundle")
    assert code == 0, err
    assert "\t4 labels\t" in out
    code, out, err = main("evaluate", tmp_path / "a.csv", "--model", tmp_path / "a.bundle")
    assert (code, "mean average precision" in out) == (0, True), err


def test_embed_names_what_does_not_exist(main: Any, tmp_path: Path) -> None:
    code, _, err = main("embed", tmp_path / "no", *MODEL, "--output", tmp_path / "e.npy")
    assert (code, err) == (1, f"pretrained-cnn: {tmp_path}/no: the file or folder does not exist\n")
    assert not (tmp_path / "e.npy").exists()


def test_train_with_changed_copies(main: Any, folder: Path, tmp_path: Path) -> None:
    options = ("--augment", "--copies", "2", "--json", "--output", tmp_path / "a.bundle")
    code, out, err = main("train", folder / "validation", *MODEL, *options)
    assert code == 0, err
    assert json.loads(out)["settings"]["copies"] == 2


def test_train_goes_on_from_a_bundle(main: Any, folder: Path, tmp_path: Path) -> None:
    assert main("train", folder / "train", *MODEL, "--output", tmp_path / "a.bundle")[0] == 0
    again = ("--model", tmp_path / "a.bundle", "--output", tmp_path / "b.bundle")
    assert main("train", folder / "validation", *again)[0] == 0


def test_what_train_refuses(main: Any, folder: Path, tmp_path: Path) -> None:
    code, out, err = main("train", folder / "train" / "down", *MODEL, "--output", tmp_path / "a.bundle")
    assert (code, out) == (1, "")
    assert "is in no folder of a class" in err
    code, out, err = main("train", folder / "train", *MODEL, "--output", folder)
    assert (code, out) == (1, "")
    assert f"{folder} already exists; choose another name, or pass --overwrite" in err
    (tmp_path / "file").touch()
    code, out, err = main("train", folder / "train", *MODEL, "--output", tmp_path / "file" / "a.bundle")
    assert (code, out) == (1, "")
    assert err.endswith(
        f"a.bundle cannot be written: {tmp_path}/file is a file and not a folder; choose another folder\n"
    )


def test_evaluate_complains_of_bad_images(main: Any, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(f"path,label\n{ROOT}/examples/images/clock.png,analog_clock\nno.png,candle\n")
    code, out, err = main("evaluate", tmp_path / "table.csv", "--model", "EfficientNetLite0")
    assert code == 1
    assert "top-1  100.0 %" in out
    assert err == f"pretrained-cnn: {tmp_path / 'no.png'}: the file does not exist\n"


def test_embed(main: Any, folder: Path, tmp_path: Path) -> None:
    images = sorted(map(str, (folder / "train").rglob("*.png")))
    expected = Classifier(SMALL).embed(images)
    code, out, err = main("embed", folder / "train", *MODEL, "--output", tmp_path / "x.npy")
    assert (code, out) == (0, "")
    assert err.startswith(f"pretrained-cnn: 36 images are in {tmp_path / 'x.npy'}: 0 failed; ")
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-6)
    assert main("embed", folder / "train", *MODEL, "--output", tmp_path / "x.parquet")[0] == 0
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column("source").to_pylist() == images
    np.testing.assert_allclose(np.stack(table.column("embedding").to_pylist()), expected, atol=1e-6)
    assert main("embed", folder / "train", *MODEL, "--layer", "relu0", "--output", tmp_path / "y.npy")[0] == 0
    assert np.load(tmp_path / "y.npy").shape == (36, 8)


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("x.txt", 2, "x.txt: the name of a file of embeddings must end in .parquet or .npy"),
        ("no/x.npy", 1, "no/x.npy: the folder no does not exist; make it first"),
    ],
)
def test_what_embed_refuses(output: str, code: int, message: str, main: Any) -> None:
    assert main("embed", "examples/images", *MODEL, "--output", output) == (code, "", f"pretrained-cnn: {message}\n")


def test_parquet_without_pyarrow(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = main("embed", "examples/images", *MODEL, "--output", "x.parquet")
    assert code == 1
    assert err == 'pretrained-cnn: this needs the package pyarrow: pip install "pretrained-cnn[parquet]"\n'
