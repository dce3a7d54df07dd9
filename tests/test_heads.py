"""Heads that are trained epoch by epoch: layers of your own, and what a student tunes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from patterns import CLASSES, SMALL, draw
from PIL import Image

from pretrained_cnn import MLP, Classifier, DataError, InvalidArgumentError
from pretrained_cnn.backbones.build import weights_digest
from pretrained_cnn.transfer import TrainingHistory

FAST = {"epochs": 3, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patterns")
    for seed, part in enumerate(("train", "validation")):
        draw(folder / part, 8, seed=seed)
    return folder


def train(patterns: Path, **options: Any) -> Classifier:
    return Classifier.train(patterns / "train", SMALL, patterns / "validation", **{**FAST, **options})


@pytest.mark.parametrize(
    ("head", "layers"),
    [
        (MLP(hidden=(10, 5), dropout=0.2), [("Dense", 10), ("Dropout", 0.2), ("Dense", 5), ("Dropout", 0.2)]),
        (MLP(7, 0.0), [("Dense", 7), ("Dropout", 0.0)]),
        (keras.layers.Dense(6, "tanh"), [("Rescaling", None), ("Dense", 6)]),
        (
            [keras.layers.Dense(9), keras.layers.BatchNormalization(), keras.Sequential([keras.layers.ReLU()])],
            [("Rescaling", None), ("Dense", 9), ("BatchNormalization", None), ("Sequential", None)],
        ),
    ],
    ids=["mlp", "one width", "a layer", "layers"],
)
def test_a_head_of_ones_own_shape(head: Any, layers: list[tuple[str, Any]], patterns: Path, tmp_path: Path) -> None:
    clf = train(patterns, head=head)
    added = clf.keras_model.layers[-len(layers) - 1 :]
    assert [type(layer).__name__ for layer in added] == [*(name for name, _ in layers), "Dense"]
    shapes = [
        getattr(layer, "rate" if name == "Dropout" else "units", None)
        for layer, (name, _) in zip(added, layers, strict=False)
    ]
    assert shapes == [shape for _, shape in layers]
    scores = clf.predict_proba(patterns / "validation")
    truth = np.repeat(np.arange(3), 8)
    log_loss = -np.log(scores[np.arange(24), truth]).mean()
    assert log_loss == pytest.approx(min(row["validation_loss"] for row in clf.history), abs=1e-5)
    json.dumps(clf.report.to_dict())
    clf.save(tmp_path / "a.bundle")
    loaded = Classifier.load(tmp_path / "a.bundle")
    np.testing.assert_allclose(loaded.predict_proba(patterns / "validation"), scores, atol=1e-5)
    if not isinstance(head, MLP):
        assert not any(layer.weights for layer in np.atleast_1d(head)), "the layers that were given are copied"


@pytest.mark.slow
def test_layers_are_fitted_anew_and_fine_tuned(patterns: Path) -> None:
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.1), keras.layers.BatchNormalization()]
    first, again, other = (train(patterns, head=layers, seed=seed) for seed in (0, 0, 1))
    assert weights_digest(first.keras_model) == weights_digest(again.keras_model)
    assert weights_digest(first.keras_model) != weights_digest(other.keras_model)
    tuned = train(patterns, head=[keras.Sequential(layers)], unfreeze=1, optimizer="sgd", learning_rate=None)
    assert [row["stage"] for row in tuned.history].count("fine-tune") == 4
    assert tuned.keras_model.layers[-2].layers[0].units == 8
    assert tuned.report.settings["optimizer"] == "sgd"
    assert tuned.report.settings["batch_size"] == 16


@pytest.mark.slow
def test_what_a_student_tunes(patterns: Path) -> None:
    """Each setting comes to where it acts."""
    plain = train(patterns, head=MLP(8))
    assert train(patterns, head=MLP(8)).history == plain.history
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 1, 0.1)
    for settings in (
        {"batch_size": 4},
        {"optimizer": "sgd"},
        {"label_smoothing": 0.3},
        {"learning_rate": schedule},
        {"optimizer": keras.optimizers.SGD(schedule, momentum=0.9), "learning_rate": None},
    ):
        other = train(patterns, head=MLP(8), **settings)
        assert other.history[0] == plain.history[0], "it begins as the other does"
        assert other.history[1:] != plain.history[1:], settings
        json.dumps(other.report.to_dict())
    smooth = train(patterns, head=MLP(8, 0.0), label_smoothing=1.0, epochs=30)
    assert smooth.predict_proba(patterns / "train").max() < 0.9, "the labels have nothing to say"
    stopped = train(patterns, head=MLP(8), learning_rate=0.1, epochs=50, patience=2).history
    best = min(range(len(stopped)), key=lambda i: stopped[i]["validation_loss"])
    assert len(stopped) == best + 3


def test_callbacks_are_called_as_by_keras(patterns: Path, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Noting(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append((epoch, {name: logs[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}))
            self.model.stop_training = epoch == 1

    callbacks = [
        Noting(),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch:02d}_{val_accuracy:.3f}.keras"),
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    clf = train(patterns, head=MLP(8), callbacks=callbacks)
    assert [row["epoch"] for row in clf.history] == [0, 1, 2], "one of them ended it"
    for (epoch, logs), row in zip(seen, clf.history[1:], strict=True):
        assert epoch == row["epoch"] - 1
        expected = [row[name] for name in ("loss", "accuracy", "validation_loss", "validation_accuracy")]
        assert list(logs.values()) == expected
    assert len(list(tmp_path.glob("0[12]_0.*.keras"))) == 2
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert clf.report.settings["callbacks"] == [type(each).__name__ for each in callbacks]


@pytest.mark.slow
def test_tensorboard(patterns: Path, tmp_path: Path) -> None:
    train(patterns, head=MLP(8), callbacks=keras.callbacks.TensorBoard(tmp_path / "head", histogram_freq=1))
    train(patterns, unfreeze=1, epochs=1, callbacks=keras.callbacks.TensorBoard(tmp_path / "tuned"))
    for stage in ("head", "tuned"):
        for part in ("train", "validation"):
            assert list((tmp_path / stage / part).glob("*tfevents*"))


@pytest.mark.slow
def test_history_of_train_and_validation(patterns: Path) -> None:
    clf = Classifier.train(patterns / "train", SMALL, unfreeze=1, epochs=1)
    names = ("loss", "accuracy", "validation_loss", "validation_accuracy")
    for row in clf.history:
        assert row.get("epoch") == 0 or set(names) <= set(row)
    heads = [row for row in clf.history if row["stage"] == "head"]
    assert [row["loss"] for row in heads] == sorted((row["loss"] for row in heads), reverse=True), "weaker fits closer"
    assert all(row["loss"] < row["validation_loss"] for row in heads)
    frame = clf.history.to_frame()
    assert list(frame.columns[:2]) == ["stage", "C"]
    assert len(frame) == len(clf.history)
    figure = clf.history.plot()
    assert [ax.get_title() for ax in figure.axes] == ["head", "head", "fine-tune", "fine-tune"]
    drawn = figure.axes[1].lines
    assert [line.get_label() for line in drawn[:2]] == ["train", "validation"]
    assert drawn[1].get_ydata().tolist() == [row["validation_accuracy"] for row in heads]
    with pytest.raises(DataError, match=r"the history is empty, so there is nothing to draw; Classifier\.train"):
        TrainingHistory().plot()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": 5}, 'head=5 is not known; give "linear", "mlp", MLP(hidden=..., dropout=...), or Keras layers'),
        ({"head": []}, "head=[] is not known; give"),
        ({"head": [keras.layers.Dense(3), 2]}, "head=[<Dense name=dense"),
        ({"head": keras.layers.Dense(3, "softmax", name="last")}, "head=...: its last layer, 'last', gives prob"),
        ({"head": [keras.layers.Dense(3), keras.layers.Softmax(name="s")]}, "head=...: its last layer, 's', gives"),
        ({"head": keras.layers.Conv1D(3, 2)}, "head=...: the layers do not take an embedding of shape (N, 16): "),
        ({"head": keras.layers.Reshape((4, 4))}, "head=...: the layers give (None, 4, 4) of an embedding; they must"),
        ({"batch_size": 8}, "batch_size=... has no meaning for head='linear', which is fitted to convergence; leave"),
        ({"head": "mlp", "batch_size": 0}, "batch_size=0 is not a whole number of at least 1"),
        ({"head": "mlp", "patience": 0.5}, "patience=0.5 is not a whole number of at least 1"),
        ({"head": "mlp", "optimizer": "adman"}, "optimizer='adman' is not known; give an optimizer of Keras or its"),
        ({"head": "mlp", "optimizer": keras.optimizers.SGD, "learning_rate": None}, "optimizer=<class"),
        (
            {"head": "mlp", "optimizer": keras.optimizers.SGD(), "learning_rate": 0.1},
            "learning_rate=... cannot be given with an optimizer, which has its own; give one of the two, or",
        ),
        ({"head": "mlp", "learning_rate": keras.layers.ReLU()}, "learning_rate=<ReLU name=re_lu"),
        ({"head": "mlp", "learning_rate": "fast"}, "learning_rate='fast' is not a number above 0"),
        ({"head": "mlp", "label_smoothing": 2}, "label_smoothing=2 is not a number of at least 0 and of at most 1"),
        ({"head": "mlp", "callbacks": ["board"]}, "callbacks=...: 'board' is not a callback of Keras"),
    ],
)
def test_what_cannot_be_right(options: dict[str, Any], message: str, patterns: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier.train(patterns / "train", SMALL, patterns / "validation", **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": ()}, 'hidden=() has no layer; give head="linear" for a head without one'),
        ({"hidden": (0,)}, "hidden=0 is not a whole number of at least 1"),
        ({"hidden": 1.5}, "hidden=1.5 is not a whole number of at least 1"),
        ({"dropout": 1}, "dropout=1 leaves nothing to learn from; give a number below 1"),
        ({"dropout": -0.1}, "dropout=-0.1 is not a number of at least 0"),
    ],
)
def test_an_mlp_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        MLP(**arguments)
    assert str(caught.value) == message


@pytest.mark.slow
def test_layers_do_not_go_onto_a_graph_that_is_not_in_keras(patterns: Path, tmp_path: Path) -> None:
    Classifier(SMALL).save(tmp_path / "trunk", format="openvino", output="embedding")
    from pretrained_cnn import BundleError

    with pytest.raises(BundleError, match=r"trunk is of format='openvino' and gives embedding only"):
        Classifier.train(patterns / "train", tmp_path / "trunk", head=keras.layers.Dense(3))
    clf = Classifier.train(patterns / "train", tmp_path / "trunk", head=MLP(8, 0.1), **FAST)
    assert clf.predict_proba([Image.new("RGB", (32, 32))]).shape == (1, len(CLASSES))
