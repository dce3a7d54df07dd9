"""Classifiers of your own classes: what is learned, kept, refused and resumed."""

from __future__ import annotations

import contextlib
import copy
import logging
import pickle
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from paths import ROOT
from patterns import CLASSES, SMALL, draw, scale
from PIL import Image
from sklearn.linear_model import LogisticRegression
from warned import messages

from pretrained_cnn import (
    BundleError,
    Classifier,
    DataError,
    ImagePolicy,
    InvalidArgumentError,
    PretrainedCNNWarning,
    ResizePolicy,
    engine,
    identity,
)
from pretrained_cnn.backbones.build import weights_digest
from pretrained_cnn.results.settings import settings_of
from pretrained_cnn.transfer import Settings, fit, model_card
from pretrained_cnn.transfer import data as transfer_data
from pretrained_cnn.transfer.embeddings import Store

QUICK = {"unfreeze": 2, "learning_rate": 3e-3, "epochs": 4}


@pytest.fixture(scope="module")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``train``, ``validation`` and ``test``."""
    folder = tmp_path_factory.mktemp("patterns")
    for seed, (part, each) in enumerate({"train": 24, "validation": 12, "test": 30}.items()):
        draw(folder / part, each, seed=seed)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each batch that was embedded had."""
    counts: list[int] = []
    original = engine.batches

    def counting(*arguments: Any, **options: Any) -> Iterator[Any]:
        for batch in original(*arguments, **options):
            counts.append(len(batch.pixels))
            yield batch

    monkeypatch.setattr(engine, "batches", counting)
    return counts


def train(patterns: Path, model: Any = SMALL, **options: Any) -> Classifier:
    return Classifier.train(patterns / "train", model, validation=patterns / "validation", **options)


# What is learned


def test_a_linear_head(patterns: Path) -> None:
    clf = train(patterns)
    assert [label.name for label in clf.spec.labels] == list(CLASSES)
    assert clf.spec.name == "Small-trained"
    assert clf.spec.input_size == SMALL.input_size
    assert clf.spec.preprocess is scale
    result = clf.evaluate(patterns / "validation")
    assert result.top1 == pytest.approx(clf.report.metrics["validation_accuracy"])
    assert clf.evaluate(patterns / "test").top1 > 0.5
    scores = clf.predict_proba(patterns / "test")
    assert scores.shape == (90, 3)
    assert clf.embed(patterns / "test").shape == (90, clf.spec.embedding_size)


@pytest.mark.parametrize("each", [24, 4], ids=["more images than features", "fewer"])
def test_it_is_the_head_that_scikit_learn_fits(each: int, patterns: Path, tmp_path: Path) -> None:
    """Centering and scaling folded into the kernel, and the fit in the images' span, change nothing."""
    folder = draw(tmp_path / "train", each, seed=7)
    clf = Classifier.train(folder, SMALL, validation=patterns / "validation")
    np.testing.assert_allclose(clf.predict_proba(patterns / "test"), by_scikit_learn(clf, folder, patterns), atol=1e-3)
    losses = {row["C"]: row["validation_loss"] for row in clf.history}
    assert min(losses, key=losses.__getitem__) == clf.report.settings["C"]


def by_scikit_learn(clf: Classifier, folder: Path, patterns: Path) -> np.ndarray:
    """The probabilities of the test images by a head that scikit-learn fits on a folder."""
    paths = sorted(folder.rglob("*.png"))
    vectors = Classifier(SMALL).embed(paths).astype(float)
    scale = np.sqrt(vectors.var(axis=0).mean())
    theirs = LogisticRegression(C=clf.report.settings["C"], max_iter=5000, tol=1e-8)
    theirs.fit((vectors - vectors.mean(axis=0)) / scale, [path.parent.name for path in paths])
    return theirs.predict_proba((Classifier(SMALL).embed(patterns / "test") - vectors.mean(axis=0)) / scale)


def test_two_classes(patterns: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "two", 20, classes=CLASSES[:2])
    clf = Classifier.train(folder, SMALL, validation=folder)
    assert clf.evaluate(folder).top1 == pytest.approx(clf.report.metrics["validation_accuracy"])
    assert clf.evaluate(folder).top1 > 0.8


