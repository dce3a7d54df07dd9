"""What calibration promises: the p-values and sets are those of the textbook, and hold over random data."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binom

from pretrained_cnn import BundleError, DataError, InvalidArgumentError
from pretrained_cnn.trust import Calibration
from pretrained_cnn.trust.calibration import _unit, images_needed


def sample(count: int, seed: int = 0, classes: int = 4, width: int = 12) -> tuple[NDArray[Any], ...]:
    """Scores, embeddings and targets of a classifier that is often right."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, count)
    centers = np.random.default_rng(99).normal(size=(classes, width)) + 2
    embeddings = centers[targets] + random.normal(size=(count, width)) * 0.8
    logits = -((embeddings[:, np.newaxis] - centers) ** 2).sum(axis=-1)
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True), embeddings, targets


def textbook_p_value(calibration: NDArray[Any], image: NDArray[Any]) -> float:
    """Full conformal prediction, word by word: all images in one bag, each as far as its third nearest other."""
    bag = np.concatenate([calibration, image[np.newaxis]]).astype(np.float64)
    unit = _unit(bag).astype(np.float64)
    between = np.maximum(1 - unit @ unit.T, 1e-3)
    np.fill_diagonal(between, np.inf)
    distances = np.sort(between, axis=1)[:, 2]
    return float(np.mean(distances >= distances[-1] - 1e-6))


@given(st.integers(0, 10_000), st.integers(20, 60))
@settings(max_examples=20, deadline=None)
def test_p_values_are_those_of_full_conformal_prediction(seed: int, count: int) -> None:
    scores, embeddings, targets = sample(count, seed)
    calibration = Calibration.fit(scores, embeddings, targets, 0.9)
    images = np.concatenate([sample(5, seed + 1)[1], np.random.default_rng(seed).normal(size=(5, 12))])
    expected = [textbook_p_value(embeddings, image) for image in images]
    ranks = np.abs(calibration.p_values(images) - expected) * (count + 1)
    assert ranks.max() < 1.01  # two distances that are equal except rounding
    assert ranks.mean() < 0.31


