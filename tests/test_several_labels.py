"""Training where an image may have several labels: against scikit-learn, thresholds, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patterns import SMALL, draw
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier

from pretrained_cnn import Classifier, DataError, InvalidArgumentError
from pretrained_cnn.images.labeled import labeled_sets
from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.transfer import model_card
from pretrained_cnn.transfer.data import deal
from pretrained_cnn.transfer.heads import HeadData, best_thresholds, measure
from pretrained_cnn.transfer.linear import fit_linear


def synthetic(images: int, seed: int) -> HeadData:
    """Six labels, from common to rare, and an image has any number of them."""
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(images, 30)) * 2 + 3
    logits = (vectors - 3) @ np.random.default_rng(9).normal(size=(30, 6)) / 3 - np.linspace(-1, 3, 6)
    targets = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return HeadData(vectors.astype(np.float32), targets, np.ones(images))


def test_it_is_one_versus_rest_of_scikit_learn() -> None:
    train, held, test = synthetic(300, 0), synthetic(200, 1), synthetic(400, 2)
    fitted = fit_linear(train, [(train, held)], 6)
    vectors = train.vectors.astype(float)
    mean, scale = vectors.mean(axis=0), np.sqrt(vectors.var(axis=0).mean())
    theirs = OneVsRestClassifier(LogisticRegression(C=fitted.strength, tol=1e-10, max_iter=100_000))
    theirs.fit((vectors - mean) / scale, train.targets)
    expected = theirs.predict_proba((test.vectors - mean) / scale)
    ours = fitted.head(test.vectors)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    precision = average_precision_score(test.targets, expected)
    assert measure(ours, test.targets)[1] == pytest.approx(precision, abs=1e-6)
    assert 0.4 < precision < 0.95
    rows = {row["C"]: row["validation_loss"] + np.log10(row["C"]) ** 2 * 2 / 200 for row in fitted.rows}  # the prior
    assert min(rows, key=rows.__getitem__) == fitted.strength
    np.testing.assert_allclose(fitted.scores, Head(fitted.head.layers, True)(held.vectors), atol=1e-3)


def test_thresholds_have_the_best_f1() -> None:
    held = synthetic(300, 3)
    scores = np.random.default_rng(0).random(held.targets.shape).round(2) * 0.5 + held.targets * 0.3
    thresholds = best_thresholds(scores, held.targets)
    for column, threshold in enumerate(thresholds):
        true = held.targets[:, column]

        def f1(limit: float, column: int = column, true: Any = true) -> float:
            given = scores[:, column] >= limit
            return float(2 * (given & true).sum() / (given.sum() + true.sum()))

        assert f1(threshold) == pytest.approx(max(f1(limit) for limit in np.unique(scores[:, column])))
    apart = np.array([[0.9, 0.2], [0.8, 0.3], [0.1, 0.1]])
    assert best_thresholds(apart, np.array([[1, 0], [1, 0], [0, 0]], bool)) == (pytest.approx(0.45), 0.5)


def test_each_part_has_its_share_of_each_label() -> None:
    targets = synthetic(100, 4).targets
    parts = deal(targets, np.arange(100), [0.2] * 5, seed=0)
    for column in range(6):
        counts = np.bincount(parts[targets[:, column]], minlength=5)
        assert counts.max() - counts.min() <= 3, column
    alone = np.zeros((20, 2), bool)
    alone[:10, 0], alone[10, 1] = True, True
    assert deal(alone, np.arange(20), [0.5, 0.5], seed=0)[10] == -1, "the only image of a label is always fitted"


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes and squares, some of them tinted red: two questions in one set of labels, and images without any."""
    folder = draw(tmp_path_factory.mktemp("tagged"), 16)
    rows = []
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        labels = [] if path.parent.name == "across" else [path.parent.name]
        if i % 2:
            pixels = np.asarray(Image.open(path)).copy()
            pixels[..., 1:] //= 3
            Image.fromarray(pixels).save(path)
            labels.append("red")
        rows.append(f'{path.relative_to(folder).as_posix()},"{",".join(labels)}"\n')
    (folder / "train.csv").write_text("path,label\n" + "".join(rows))
    return folder