@pytest.mark.parametrize("head", ["linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_head(head: Any, patterns: Path, cache: Path) -> None:
    options = {"head": head, "epochs": 3} if head == "mlp" else {}
    first, warm = (train(patterns, **options) for _ in range(2))
    shutil.rmtree(cache)
    cold, uncached = train(patterns, **options), train(patterns, **options, cache=False)
    digests = {weights_digest(clf.keras_model) for clf in (first, warm, cold, uncached)}
    assert len(digests) == 1
    if head == "mlp":
        other = train(patterns, **options, seed=1)
        assert weights_digest(other.keras_model) not in digests


def test_an_mlp_head(patterns: Path) -> None:
    clf = train(patterns, head="mlp")
    assert clf.evaluate(patterns / "validation").top1 == pytest.approx(clf.report.metrics["validation_accuracy"])
    assert clf.evaluate(patterns / "test").top1 > 0.5
    assert [type(layer).__name__ for layer in clf.keras_model.layers[-3:]] == ["Dense", "Dropout", "Dense"]
    losses = [row["validation_loss"] for row in clf.history]
    assert clf.report.metrics["validation_loss"] == min(losses)
    assert [row["epoch"] for row in clf.history] == list(range(len(losses)))
    assert clf.report.settings["learning_rate"] == 3e-4


def test_without_validation_every_image_validates_once_and_is_fitted(patterns: Path) -> None:
    clf = Classifier.train(patterns / "train", SMALL)
    assert clf.report.counts == {part: dict.fromkeys(CLASSES, 24) for part in ("train", "validation")}
    assert clf.report.split == "5-fold cross-validation; in the end the head was fitted on all"
    expected = by_scikit_learn(clf, patterns / "train", patterns)
    np.testing.assert_allclose(clf.predict_proba(patterns / "test"), expected, atol=1e-3)
    (best,) = [row for row in clf.history if row["C"] == clf.report.settings["C"]]
    assert clf.report.metrics.items() <= best.items()
    mlp = Classifier.train(patterns / "train", SMALL, head="mlp").report
    assert mlp.split == "20 % of each class, set aside by seed 0"
    assert mlp.counts == {"train": dict.fromkeys(CLASSES, 19), "validation": dict.fromkeys(CLASSES, 5)}


def test_many_images_are_split_once(patterns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretrained_cnn.transfer.data.ENOUGH", 10)
    report = Classifier.train(patterns / "train", SMALL).report
    assert report.split == "20 % of each class, set aside by seed 0; in the end the head was fitted on all"
    assert report.counts == {"train": dict.fromkeys(CLASSES, 24), "validation": dict.fromkeys(CLASSES, 5)}


def test_few_validation_images_do_not_choose_alone(patterns: Path, tmp_path: Path) -> None:
    few = draw(tmp_path / "few", 2, seed=1)
    clf = Classifier.train(patterns / "train", SMALL, validation=few)
    alone = Classifier.train(patterns / "train", SMALL)
    assert clf.report.split == "given; C was chosen by train images, 5-fold cross-validation"
    assert clf.history == alone.history
    np.testing.assert_array_equal(clf.predict_proba(few), alone.predict_proba(few))
    assert clf.report.counts["validation"] == dict.fromkeys(CLASSES, 2)
    assert clf.report.metrics["validation_accuracy"] == pytest.approx(clf.evaluate(few).top1)


def test_the_root_of_a_data_set_is_understood(patterns: Path) -> None:
    clf, expected = Classifier.train(patterns, SMALL), train(patterns)
    assert clf.report.counts == expected.report.counts
    assert clf.history == expected.history


def test_copies_stay_on_one_side(patterns: Path, tmp_path: Path) -> None:
    """Else they would be known on validation, which would then say that all is right."""
    once = sorted((patterns / "train").rglob("*.png"))
    pairs = [(path, path.parent.name) for path in once]
    copies = [(path.read_bytes(), label) for path, label in pairs for _ in range(4)]
    with messages() as warned:
        clf = Classifier.train([*pairs, *copies], SMALL)
    assert warned[0].startswith("288 train images are copies of others in their class, such as <bytes 72>; they")
    assert clf.report.copies[:2] == ["<bytes 72>", "<bytes 73>"]
    assert "288 of the train images are copies" in model_card(clf.report, clf.spec)
    alone = Classifier.train(pairs, SMALL).report.metrics
    assert clf.report.metrics["validation_accuracy"] < 0.9
    assert clf.report.metrics["validation_loss"] == pytest.approx(alone["validation_loss"], rel=0.3)


def test_one_image_in_two_classes_is_warned_of(patterns: Path) -> None:
    pairs = [(path, path.parent.name) for path in sorted((patterns / "train").rglob("*.png"))]
    with messages() as warned:
        report = Classifier.train([*pairs, (pairs[0][0], "down")], SMALL).report
    assert warned == [
        f"1 train images are also in another class, such as {pairs[0][0]}; report.contradictions lists all: "
        "remove each from the wrong class"
    ]
    assert report.contradictions == [str(pairs[0][0])]


def test_an_image_of_weight_2_counts_like_two(patterns: Path) -> None:
    pairs = [(path, path.parent.name) for path in sorted((patterns / "train").rglob("*.png"))]
    weights = np.tile([2, 1, 1, 0], 18)
    with messages():
        twice = [pair for pair, weight in zip(pairs, weights, strict=True) for _ in range(weight)]
        expected = Classifier.train(twice, SMALL, validation=patterns / "test")
    clf = Classifier.train(pairs, SMALL, validation=patterns / "test", sample_weight=weights)
    assert clf.report.settings["C"] == expected.report.settings["C"]
    np.testing.assert_allclose(
        clf.predict_proba(patterns / "test"), expected.predict_proba(patterns / "test"), atol=1e-4
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"sample_weight has the shape (1,), but <pairs> has 72 images; give one number for each image"),
        ([-1.0] * 72, "sample_weight of number 0 is -1.0; give a number from 0 to 1,000,000"),
        ([1.0] * 71 + [np.nan], "sample_weight of number 71 is nan; give a number from 0 to 1,000,000"),
        ([0.0] * 24 + [1.0] * 48, "sample_weight: all weights of 'across' are zero; remove the class, or give"),
        (["much"] * 72, "sample_weight: these are no numbers: "),
    ],
)
def test_sample_weights_that_cannot_be_right(weights: Any, message: str, patterns: Path) -> None:
    pairs = [(path, path.parent.name) for path in sorted((patterns / "train").rglob("*.png"))]
    with pytest.raises(DataError) as caught:
        Classifier.train(pairs, SMALL, sample_weight=weights)
    assert str(caught.value).startswith(message)


def test_an_image_of_weight_0_counts_as_none(patterns: Path) -> None:
    images = [(path, path.parent.name) for path in sorted(patterns.glob("train/*/*.png"))]
    weights = [i % 2 for i in range(len(images))]
    first = Classifier.train(images, SMALL, sample_weight=weights)
    second = Classifier.train([pair for pair, weight in zip(images, weights, strict=True) if weight], SMALL)
    validation = patterns / "validation"
    np.testing.assert_array_equal(first.predict_proba(validation), second.predict_proba(validation))
    assert first.report.counts == second.report.counts


def test_a_class_that_is_not_validated_is_warned_of(patterns: Path) -> None:
    images = [(path, path.parent.name) for path in sorted(patterns.glob("train/*/*.png"))]
    once = [pair for pair in images if pair[1] != "down"] + [pair for pair in images if pair[1] == "down"][:1]
    with messages() as warned:
        clf = Classifier.train(once, SMALL)
    assert clf.report.counts["validation"]["down"] == 0
    assert warned == ["no validation image is of 'down'; the metrics on validation do not cover these classes"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (3, "groups=3 is no sequence; give a list with one group for each image, in their order"),
        ({"a": 1}, "groups={'a': 1} is no sequence"),
        ([None] * 72, "groups: number 0 is None; give text or a number for each image"),
        (np.zeros((72, 2)), "groups: number 0 is [0.0, 0.0]; give text or a number for each image"),
    ],
)
def test_groups_that_cannot_be_right(groups: Any, message: str, patterns: Path) -> None:
    with pytest.raises(DataError) as caught:
        train(patterns, groups=groups)
    assert str(caught.value).startswith(message)


def test_a_training_that_diverged_says_so(patterns: Path) -> None:
    with messages() as warned:
        train(patterns, head="mlp", epochs=1, learning_rate=1e6)
    assert warned[0].startswith("head: no epoch lowered the log loss on validation: ")
    assert warned[0].endswith("so the weights that the head began with are kept. Try a lower learning_rate")