@given(st.integers(0, 10_000), st.integers(19, 200), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
@settings(max_examples=25, deadline=None)
def test_the_threshold_is_the_quantile_of_split_conformal_prediction(seed: int, count: int, coverage: float) -> None:
    scores, embeddings, targets = sample(count, seed)
    calibration = Calibration.fit(scores, embeddings, targets, coverage)
    nonconformity = 1 - scores[np.arange(count), targets]
    expected = 1 - np.sort(nonconformity)[math.ceil(round((count + 1) * coverage, 9)) - 1]
    assert calibration.threshold == pytest.approx(expected, abs=1e-12)
    inside = calibration.in_set(scores)
    assert inside.any(axis=1).all()
    np.testing.assert_array_equal(inside[np.arange(count), scores.argmax(axis=1)], True)


@given(st.integers(0, 10_000), st.integers(19, 120), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
@settings(max_examples=25, deadline=None)
def test_label_sets_are_those_of_crepes(seed: int, count: int, coverage: float) -> None:
    crepes = pytest.importorskip("crepes", reason="crepes is not installed; it is in the extra test")
    scores, embeddings, targets = sample(count, seed)
    new = sample(30, seed + 1)[0]
    reference = crepes.ConformalClassifier()
    reference.fit(1 - scores[np.arange(count), targets])
    expected = (
        reference.predict_p(1 - new, smoothing=False) > 1 - coverage + 1e-9
    )  # its sets take 1 - 0.9 for 0.0999...
    expected[np.arange(len(new)), new.argmax(axis=1)] = True  # a set of ours is never empty
    found = Calibration.fit(scores, embeddings, targets, coverage).in_set(new)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_both_promises_are_kept_over_many_draws(coverage: float) -> None:
    """One image is judged by each of 400 calibrations, so the counts are binomial."""
    kept = covered = 0
    draws = 400
    for seed in range(draws):
        scores, embeddings, targets = sample(61, seed)
        calibration = Calibration.fit(scores[1:], embeddings[1:], targets[1:], coverage)
        kept += not calibration.is_unknown(embeddings[:1])[0]
        covered += calibration.in_set(scores[:1])[0, targets[0]]
    least = binom.ppf(0.001, draws, coverage)
    assert kept >= least
    assert covered >= least
    assert kept <= binom.ppf(0.999, draws, coverage + 1 / 61)  # and no more is kept than is promised


def test_another_kind_of_image_is_unknown() -> None:
    calibration = Calibration.fit(*sample(200))
    assert calibration.is_unknown(-sample(50, 5)[1]).all()
    assert calibration.is_unknown(sample(200, 6)[1]).mean() < 0.12


def test_copies_of_an_image_are_known_however_their_embedding_is_rounded() -> None:
    embeddings = np.repeat(sample(20)[1], 10, axis=0)
    calibration = Calibration.fit(np.full((200, 2), 0.5), embeddings, np.zeros(200, np.intp), 0.95)
    assert (calibration.p_values(embeddings[::10] * (1 + 3e-3 * np.sin(np.arange(12)))) == 1).all()


def test_sets_are_best_first_and_never_empty() -> None:
    from pretrained_cnn import Label

    labels = [Label(name, name.upper()) for name in "abc"]
    calibration = Calibration(0.9, 10, 0.3, np.eye(4, 12, dtype=np.float16), np.ones((4, 2), np.float32))
    sets = calibration.label_sets(np.array([[0.32, 0.08, 0.6], [0.1, 0.29, 0.29], [0.3, 0.3, 0.4]]), labels)
    assert [[each.id for each in one] for one in sets] == [["c", "a"], ["b"], ["c", "a", "b"]]
    assert (sets[0][1].label, sets[0][1].score, sets[0][1].index) == ("A", 0.32, 0)


def test_too_few_images_are_refused() -> None:
    for coverage in (0.5, 0.9, 0.95, 0.99):
        needed = images_needed(coverage)
        Calibration.fit(*sample(needed), coverage)
        with pytest.raises(DataError, match=rf"{coverage:g} needs at least {needed} images .* and {needed - 1} could"):
            Calibration.fit(*sample(needed - 1), coverage)
    for wrong in (0, 1, 1.5, 1e-12, "0.9", float("nan")):
        with pytest.raises(InvalidArgumentError, match=r"coverage=.* is not a number of at least 1e-06"):
            Calibration.fit(*sample(30), wrong)  # type: ignore[arg-type]


def test_fifty_thousand_images_cost_less_than_ten_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from pretrained_cnn.trust import calibration as module

    assert module.MAX_REFERENCE_BYTES <= 9_000_000
    monkeypatch.setattr(module, "MAX_REFERENCE_BYTES", 2 * 12 * 100)  # the same rule, on less
    found = Calibration.fit(*sample(1000))
    assert (found.images, found.references.shape) == (1000, (100, 12))
    assert sum(array.nbytes for array in found.to_arrays().values()) < 2 * 12 * 100 + 100 * 8 + 100
    assert not found.is_unknown(sample(200, 6)[1]).mean() > 0.12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 7)
        np.testing.assert_allclose(Calibration.fit(*sample(1000)).distances, found.distances, atol=1e-6)


def test_arrays_give_the_calibration_back() -> None:
    calibration = Calibration.fit(*sample(50))
    again = Calibration.from_arrays(calibration.to_arrays())
    assert (repr(again), again.digest()) == (repr(calibration), calibration.digest())
    np.testing.assert_array_equal(again.p_values(sample(9, 3)[1]), calibration.p_values(sample(9, 3)[1]))


@pytest.mark.parametrize(
    "damage",
    [
        {"coverage": np.array(1.0)},
        {"coverage": np.array("0.9")},
        {"images": np.array(3)},
        {"threshold": np.array(np.nan)},
        {"references": np.full((50, 12), np.nan, np.float16)},
        {"references": np.ones((3, 12), np.float16), "distances": np.ones((3, 2), np.float32)},
        {"distances": np.ones((50, 3), np.float32)},
        {"distances": np.full((50, 2), np.inf, np.float32)},
        {"distances": np.full((50, 2), -1, np.float32)},
        {"references": np.ones((50, 12), np.complex64)},
        {"images": np.array(50.5)},
    ],
)
def test_arrays_that_are_no_calibration_are_refused(damage: dict[str, NDArray[Any]]) -> None:
    arrays = Calibration.fit(*sample(50)).to_arrays() | damage
    with pytest.raises(BundleError, match="calibrate the bundle again"):
        Calibration.from_arrays(arrays)
    with pytest.raises(BundleError, match="calibrate the bundle again"):
        Calibration.from_arrays({})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from patterns import draw

    parent = tmp_path_factory.mktemp("patterns")
    draw(parent / "train", 8)
    draw(parent / "calibration", 10, seed=1)
    draw(parent / "test", 5, seed=2)
    return parent


@pytest.fixture(scope="module")
def trained(folder: Path) -> Any:
    from patterns import SMALL

    from pretrained_cnn import Classifier

    return Classifier.train(folder / "train", SMALL)


def answers(results: Any) -> list[Any]:
    return [(result.status, result.top.id, [each.id for each in result.label_set]) for result in results]


@pytest.mark.parametrize(
    "format_", ["keras", *(pytest.param(each, marks=pytest.mark.slow) for each in ("openvino", "onnx", "litert"))]
)
def test_a_calibrated_classifier_answers_alike_on_every_path(
    trained: Any, folder: Path, tmp_path: Path, format_: str
) -> None:
    from test_report import rows

    from pretrained_cnn import Classifier, to_frame, write_results
    from pretrained_cnn.report import write_report

    clf = trained.calibrate(folder / "calibration", coverage=0.8)
    assert trained.calibration is None
    assert trained.predict(folder / "test" / "down" / "000.png").label_set is None
    assert repr(clf.calibration).startswith("Calibration(coverage=0.8, images=30")
    photos = sorted((folder / "test").glob("*/*.png"))
    gray = np.full((40, 40, 3), 128, np.uint8)
    scores, embeddings = clf.predict_proba(photos), clf.embed(photos)
    results = clf.predict_batch(photos, top=1)
    expected = answers(results)
    assert [status == "unknown" for status, *_ in expected] == clf.calibration.is_unknown(embeddings).tolist()
    assert [len(found) for *_, found in expected] == clf.calibration.in_set(scores).sum(axis=1).tolist()
    assert answers(clf.predict(photo) for photo in photos) == expected
    assert clf.predict(gray).status == "unknown"
    assert clf.predict(gray).top.score > 0
    assert clf.predict(gray, min_score=1).status == "unknown"
    (failed,) = clf.predict_batch(["no.jpg"], errors="return")
    assert (failed.status, failed.label_set) == ("failed", None)
    assert set(to_frame(results)["status"]) <= {"ok", "unknown"}
    sets = [json.loads(text) for text in to_frame(results)["label_set"]]
    assert [[each["id"] for each in one] for one in sets] == [found for *_, found in expected]

    path = tmp_path / f"{format_}.bundle"
    clf.save(path, format=format_)
    loaded = Classifier.load(path)
    assert loaded.calibration.digest() == clf.calibration.digest()
    loaded.save(tmp_path / "again.bundle", format=format_)
    again = Classifier.load(tmp_path / "again.bundle")
    assert again.calibration.digest() == clf.calibration.digest()
    assert again.engine.bundle.trained_on() == loaded.engine.bundle.trained_on()
    assert answers(loaded.stream(photos)) == expected
    assert answers(pickle.loads(pickle.dumps(loaded)).stream(photos)) == expected
    with pytest.raises(DataError, match=r"trained on 24 of these 24 images, such as .*000\.png; calibrate with"):
        loaded.calibrate(folder / "train")

    report = write_report(clf, photos, tmp_path / "report.html", heat_maps=None, min_score=1)
    doubts = [row["doubt"] for row in rows(report.path)]
    assert doubts == ["unknown" if status == "unknown" else "uncertain" for status, *_ in expected]
    assert report.unknown == doubts.count("unknown")

    path = tmp_path / "r.csv"
    write_results(clf.stream(photos[:3]), path)
    write_results(loaded.stream(photos), tmp_path / "s.csv")
    other = trained.calibrate(folder / "calibration", coverage=0.7)
    from pretrained_cnn import OutputError

    with pytest.raises(OutputError, match="was made with calibration="):
        write_results(other.stream(photos), path, resume=True)


def test_what_cannot_be_calibrated_is_refused(trained: Any, folder: Path, tmp_path: Path) -> None:
    import keras
    from patterns import SMALL

    from pretrained_cnn import Classifier, PretrainedCNNWarning

    with pytest.raises(DataError, match="was trained on 24 of these 24 images"):
        trained.calibrate(folder / "train")
    with pytest.raises(InvalidArgumentError, match="coverage=2 is not a number"):
        trained.calibrate(folder / "calibration", coverage=2)
    with pytest.raises(InvalidArgumentError, match="batch_size=0 is not a whole number of at least 1"):
        trained.calibrate(folder / "calibration", batch_size=0)
    with pytest.raises(DataError, match="needs at least 99 images to calibrate with, and 30 could be read"):
        trained.calibrate(folder / "calibration", coverage=0.99)
    down = [(path, "down") for path in sorted((folder / "calibration" / "down").iterdir())]
    with pytest.warns(PretrainedCNNWarning, match="the calibration images have none of 'across', 'squares'"):
        clf = trained.calibrate(down, coverage=0.9)
    with pytest.raises(InvalidArgumentError, match=r"quantize=\.\.\. changes the network"):
        clf.save(tmp_path / "b", format="openvino", quantize=folder / "test")
    with pytest.raises(InvalidArgumentError, match="output='scores' leaves out what a calibrated classifier needs"):
        clf.save(tmp_path / "b", output="scores")
    with pytest.raises(InvalidArgumentError, match="cannot be pickled"):
        pickle.dumps(clf)
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "sigmoid")])
    several = Classifier.from_keras(model, labels=["a", "b"], scale=1 / 255, multi_label=True)
    with pytest.raises(InvalidArgumentError, match="calibrate needs classes that exclude each other"):
        several.calibrate(folder / "calibration")
    own = Classifier(SMALL.replace(labels=(), decode=lambda scores, top: [[("a", "a", 1.0)]] * len(scores)))
    with pytest.raises(InvalidArgumentError, match="has a decode function in place of labels"):
        own.calibrate(folder / "calibration")