@pytest.mark.slow
def test_from_a_csv_file_to_a_bundle(tagged: Path, tmp_path: Path) -> None:
    clf = Classifier.train(tagged / "train.csv", SMALL, multi_label=True, groups=range(48))
    assert [label.name for label in clf.labels] == ["down", "red", "squares"]
    assert clf.report.counts["train"] == {"down": 16, "red": 24, "squares": 16}
    metrics = clf.report.metrics
    assert set(metrics) == {"validation_loss", "validation_mean_average_precision"}
    result = clf.evaluate(tagged / "train.csv")
    assert result.mean_average_precision > 0.75
    assert tuple(result.thresholds) == clf.spec.thresholds == tuple(clf.report.settings["thresholds"].values())
    assert len(set(clf.spec.thresholds)) == 3
    scores = clf.predict_proba(sorted(tagged.rglob("*.png")))
    assert (scores.sum(axis=1) > 1.05).any()
    assert "mean average precision on validation is" in model_card(clf.report, clf.spec)
    assert [ax.get_ylabel() for ax in clf.history.plot().axes] == ["loss", "mean average precision"]
    clf.save(tmp_path / "a.bundle")
    loaded = Classifier.load(tmp_path / "a.bundle")
    assert loaded.spec.thresholds == clf.spec.thresholds
    np.testing.assert_allclose(loaded.predict_proba(sorted(tagged.rglob("*.png"))), scores, atol=1e-5)


@pytest.mark.parametrize("cells", [("1", "0"), ("True", "false"), ("1.0", "0.0")])
def test_a_column_for_each_label(cells: tuple[str, str], tmp_path: Path) -> None:
    yes, no = cells
    (tmp_path / "a.csv").write_text(f"path,cat,weight,black dog\na.jpg,{yes},2,{no}\nb.jpg,{no},1,{no}\n")
    found = labeled_sets(tmp_path / "a.csv")
    assert (found.labels, found.weights) == ([("cat",), ()], [2.0, 1.0])
    frame = {"path": ["a.jpg", "b.jpg"], "cat": [True, False], "dog": np.array([1, 1])}
    assert labeled_sets(frame).labels == [("cat", "dog"), ("dog",)]
    (tmp_path / "a.csv").write_text("path,cat\na.jpg,maybe\n")
    with pytest.raises(DataError, match=r"a\.csv: line 2 has 'maybe' in the column 'cat'; where each label has a col"):
        labeled_sets(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("path\na.jpg\n")
    with pytest.raises(DataError, match=r"a\.csv: no column is named label; its columns are"):
        labeled_sets(tmp_path / "a.csv")


@pytest.mark.slow
def test_on_a_graph_that_is_not_in_keras(tagged: Path, tmp_path: Path) -> None:
    Classifier(SMALL).save(tmp_path / "trunk", format="openvino", output="embedding")
    clf = Classifier.train(tagged / "train.csv", tmp_path / "trunk", multi_label=True)
    clf.save(tmp_path / "a.bundle")
    loaded = Classifier.load(tmp_path / "a.bundle")
    assert loaded.spec.thresholds == clf.spec.thresholds
    paths = sorted(tagged.rglob("*.png"))
    np.testing.assert_array_equal(loaded.predict_proba(paths), clf.predict_proba(paths))
    again = Classifier.train([(path, path.parent.name) for path in paths], loaded)
    assert not again.spec.multi_label
    np.testing.assert_allclose(again.predict_proba(paths).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"head": "mlp"}, InvalidArgumentError, 'multi_label=True goes with head="linear" and without unfreeze'),
        ({"unfreeze": 1}, InvalidArgumentError, 'multi_label=True goes with head="linear" and without unfreeze'),
        ({"class_weight": "balanced"}, InvalidArgumentError, "class_weight=... needs one class an image, and with mul"),
        ({"multi_label": "yes"}, InvalidArgumentError, "multi_label='yes' is neither True nor False"),
        ({"data": [("a.png", []), ("b.png", [])]}, DataError, "<pairs>: no image has a label, so there is nothing to"),
        ({"data": [("a.png", [1])]}, DataError, "<pairs>: number 0: [1] is neither a label, which is a str, nor"),
        ({"validation": [("a.png", ["blue"])]}, DataError, "<pairs>: 'blue' is not in "),
        ({"sample_weight": [1.0]}, DataError, "sample_weight has the shape (1,), but "),
    ],
)
def test_what_is_refused(options: dict[str, Any], error: type[Exception], message: str, tagged: Path) -> None:
    with pytest.raises(error) as caught:
        Classifier.train(**{"data": tagged / "train.csv", "model": SMALL, "multi_label": True, **options})
    assert str(caught.value).startswith(message)