def test_class_weights(patterns: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "uneven", 24)
    for path in sorted((folder / "down").iterdir())[3:]:
        path.unlink()

    def given_down(**options: Any) -> float:
        clf = Classifier.train(folder, SMALL, validation=patterns / "validation", **options)
        return float(clf.predict_proba(patterns / "test")[:, 1].mean())

    plain = given_down()
    assert given_down(class_weight="balanced") > plain + 0.02
    assert given_down(class_weight={"down": 8.0}) > plain + 0.02
    assert given_down(class_weight={"across": 1.0}) == plain


def test_a_csv_file_pairs_and_images_in_memory(patterns: Path, tmp_path: Path) -> None:
    expected = train(patterns).predict_proba(patterns / "test")
    pairs = [(path, path.parent.name) for path in sorted((patterns / "train").rglob("*.png"))]
    rows = "".join(f"{path};{label};2\n" for path, label in pairs)
    (tmp_path / "train.csv").write_text(f"filename;kind;weight\n{rows}")
    shutil.make_archive(str(tmp_path / "all"), "zip", patterns.parent, patterns.name)
    arrays = [(np.asarray(Image.open(path)), label) for path, label in pairs]
    images = [(Image.fromarray(array), label) for array, label in arrays]
    for data in (tmp_path / "all.zip", arrays, images):
        clf = Classifier.train(
            data, SMALL, validation=None if data == tmp_path / "all.zip" else patterns / "validation"
        )
        np.testing.assert_allclose(clf.predict_proba(patterns / "test"), expected, atol=1e-3)
    options = {"validation": patterns / "validation", "label_column": "kind"}
    weighted = Classifier.train(tmp_path / "train.csv", SMALL, **options)
    same = Classifier.train(pairs, SMALL, validation=patterns / "validation", sample_weight=[2] * 72)
    np.testing.assert_array_equal(weighted.predict_proba(patterns / "test"), same.predict_proba(patterns / "test"))
    assert np.abs(weighted.predict_proba(patterns / "test") - expected).max() > 1e-3
    assert weighted.evaluate(tmp_path / "train.csv", label_column="kind").top1 > 0.5


def test_progress(patterns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int | None]] = []

    def note(*of: Any) -> None:
        seen.append(of)

    clf = train(patterns, unfreeze=1, epochs=1, cache=False, progress=note)
    assert list(dict.fromkeys(stage for stage, *_ in seen)) == ["embed", "head", "fine-tune"]
    for stage, first, last in (("embed", (0, 72), (36, 36)), ("head", (0, None), None), ("fine-tune", (0, 1), (1, 1))):
        of_stage = [of for name, *of in seen if name == stage]
        assert tuple(of_stage[0]) == first
        assert last is None or tuple(of_stage[-1]) == last
    paths = [str(path) for path in sorted((patterns / "test").rglob("*.png"))]
    for call, stage in ((clf.predict_batch, "classify"), (clf.embed, "embed")):
        seen.clear()
        call(paths, progress=note)
        assert (seen[0], seen[-1]) == ((stage, 0, 90), (stage, 90, 90))
        assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    seen.clear()
    clf.evaluate(patterns / "test", progress=note)
    assert seen[-1] == ("evaluate", 90, 90)
    seen.clear()
    clf.compare(clf, patterns / "test", progress=note)
    assert [of for of in seen if of[1] == of[2]] == [("evaluate", 90, 90)] * 2
    seen.clear()
    clf.calibrate(patterns / "test", progress=note)
    assert (seen[0], seen[-1]) == (("calibrate", 0, 90), ("calibrate", 90, 90))
    with pytest.raises(
        InvalidArgumentError, match=r"progress='yes' is not known; give True, or f\(stage, done, total\)"
    ):
        clf.embed(paths, progress="yes")

    capsys.readouterr()
    clf.embed(paths, progress=True)
    assert capsys.readouterr().err == "", "no terminal: a line a minute"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    clf.embed(paths, progress=True)
    shown = r"\rembed: 0 of 90 images.*\rembed: 90 of 90 images, .* a second, 0:00:00 left *\n"
    assert re.fullmatch(shown, capsys.readouterr().err)
    clf.embed(paths)
    assert capsys.readouterr().err == ""


def test_a_share_validates(patterns: Path) -> None:
    for head in ("linear", "mlp"):
        clf = Classifier.train(
            patterns / "train", SMALL, validation=0.25, head=head, **({"epochs": 1} if head == "mlp" else {})
        )
        assert clf.report.split.startswith("25 % of each class, set aside by seed 0")
        assert clf.report.counts == {"train": dict.fromkeys(CLASSES, 18), "validation": dict.fromkeys(CLASSES, 6)}
    for share in (0, 1, -0.2, float("nan")):
        with pytest.raises(InvalidArgumentError, match=r"validation=.* is not a number above 0 and of at most 0.9"):
            Classifier.train(patterns / "train", SMALL, validation=share)