@pytest.mark.slow
def test_the_command_copies_a_bundle_and_calibrates_it(
    trained: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pretrained_cnn import Classifier, cli, write_results

    def main(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    bundle, new = tmp_path / "my.bundle", tmp_path / "new.bundle"
    trained.save(bundle)
    before = {file.name: file.read_bytes() for file in bundle.iterdir()}
    code, out, err = main("calibrate", bundle, folder / "calibration", "-o", new, "--coverage", "0.8")
    assert (code, err) == (0, "")
    assert out.startswith(f"{new}\t30 images\tcoverage 0.8\tlabel sets from a score of 0.")
    assert {file.name: file.read_bytes() for file in bundle.iterdir()} == before
    kept = {name: (new / name).read_bytes() for name in before if name != "manifest.json"}
    assert kept.items() <= before.items()
    clf = Classifier.load(new)
    assert clf.calibration is not None
    assert clf.calibration.digest() == trained.calibrate(folder / "calibration", coverage=0.8).calibration.digest()

    gray = tmp_path / "gray.png"
    Image.new("RGB", (40, 40), "gray").save(gray)
    code, out, err = main("classify", gray, "-m", new, "--top", "1")
    assert (code, len(out.splitlines())) == (0, 1)
    assert f"{gray}: unknown: it looks like none of the classes" in err
    (known,) = (folder / "calibration" / "down").glob("000.png")
    rows = tmp_path / "rows.csv"
    code, _, err = main("classify", gray, known, "-m", new, "-o", rows, "--unknown-to", tmp_path / "others")
    assert code == 0, err
    assert f"2 images are in {rows}: 0 failed, 1 unknown; " in err
    code, _, err = main("report", gray, known, "-m", new, "-o", tmp_path / "r.html", "--no-heat-maps")
    assert (code, "2 images are in" in err, ": 0 failed, 1 unknown; " in err) == (0, True, True)
    assert write_results(clf.stream([gray, known]), tmp_path / "rows.jsonl").unknown == 1
    code, _, err = main("classify", gray, "-m", new, "-o", tmp_path / "r.csv", "--on", "ray", "--unknown-to", "x")
    assert (code, "--unknown-to does not go with --on ray; sort by the rows" in err) == (cli.Status.USAGE, True)
    assert [file.name for file in (tmp_path / "others").iterdir()] == ["gray.png"]
    assert not (tmp_path / "others" / "gray.png").is_symlink()
    sorted_ = ("--link-to", tmp_path / "sorted", "--unknown-to", tmp_path / "links")
    assert main("classify", gray, known, "-m", new, *sorted_)[0] == 0
    assert (tmp_path / "links" / "gray.png").is_symlink()
    assert len(list((tmp_path / "sorted").glob("*/*"))) == 1
    assert main("classify", gray, "-m", new, "--copy-to", tmp_path / "copies")[0] == 0
    assert (tmp_path / "copies" / "unknown" / "gray.png").is_file()
    code, _, err = main("classify", gray, "-m", bundle, "--unknown-to", tmp_path / "others")
    assert (code, "is not calibrated; write one with `pretrained-cnn calibrate`" in err) == (cli.Status.USAGE, True)
    inside = main("classify", folder, "-m", new, "--unknown-to", folder / "others")
    assert (inside[0], "it lies within" in inside[2]) == (cli.Status.USAGE, True)
    code, out, _ = main("classify", gray, "-m", new, "--json")
    assert (json.loads(out)["status"], code) == ("unknown", 0)

    code, _, err = main("calibrate", new, folder / "train", "-o", tmp_path / "third.bundle")
    assert code == cli.Status.FAILED
    assert "was trained on 24 of these 24 images" in err
    assert (
        "new.bundle already exists; choose another name, or pass --overwrite"
        in main("calibrate", bundle, folder / "calibration", "-o", new)[2]
    )
    assert main("calibrate", new, folder / "calibration", "-o", new, "--overwrite")[0] == 0
    assert "MobileNet is not a bundle; write one with" in main("calibrate", "MobileNet", folder, "-o", new)[2]

    (new / "calibration.npz").write_bytes(b"PK")
    with pytest.raises(BundleError, match=r"calibration\.npz was changed or cut"):
        Classifier.load(new)


def test_a_calibration_that_does_not_fit_its_bundle_is_refused(trained: Any, tmp_path: Path) -> None:
    from pretrained_cnn import Classifier
    from pretrained_cnn.bundle.store import open_bundle, write_calibrated

    trained.save(tmp_path / "a", output=["scores", "embedding"])
    bundle = open_bundle(tmp_path / "a")
    write_calibrated(bundle, tmp_path / "b", Calibration.fit(*sample(50)).to_arrays())
    with pytest.raises(BundleError, match="its calibration is for embeddings of 12 numbers, and its network gives 16"):
        Classifier.load(tmp_path / "b")
    write_calibrated(bundle, tmp_path / "c", {"coverage": np.array(2.0)})
    with pytest.raises(BundleError, match="c: its calibration does not hold what this release expects"):
        Classifier.load(tmp_path / "c")