def test_images_of_one_thing_stay_on_one_side(patterns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((patterns / "train").rglob("*.png"))
    labels, things = (
        [path.parent.name for path in paths],
        [f"{path.parent.name}{i % 6}" for i, path in enumerate(paths)],
    )
    rows = [f"{path},{label},{thing}\n" for path, label, thing in zip(paths, labels, things, strict=True)]
    (tmp_path / "a.csv").write_text("path,label,thing\n" + "".join(rows))
    held: list[np.ndarray] = []
    original = transfer_data.hold_out
    monkeypatch.setattr(
        transfer_data, "hold_out", lambda *of, **more: held.extend(found := original(*of, **more)) or found
    )
    by_column = Classifier.train(tmp_path / "a.csv", SMALL, validation=0.4, groups="thing")
    by_array = Classifier.train((paths, labels), SMALL, validation=0.4, groups=np.array(things))
    np.testing.assert_array_equal(held[0], held[len(held) // 2])
    aside = {thing for thing, out in zip(things, held[0], strict=True) if out}
    assert aside.isdisjoint(thing for thing, out in zip(things, held[0], strict=True) if not out)
    assert by_column.report.counts == by_array.report.counts
    assert by_column.report.counts["validation"] == dict.fromkeys(CLASSES, 12)
    with pytest.raises(DataError, match="groups: 3 of them do not fit the 72 images of"):
        Classifier.train((paths, labels), SMALL, groups=[1, 2, 3])
    with pytest.raises(DataError, match="it has no column 'person'; its columns are 'path', 'label', 'thing'"):
        Classifier.train(tmp_path / "a.csv", SMALL, groups="person")


def test_whole_numbers_are_classes_by_name_or_by_index(patterns: Path) -> None:
    paths = sorted((patterns / "train").rglob("*.png"))
    y = np.array([CLASSES.index(path.parent.name) for path in paths])
    named = Classifier.train(patterns / "train", SMALL, validation=patterns / "train")
    numbered = Classifier.train((paths, y + 1), SMALL, validation=(paths, y + 1))
    assert [label.name for label in numbered.labels] == ["1", "2", "3"]
    top1 = named.evaluate(patterns / "train").top1
    assert numbered.evaluate((paths, y + 1)).top1 == named.evaluate((paths, y)).top1 == top1
    assert named.compare(named, (paths, y)).count == 72
    with pytest.raises(DataError, match=r"labels: 1 is the name of class number 0 and not of number 1"):
        numbered.evaluate((paths, y))


# What it starts from


def test_from_weights_without_a_top(patterns: Path, tmp_path: Path) -> None:
    path = tmp_path / "trunk.weights.h5"
    keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False).save_weights(path)
    clf = train(patterns, "MobileNet", weights=path, alpha=0.25, input_size=(96, 96))
    assert clf.keras_model.input_shape == (None, 96, 96, 3)
    assert clf.embed(patterns / "test").shape == (90, 256)
    assert len(clf.predict(Image.new("RGB", (50, 50)))) == 3


@pytest.mark.slow
def test_from_a_head_that_is_a_convolution(patterns: Path) -> None:
    model = Classifier("MobileNetV3Small", weights=None, input_size=(64, 64), minimalistic=True)
    clf = train(patterns, model)
    np.testing.assert_array_equal(
        clf.embed([Image.new("RGB", (50, 50), "red")]), model.embed([Image.new("RGB", (50, 50), "red")])
    )


def test_from_a_classifier_that_stays_as_it_is(patterns: Path, tmp_path: Path) -> None:
    one = train(patterns)
    before = weights_digest(one.keras_model)
    two = draw(tmp_path / "two", 12, classes=CLASSES[:2])
    other = Classifier.train(two, one, validation=two, **QUICK)
    assert weights_digest(one.keras_model) == before
    assert len(one.spec.labels) == 3
    assert [label.id for label in other.spec.labels] == ["across", "down"]
    assert other.spec.name == "Small-trained"
    with pytest.raises(
        InvalidArgumentError, match=r"weights=\.\.\., resize=\.\.\. cannot be given with a Classifier to continue"
    ):
        Classifier.train(two, one, weights=None, resize=ResizePolicy())


def test_from_a_keras_model_of_ones_own(patterns: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.Sequential([keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.BatchNormalization()]),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    base = Classifier.from_keras(model, labels=["a", "b"], resize=ResizePolicy("squash"))
    clf = train(patterns, base, unfreeze=1, epochs=1)
    assert clf.spec.resize == ResizePolicy("squash")
    assert len(clf.predict(Image.new("RGB", (50, 50)))) == 3


def test_from_a_network_that_cannot_be_copied(patterns: Path) -> None:
    class Odd(keras.layers.Layer):
        def __init__(self, factor: Any) -> None:
            super().__init__()
            self.factor = factor

        def call(self, x: Any) -> Any:
            return x * self.factor()

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(Odd(lambda: 2.0)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x), name="odd")
    with pytest.raises(InvalidArgumentError, match=r"the network of odd cannot be copied: .* a get_config method"):
        train(patterns, Classifier.from_keras(model, labels=["a", "b"]))


# What is kept on disk


def test_a_second_fit_embeds_nothing(patterns: Path, cache: Path, embedded: list[int]) -> None:
    train(patterns)
    assert sum(embedded) == 108
    assert len(list((cache / "embeddings").iterdir())) == 1
    train(patterns, class_weight="balanced")
    train(patterns, head="mlp", epochs=1)
    assert sum(embedded) == 108
    train(patterns, cache=False)
    assert sum(embedded) == 216


@pytest.mark.slow
def test_a_second_fit_from_a_file_does_not_even_build(
    patterns: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretrained_cnn.backbones import build as module

    path = tmp_path / "mine.weights.h5"
    model = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False)
    model.save_weights(path)
    arguments = {"weights": path, "alpha": 0.25, "input_size": (64, 64)}
    first = train(patterns, "MobileNet", **arguments)
    with monkeypatch.context() as patch:
        patch.setattr(module, "build", None)
        second = train(patterns, "MobileNet", **arguments)
    np.testing.assert_array_equal(first.predict_proba(patterns / "test"), second.predict_proba(patterns / "test"))
    model.set_weights([weight + 1e-3 for weight in model.get_weights()])
    path.unlink()  # Keras still has it open
    model.save_weights(path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "build", None)
        with pytest.raises(TypeError):  # another file is another network
            train(patterns, "MobileNet", **arguments)


def other_scale(pixels: Any) -> Any:
    return pixels / 127.5 - 0.9


@pytest.mark.parametrize(
    "change",
    [
        {"model": SMALL.replace(preprocess=other_scale)},
        {"model": SMALL.replace(preprocess=lambda x: x / 127.5 - 1.1)},
        {"resize": ResizePolicy("squash")},
        {"input_size": (40, 40)},
        {"image_policy": ImagePolicy(color_profile="ignore")},
        {"model": "changed weights"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_embeddings_has_them_made_anew(
    change: dict[str, Any], patterns: Path, cache: Path, embedded: list[int]
) -> None:
    train(patterns)
    embedded.clear()
    if change.get("model") == "changed weights":
        clf = Classifier(SMALL)
        kernel = clf.keras_model.get_layer("conv1").kernel
        kernel.assign(kernel + 1e-3)
        change = {"model": clf}
    train(patterns, **change)
    assert sum(embedded) == 108
    train(patterns, **change)
    assert sum(embedded) == 108


SCALE = 127.5


def by_a_constant(x: Any) -> Any:
    return x / SCALE


def by_a_function(x: Any) -> Any:
    return by_a_constant(x)


def by_keras(x: Any) -> Any:
    return keras.ops.multiply(x, 2)


def test_a_preprocess_is_known_by_all_that_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity.function_identity(by_a_constant)
    assert before == identity.function_identity(by_a_constant) is not None
    monkeypatch.setitem(globals(), "SCALE", 255.0)
    assert identity.function_identity(by_a_constant) not in (None, before)
    assert identity.function_identity(by_keras) is not None
    assert identity.function_identity(by_a_function) is None, "nobody can tell what that one does"


def test_images_are_known_by_their_content(patterns: Path, cache: Path, tmp_path: Path, embedded: list[int]) -> None:
    train(patterns)
    embedded.clear()
    moved = tmp_path / "moved"
    shutil.copytree(patterns / "train", moved / "train")
    shutil.copytree(patterns / "validation", moved / "validation")
    train(moved)
    assert sum(embedded) == 0
    Image.new("RGB", (40, 40), "red").save(moved / "train" / "down" / "003.png")
    train(moved)
    assert sum(embedded) == 1


class Odd:
    """A preprocess that cannot be told from another one."""

    def __call__(self, pixels: Any) -> Any:
        return pixels / 255


def test_what_cannot_be_told_is_not_kept(patterns: Path, cache: Path, embedded: list[int]) -> None:
    for _ in range(2):
        train(patterns, SMALL.replace(preprocess=Odd()))
    assert sum(embedded) == 216
    assert not (cache / "embeddings").exists()


def test_a_store_that_is_damaged_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"this is no database" * 100)
    store = Store(path)
    assert "a.sqlite is damaged and is started again" in caplog.text
    store.put([(b"1", np.ones(3, np.float32)), (None, np.zeros(3, np.float32))])
    assert {key: value.tolist() for key, value in Store(path).get([b"1", b"2", None]).items()} == {b"1": [1, 1, 1]}


@pytest.mark.parametrize("how", ["pages", "cut", "another file", "another table"])
def test_a_store_that_is_damaged_while_it_is_open_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    path = tmp_path / "a.sqlite"
    store = Store(path)
    rows = [(bytes([i]) * 32, np.full(500, i, np.float32)) for i in range(100)]
    store.put(rows)
    content = path.read_bytes()
    if how == "pages":
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    elif how == "cut":
        path.write_bytes(content[:5000])
    elif how == "another file":
        path.write_bytes(b"this is no database" * 1000)
    else:
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE cats (name TEXT)")
    assert store.get([digest for digest, _ in rows]) == {}
    assert "a.sqlite is damaged and is started again" in caplog.text
    store.put(rows)
    assert len(store.get([digest for digest, _ in rows])) == 100


def test_a_vector_with_a_changed_byte_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    store = Store(path)
    store.put([(b"1", np.ones(3, np.float32)), (b"2", np.full(3, 2, np.float32))])
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE vectors SET vector = ? WHERE image = ?", (np.zeros(3, "<f4").tobytes(), b"1"))
    assert list(store.get([b"1", b"2"])) == [b"2"]
    store.put([(b"1", np.ones(3, np.float32))])
    assert store.get([b"1"])[b"1"].tolist() == [1, 1, 1]


def test_a_store_that_cannot_be_written_keeps_nothing(patterns: Path, cache: Path) -> None:
    cache.write_text("this is no folder")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PretrainedCNNWarning)
        assert train(patterns).report.metrics["validation_accuracy"] > 0.5
    (message,) = {str(warning.message) for warning in caught if warning.category is PretrainedCNNWarning}
    assert message.startswith(f"embeddings are not kept in {cache}/embeddings/")
    assert message.endswith("set PRETRAINED_CNN_CACHE to a folder that can be written")


def test_a_store_takes_many_writers_and_readers(tmp_path: Path) -> None:
    def work(worker: int) -> None:
        store = Store(tmp_path / "a.sqlite")
        for i in range(20):
            store.put([(f"{worker}-{i}".encode(), np.full(4, worker, np.float32)), (b"shared", np.ones(4, np.float32))])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (161,)


# Bad data


def broken(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_unreadable_images_are_listed_skipped_and_counted(
    patterns: Path, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for part in ("train", "validation"):
        shutil.copytree(patterns / part, tmp_path / part)
    whole = (patterns / "train" / "down" / "000.png").read_bytes()
    text = broken(tmp_path / "train" / "down", "text.png", b"hello")
    cut = broken(tmp_path / "validation" / "across", "cut.png", whole[:-100])
    with messages() as warned:
        first = train(tmp_path)
    assert warned == [
        f"images that cannot be read are left out (2), such as {first.report.skipped[0]}; report.skipped lists all"
    ]
    for clf in (first, train(tmp_path)):
        assert clf.report.skipped == [
            f"{text}: this is not an image in a format that can be read; it begins with b'hello'",
            f"{cut}: it cannot be decoded: image file is truncated",
        ]
        assert clf.report.counts["train"]["down"] == 24
        assert clf.report.counts["validation"]["across"] == 12
    assert f"left out: {cut}: it cannot be" in caplog.text
    np.testing.assert_array_equal(
        clf.predict_proba(patterns / "test"), train(patterns).predict_proba(patterns / "test")
    )


def test_the_same_image_in_both_is_warned_of(patterns: Path, tmp_path: Path) -> None:
    shutil.copytree(patterns / "validation", tmp_path / "validation")
    copy = shutil.copy(patterns / "train" / "down" / "000.png", tmp_path / "validation" / "across" / "zz.png")
    with messages() as warned:
        clf = Classifier.train(patterns / "train", SMALL, validation=tmp_path / "validation")
    assert clf.report.duplicates == [str(copy)]
    assert warned[0].startswith(f"1 validation images are also among the train images, such as {copy}; ")


def one_class(folder: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(folder / "train" / name)


def empty_class(folder: Path) -> None:
    (folder / "train" / "none").mkdir()


def more_in_validation(folder: Path) -> None:
    (folder / "validation" / "down").rename(folder / "validation" / "up")


def all_broken(folder: Path) -> None:
    for path in (folder / "train" / "down").iterdir():
        path.write_bytes(b"")


def all_broken_late(folder: Path) -> None:
    for path in (folder / "train" / "down").iterdir():
        path.write_bytes(path.read_bytes()[:-100])


def nothing_to_validate_with(folder: Path) -> None:
    for path in (folder / "validation").rglob("*.png"):
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (one_class, "{}/train: all images are of one class, 'across'; at least two are needed"),
        (empty_class, "{}/train: no image is in 'none'; put images there, or remove the folder"),
        (more_in_validation, "{}/validation: 'up' is not in {}/train, whose classes are 'across', 'down', 'squares'"),
        (
            all_broken,
            "{}/train: no image of 'down' can be read; 2 failed, such as {}/train/down/000.png: it is empty",
        ),
        (
            all_broken_late,
            "{}/train: no image of 'down' can be read; 2 failed, such as {}/train/down/000.png: it cann",
        ),
        (nothing_to_validate_with, "{}/validation: none of these images can be read, such as {}/validation/across/0"),
    ],
)
def test_bad_data_is_said_before_any_work(spoil: Any, message: str, tmp_path: Path, embedded: list[int]) -> None:
    for seed, part in enumerate(("train", "validation")):
        draw(tmp_path / part, 2, seed=seed)
    spoil(tmp_path)
    with pytest.raises(DataError) as caught:
        train(tmp_path)
    assert str(caught.value).startswith(message.replace("{}", str(tmp_path)))
    assert not embedded or spoil is all_broken_late


def test_one_image_a_class_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"with one image, or one group, a class, none can be set aside"):
        Classifier.train(draw(tmp_path, 1), SMALL)


def test_class_weights_of_no_class(patterns: Path) -> None:
    with pytest.raises(DataError, match="class_weight names 'up', but the classes are 'across', 'down', 'squares'"):
        train(patterns, class_weight={"up": 2.0})
    for weight in (0, -1, float("nan"), float("inf"), "2"):
        with pytest.raises(InvalidArgumentError, match=r"class_weight of 'down'=.* is not a number above 0"):
            train(patterns, class_weight={"down": weight})  # type: ignore[dict-item]


def test_settings_take_the_numbers_of_numpy() -> None:
    settings = Settings("mlp", np.int64(3), np.uint8(2), learning_rate=np.float32(0.5), seed=np.int32(7))  # type: ignore
    values = (settings.epochs, settings.unfreeze, settings.learning_rate, settings.seed)
    assert values == (3, 2, 0.5, 7)
    assert [type(value) for value in values] == [int, int, float, int]


class Silent(keras.layers.Layer):
    """A layer that fails and does not say why."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "svm"}, "head='svm' is not known; choose 'linear' or 'mlp'"),
        ({"head": "mlp", "epochs": 0}, "epochs=0 is not a whole number of at least 1"),
        (
            {"epochs": 3},
            "epochs=... has no meaning for head='linear', which is fitted to convergence; leave epochs out, or",
        ),
        ({"learning_rate": 0.1}, "learning_rate=... has no meaning for head='linear'"),
        ({"head": "mlp", "learning_rate": 0}, "learning_rate=0 is not a number above 0"),
        ({"augment": "much", "unfreeze": 1}, "augment='much' is not known; give \"default\", a keras layer or None"),
        ({"augment": abs, "unfreeze": 1}, "augment=<built-in function abs> is not known; give"),
        ({"unfreeze": -1}, "unfreeze=-1 is neither a number of layers nor a layer's name"),
        ({"unfreeze": True}, "unfreeze=True is neither a number of layers nor a layer's name"),
        ({"unfreeze": 9}, "unfreeze=9: small has 3 layers with weights, BatchNormalization not counted"),
        ({"unfreeze": "conv3"}, "unfreeze='conv3': small has no layer of that name; did you mean 'conv2' or 'conv1'"),
        ({"seed": None}, "seed=None is not a whole number from 0 to 4294967295"),
        ({"seed": 2**64}, "seed=18446744073709551616 is not a whole number from 0 to 4294967295"),
        ({"cache": "no"}, "cache='no' is neither True nor False"),
        ({"class_weight": np.ones(3)}, "class_weight=array([1., 1., 1.]) is not known; give"),
        (
            {"class_weight": {"down": 1e300}},
            "class_weight of 'down'=1e+300 is not a number above 0 and of at most 1e+06",
        ),
        (
            {"head": [keras.layers.ReLU(name="a")] * 2},
            "head=...: two layers are named 'a'; give each a name of its own",
        ),
        (
            {"head": keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(np.nan))},
            "head: before the first epoch, the log loss on validation is nan; check the initial weights of the layers",
        ),
        (
            {"augment": keras.layers.Rescaling(1 / 255)},
            "augment=...: the layer gives values from 0 to 1 for an image in 0 to 255; leave out what scales",
        ),
        (
            {"augment": keras.layers.Resizing(8, 8), "unfreeze": 1},
            "augment=...: the layer gives shape (1, 8, 8, 3) for images of shape (1, ",
        ),
        (
            {"augment": Silent(), "unfreeze": 1},
            "augment=...: the layer does not take images of shape (1, 32, 32, 3): AssertionError",
        ),
        ({"class_weight": "even"}, "class_weight='even' is not known; give \"balanced\" or a number for each class"),
        ({"depth": 3}, "the builder of Small has no option 'depth'; it has none"),
        ({"runtime": "abacus"}, "unknown runtime 'abacus'; choose 'keras'"),
    ],
)
def test_settings_that_cannot_be_right(options: dict[str, Any], message: str, patterns: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        train(patterns, **options)
    assert str(caught.value).startswith(message)


def test_without_scipy(patterns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert train(patterns).spec.labels


# Fine-tuning


def test_fine_tuning_beats_the_linear_head_where_it_can(patterns: Path) -> None:
    linear = train(patterns).evaluate(patterns / "test")
    tuned = train(patterns, unfreeze="conv0", learning_rate=3e-3, epochs=8)
    assert tuned.evaluate(patterns / "test").top1 > linear.top1 + 0.1
    stages = [row["stage"] for row in tuned.history]
    assert stages == ["head"] * stages.count("head") + ["fine-tune"] * 9
    losses = [row["validation_loss"] for row in tuned.history if row["stage"] == "fine-tune"]
    assert tuned.report.metrics["validation_loss"] == min(losses)
    result = tuned.evaluate(patterns / "validation")
    assert result.top1 == pytest.approx(tuned.report.metrics["validation_accuracy"])


def test_it_never_ends_below_the_head(patterns: Path) -> None:
    linear = train(patterns, seed=3)
    with messages() as warned:
        ruined = train(patterns, unfreeze=1, learning_rate=10.0, epochs=2, seed=3)
    assert warned[0].startswith("fine-tune: no epoch lowered the log loss on validation: ")
    assert warned[0].endswith("so the weights of the linear or MLP head alone are kept. Try a lower learning_rate")
    np.testing.assert_allclose(
        ruined.predict_proba(patterns / "test"), linear.predict_proba(patterns / "test"), atol=1e-5
    )


def statistics(model: keras.Model) -> dict[str, np.ndarray]:
    return {
        f"{layer.name} {i}": value
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for i, value in enumerate(layer.get_weights())
    }


def test_batch_normalization_does_not_change_and_nothing_below(patterns: Path) -> None:
    before = Classifier(SMALL).keras_model
    after = train(patterns, **QUICK).keras_model
    assert len(statistics(before)) == 12
    for name, values in statistics(before).items():
        np.testing.assert_array_equal(statistics(after)[name], values)
    changed = {
        name: not np.array_equal(before.get_layer(name).kernel, after.get_layer(name).kernel)
        for name in ("conv0", "conv1", "conv2")
    }
    assert changed == {"conv0": False, "conv1": True, "conv2": True}
    assert all(layer.trainable for layer in after.layers), "the next one who trains it finds it as any other"


def test_the_proof_can_fail(patterns: Path) -> None:
    """A training step with BatchNormalization in training mode does change its statistics."""
    model = Classifier(SMALL).keras_model
    before = statistics(model)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(np.random.default_rng(0).normal(size=(4, 32, 32, 3)), np.array([0, 1, 0, 1]))
    assert any(not np.array_equal(before[name], value) for name, value in statistics(model).items())


def test_batch_normalization_within_a_layer(patterns: Path) -> None:
    @keras.saving.register_keras_serializable("test")
    class Block(keras.layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.conv = keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.GlorotUniform(0))
            self.norm = keras.layers.BatchNormalization()

        def build(self, shape: Any) -> None:
            self.conv.build(shape)
            self.norm.build(self.conv.compute_output_shape(shape))

        def call(self, x: Any) -> Any:
            return self.norm(self.conv(x))

    def build(input_shape: Any) -> keras.Model:
        inputs = keras.Input(input_shape)
        x = keras.layers.GlobalAveragePooling2D()(Block(name="block")(inputs))
        return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))

    folder = patterns / "train"  # also to validate with, so that small steps lower the loss
    clf = Classifier.train(folder, SMALL.replace(builder=build), folder, unfreeze=1, epochs=2, learning_rate=1e-4)
    block = clf.keras_model.get_layer("block")
    np.testing.assert_array_equal(block.norm.moving_mean, 0)
    np.testing.assert_array_equal(block.norm.gamma, 1)
    assert np.abs(block.conv.bias).max() > 0


def test_augmentation_sees_images_and_must_not_change_what_serves(patterns: Path) -> None:
    seen = []

    class Watching(keras.layers.Layer):
        def call(self, pixels: Any, training: bool = False) -> Any:
            seen.append((tuple(pixels.shape[1:]), float(keras.ops.max(pixels)), training))
            return pixels * 10.0

    with messages():  # what it does is of no use
        train(patterns, unfreeze=1, epochs=1, augment=Watching())
    assert {shape for shape, *_ in seen} == {(32, 32, 3)}
    assert max(top for _, top, _ in seen) > 200
    assert all(training for *_, training in seen)
    tuned = train(patterns, unfreeze=1, epochs=2, augment="default")
    assert tuned.report.settings["augment"] == "default"


CHILD = """
import os, signal, sys
sys.path.insert(0, "tests")
from pathlib import Path
from patterns import SMALL
from pretrained_cnn import Classifier
from pretrained_cnn.transfer import fit

save = fit._save

def save_and_die(path, state, variables):
    save(path, state, variables)
    if path and state.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)

fit._save = save_and_die
folder = Path(sys.argv[1])
Classifier.train(folder / "train", SMALL, validation=folder / "validation", **eval(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits(
    patterns: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = {**QUICK, "epochs": 3, "head": "mlp", "augment": "default"}  # with everything that is random
    command = [sys.executable, "-c", CHILD, str(patterns), repr(options)]
    assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == -signal.SIGKILL
    assert len(list((cache / "training").iterdir())) == 1
    resumed = train(patterns, **options)
    assert "training continues after epoch 2, from " in caplog.text
    with pytest.raises(BundleError):
        resumed.save(cache)  # a folder that is no bundle
    again = train(patterns, **options)
    assert "training continues after epoch 3, from " in caplog.text, "a checkpoint outlives a save that failed"
    assert weights_digest(again.keras_model) == weights_digest(resumed.keras_model)
    again.save(cache / "a.bundle")
    assert list((cache / "training").iterdir()) == [], "a network that is saved needs no checkpoint"

    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(cache / "other"))
    uninterrupted = train(patterns, **options)
    assert caplog.text.count("training continues") == 2
    assert resumed.history == uninterrupted.history
    assert weights_digest(resumed.keras_model) == weights_digest(uninterrupted.keras_model)


@pytest.mark.slow
def test_the_state_of_the_optimizer_counts(patterns: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a checkpoint holds of Adam and of the generators is needed: without it the bits are others."""
    original = fit._save

    def stop(path: Any, state: Any, variables: Any) -> None:
        original(path, state, variables)
        if state.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(patterns, **QUICK)
    (path,) = (cache / "training").iterdir()
    with np.load(path) as arrays:
        kept = dict(arrays)
    spoilt = {name: np.zeros_like(value) if name == "now10" else value for name, value in kept.items()}
    assert not np.array_equal(spoilt["now10"], kept["now10"])
    with path.open("wb") as file:
        np.savez(file, **spoilt)
    resumed = train(patterns, **QUICK)
    assert weights_digest(resumed.keras_model) != weights_digest(train(patterns, **QUICK, cache=False).keras_model)


# Messages


def test_history_and_report(patterns: Path) -> None:
    clf = train(patterns, unfreeze=1, epochs=1, class_weight={"down": 2.0}, augment=keras.layers.RandomFlip())
    report = clf.report.to_dict()
    assert report["model"] == "Small"
    assert report["classes"] == CLASSES
    assert report["counts"]["train"] == dict.fromkeys(CLASSES, 24)
    assert report["split"] == "given; C was chosen by train images, 5-fold cross-validation"
    assert report["settings"]["class_weight"] == {"down": 2.0}
    assert report["settings"]["augment"].startswith("RandomFlip {")
    assert report["settings"]["epochs"] == 1
    assert report["settings"]["learning_rate"] == 1e-5
    assert set(report["seconds"]) == {"read", "embed", "head", "fine-tune"}
    assert Classifier(SMALL).report is None
    assert Classifier(SMALL).history == []


def test_the_model_card(patterns: Path, tmp_path: Path) -> None:
    shutil.copytree(patterns / "train", tmp_path / "train")
    broken(tmp_path / "train" / "down", "text.png", b"hello")
    with messages():
        clf = Classifier.train(tmp_path / "train", SMALL.replace(license="MIT", source="https://example.org/small"))
    card = model_card(clf.report, clf.spec)
    for part in (
        "# An image classifier of 3 classes\n",
        "Small, pretrained on other images",
        "32 x 32 pixels (crop, bicubic)",
        "| down | 24 | 24 |",
        "5-fold cross-validation",
        "1 images could not be read",
        f"{100 * clf.report.metrics['validation_accuracy']:.1f} % of the validation images are classified correctly",
        f"| C | {clf.report.settings['C']} |",
        "License of the pretrained weights: MIT.",
        "https://example.org/small",
    ):
        assert part in card


# What is saved


@pytest.mark.parametrize("format", ["keras", "openvino", "onnx", "litert", "saved_model"])
def test_saved_and_loaded_in_every_format(format: Any, patterns: Path, tmp_path: Path) -> None:
    clf = train(patterns)
    clf.save(tmp_path / "a.bundle", format=format)
    loaded = Classifier.load(tmp_path / "a.bundle")
    assert [label.id for label in loaded.spec.labels] == list(CLASSES)
    assert loaded.evaluate(patterns / "test").top1 == pytest.approx(clf.evaluate(patterns / "test").top1, abs=0.02)
    np.testing.assert_allclose(loaded.predict_proba(patterns / "test"), clf.predict_proba(patterns / "test"), atol=1e-4)
    assert (tmp_path / "a.bundle" / "README.md").read_text("utf-8") == model_card(clf.report, clf.spec)
    assert (loaded.report, loaded.history) == (clf.report, clf.history)
    assert not {"README.md", "training.json"} & dict(loaded.engine.bundle.model_checksums()).keys()
    loaded.save(tmp_path / "b.bundle")
    again = Classifier.load(tmp_path / "b.bundle")
    assert (again.report, again.history) == (clf.report, clf.history)


@pytest.mark.slow
def test_a_bundle_can_be_gone_on_from(patterns: Path, tmp_path: Path, cache: Path, embedded: list[int]) -> None:
    train(patterns, head="mlp", epochs=1).save(tmp_path / "a.bundle")
    embedded.clear()
    for _ in range(2):
        clf = train(patterns, Classifier.load(tmp_path / "a.bundle"), unfreeze=2, epochs=1)
    assert sum(embedded) == 108, "a bundle's embeddings are kept, too"
    assert clf.evaluate(patterns / "test").top1 > 0.5
    assert clf.spec.name == "Small-trained"
    clf.save(tmp_path / "b.bundle")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["openvino", "onnx", "litert", "saved_model"])
def test_a_head_on_a_graph_that_is_not_in_keras(
    format: str, patterns: Path, tmp_path: Path, cache: Path, embedded: list[int]
) -> None:
    Classifier(SMALL).save(tmp_path / "trunk", format=format, output="embedding")
    trunk, expected = Classifier.load(tmp_path / "trunk"), train(patterns)
    embedded.clear()
    for _ in range(2):
        clf = train(patterns, trunk)
    assert sum(embedded) == 108, "embeddings of a bundle are kept, too"
    assert trunk.engine.bundle.outputs == ("embedding",), "what is trained on is not changed"
    test = patterns / "test"
    np.testing.assert_allclose(clf.predict_proba(test), expected.predict_proba(test), atol=1e-2)
    assert clf.evaluate(test).top1 > 0.5
    assert copy.deepcopy(clf).evaluate(test).top1 == clf.evaluate(test).top1
    np.testing.assert_array_equal(clf.embed(test), trunk.embed(test))
    clf.save(tmp_path / "a.bundle")
    loaded = Classifier.load(tmp_path / "a.bundle")
    np.testing.assert_array_equal(loaded.predict_proba(test), clf.predict_proba(test))
    assert [label.name for label in loaded.labels] == list(CLASSES)
    assert (tmp_path / "a.bundle" / "README.md").exists()
    again = train(patterns, loaded, head="mlp", epochs=20, learning_rate=1e-2)
    assert again.spec.name == "Small-trained"
    assert again.evaluate(test).top1 > 0.5
    assert settings_of(again.engine) != settings_of(clf.engine), "a run does not continue another head"


def test_a_graph_that_is_not_in_keras_says_what_it_cannot(patterns: Path, tmp_path: Path) -> None:
    Classifier(SMALL).save(tmp_path / "both", format="openvino", output=["scores", "embedding"])
    with pytest.raises(
        BundleError, match=r"both is of format='openvino' and gives scores and embedding only; what else"
    ):
        train(patterns, tmp_path / "both", unfreeze=1)
    clf = train(patterns, tmp_path / "both", cache=False)
    assert repr(clf) == "Classifier.train(..., 'Small', runtime='openvino')"
    with pytest.raises(InvalidArgumentError, match=r"cannot be pickled; write it with save\(path\)"):
        pickle.dumps(clf)
    expected = train(patterns, cache=False).predict_proba(patterns / "test")
    np.testing.assert_allclose(clf.predict_proba(patterns / "test"), expected, atol=1e-2)
    clf.save(tmp_path / "a.bundle")
    np.testing.assert_allclose(
        Classifier.load(tmp_path / "a.bundle").predict_proba(patterns / "test"), expected, atol=1e-2
    )
    np.savez(tmp_path / "a.bundle" / "head.npz", kernel_0=np.zeros((3, 3)), bias_0=np.zeros(3))
    with pytest.raises(BundleError, match=r"head\.npz was changed"):
        Classifier.load(tmp_path / "a.bundle")


@pytest.mark.slow
def test_another_runtime(patterns: Path, cache: Path, embedded: list[int]) -> None:
    clf = train(patterns, runtime="openvino")
    assert repr(clf) == "Classifier.train(..., 'Small', runtime='openvino')"
    expected = train(patterns)
    assert sum(embedded) == 216, "each runtime's embeddings are its own"
    np.testing.assert_allclose(
        clf.predict_proba(patterns / "test"), expected.predict_proba(patterns / "test"), atol=1e-2
    )
    assert clf.embed(patterns / "test", layer="relu1").shape == (90, 12)


# Real weights


@pytest.mark.slow
def test_mobilenet_on_clothes(keras_home: Path, assets: Path) -> None:
    """Settings chosen on validation, which flatters it a little; then on a split of train alone."""
    train, validation = assets / "clothing" / "train", assets / "clothing" / "validation"
    clf = Classifier.train(train, "MobileNet", validation=validation)
    result = clf.evaluate(validation)
    print(f"\nMobileNet, settings chosen on validation: {result!r}")
    assert result.count == 186
    assert result.top1 >= 0.82
    honest = Classifier.train(train, "MobileNet").evaluate(validation)
    print(f"MobileNet, settings chosen on a part of train: {honest!r}")
    assert honest.top1 >= 0.82


@pytest.mark.slow
def test_xception_on_clothes(assets: Path) -> None:
    train, validation = assets / "clothing" / "train", assets / "clothing" / "validation"
    clf = Classifier.train(train, weights=assets / "weights" / "xception_notop.h5")
    assert clf.spec.input_size == (299, 299)
    assert clf.report.split.startswith("5-fold cross-validation")
    result = clf.evaluate(validation)
    print(f"\nXception, settings chosen on a part of train: {result!r}")
    assert result.top1 >= 0.8
