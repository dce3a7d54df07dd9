"""The numbers of an evaluation are scikit-learn's, and labels are found or refused."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from patterns import CLASSES, SMALL, draw
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from pretrained_cnn import (
    Classifier,
    DataError,
    Evaluation,
    ImageError,
    InvalidArgumentError,
    Label,
    MissingDependencyError,
    MultiLabelEvaluation,
)
from pretrained_cnn._statistics import wilson
from pretrained_cnn.evaluate.targets import columns_of, label_sets
from pretrained_cnn.labels import class_indices

TABLE = [Label("n1", "crane"), Label("n2", "crane"), Label("n3", "maillot"), Label("n4", "heron")]


def evaluation(targets: Any, scores: Any, **changes: Any) -> Evaluation:
    scores = np.asarray(scores)
    labels = [Label(f"c{i}", f"name {i}") for i in range(scores.shape[-1])]
    sources = [f"{i}.jpg" for i in range(len(targets))]
    return Evaluation(**{"labels": labels, "targets": targets, "scores": scores, "sources": sources, **changes})


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and probabilities, no two of a row equal: of ties scikit-learn takes another one."""
    count, classes = draw(st.integers(1, 60)), draw(st.integers(2, 12))
    targets = draw(arrays(np.intp, count, elements=st.integers(0, classes - 1)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sharpness = draw(st.sampled_from([0.1, 1.0, 5.0]))
    logits = generator.normal(size=(count, classes)) * sharpness
    logits[np.arange(count), targets] += draw(st.sampled_from([0.0, 1.0, 3.0]))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return targets, exponentials / exponentials.sum(axis=1, keepdims=True)


@given(cases())
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_the_numbers_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    targets, scores = case
    result = evaluation(targets, scores)
    every = list(range(scores.shape[1]))
    predicted = scores.argmax(axis=1)
    assert result.top1 == pytest.approx(accuracy_score(targets, predicted))
    for k in (2, 5):
        share = top_k_accuracy_score(targets, scores, k=k, labels=every) if k < len(every) else 1
        assert result.top_k(k) == pytest.approx(share)
        assert result.top_k_interval(k) == wilson(round(share * len(targets)), len(targets))
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(targets, predicted))
    assert result.f1_macro == pytest.approx(f1_score(targets, predicted, average="macro", zero_division=0))
    for dtype in (np.float64, np.float32):
        loss = log_loss(targets, scores.astype(dtype), labels=every)
        assert evaluation(targets, scores.astype(dtype)).log_loss == pytest.approx(loss, rel=1e-5)
    met = np.unique(targets)
    if len(met) > 1:  # otherwise scikit-learn's is not defined
        areas = [roc_auc_score(targets == i, scores[:, i]) for i in met]
        assert result.auc == pytest.approx(np.mean(areas))
        if len(met) == len(every) > 2:
            assert result.auc == pytest.approx(roc_auc_score(targets, scores, multi_class="ovr"))
    else:
        assert math.isnan(result.auc)
        assert result.to_dict()["auc"] is None
    np.testing.assert_array_equal(result.confusion, confusion_matrix(targets, predicted, labels=every))
    expected = precision_recall_fscore_support(targets, predicted, labels=every, zero_division=0)
    columns = zip(*((row.precision, row.recall, row.f1, row.support) for row in result.classes), strict=True)
    for ours, theirs in zip(columns, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    confidence, right = scores.max(axis=1), predicted == targets
    true, mean = calibration_curve(right, confidence, n_bins=15) if 0 < right.sum() < len(right) else (None, None)
    if true is not None:
        edges = np.linspace(0, 1, 16)
        counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=15)
        np.testing.assert_allclose([bin_.accuracy for bin_ in result.reliability], true)
        np.testing.assert_allclose([bin_.confidence for bin_ in result.reliability], mean)
        assert [bin_.images for bin_ in result.reliability] == counts[counts > 0].tolist()
        gap = (np.abs(true - mean) * counts[counts > 0]).sum() / len(right)
        assert result.ece == pytest.approx(gap)


def test_scores_with_ties_and_of_zero_and_one() -> None:
    """A tie counts as half for the area; a probability of 0 costs what the dtype's smallest step costs."""
    scores = np.array([[1, 0], [0.5, 0.5], [0.5, 0.5], [1, 0]], np.float32)
    result = evaluation([0, 0, 1, 1], scores)
    assert result.auc == pytest.approx(roc_auc_score([0, 0, 1, 1], scores[:, 1]))
    assert result.log_loss == pytest.approx(log_loss([0, 0, 1, 1], scores), rel=1e-6)
    assert math.isfinite(evaluation([0], [[0, 1]]).log_loss)


def test_several_labels_an_image() -> None:
    random = np.random.default_rng(0)
    scores, targets = random.random((40, 4)).round(1), random.random((40, 4)) < [0.2, 0.5, 0.8, 1]
    labels = [Label(f"l{i}", f"name {i % 3}") for i in range(4)]
    result = MultiLabelEvaluation(labels, targets, scores, [f"{i}.jpg" for i in range(40)])
    assert result.auc == pytest.approx(roc_auc_score(targets[:, :3], scores[:, :3]))
    losses = [log_loss(column, given, labels=[False, True]) for column, given in zip(targets.T, scores.T, strict=True)]
    assert result.log_loss == pytest.approx(np.mean(losses))
    names = [line.split("  ")[0] for line in str(result).splitlines()[7:11]]
    assert names == [result.names[i] for i in np.argsort([row.average_precision for row in result.classes])]
    assert {"name 0 (l0)", "name 1"} < set(names)
    with pytest.raises(InvalidArgumentError, match="top=-1 is not a whole number of at least 1"):
        result.mistakes(-1)


def test_a_bin_of_the_calibration_error_is_open_to_the_left() -> None:
    """0.2 is the end of the third of fifteen bins; 0.25 lies in the fourth, and may not make up for it."""
    result = evaluation([0, 4], [[0.2] * 5, [0.25, 0.25, 0.25, 0.25, 0.0]])
    assert result.ece == pytest.approx((0.8 + 0.25) / 2)


def test_ties_go_to_the_first_class_as_in_predict() -> None:
    result = evaluation([0, 1, 5], np.full((3, 6), 1 / 6))
    assert (result.top1, result.top5) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize(("right", "count"), [(0, 10), (10, 10), (154, 186), (1, 3)])
def test_wilson_solves_its_equation(right: int, count: int) -> None:
    """The ends are where the share deviates by 1.96 standard deviations: (share - p)^2 = z^2 p (1 - p) / n."""
    for end in wilson(right, count):
        deviation = 1.959963984540054 * math.sqrt(max(end * (1 - end), 0) / count)
        assert abs(right / count - end) == pytest.approx(deviation, abs=1e-7)


def test_mistakes_are_the_most_confident_first() -> None:
    result = evaluation([0, 0, 1, 1], [[0.4, 0.6], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert [(m.source, m.label, m.predicted) for m in result.mistakes()] == [
        ("1.jpg", "c0", "c1"),
        ("2.jpg", "c1", "c0"),
        ("0.jpg", "c0", "c1"),
    ]
    assert [m.score for m in result.mistakes(2)] == [0.9, 0.8]
    for top in (-1, 0, 2.5, None):
        with pytest.raises(InvalidArgumentError, match=f"top={top} is not a whole number of at least 1"):
            result.mistakes(top)  # type: ignore[arg-type]


def test_it_can_be_read_and_written() -> None:
    result = evaluation([0, 0, 2], [[0.4, 0.6, 0], [0.8, 0.2, 0], [0, 0.1, 0.9]])
    data = json.loads(json.dumps(result.to_dict()))
    assert data["confusion"] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert data["top1"] == pytest.approx(2 / 3)
    assert data["mistakes"] == [{"source": "0.jpg", "label": "c0", "predicted": "c1", "score": 0.6}]
    frame = result.to_frame()
    assert frame.loc["c0", ["recall", "support"]].tolist() == [0.5, 2]
    text = str(result)
    assert text.startswith("3 images, 2 classes\ntop-1   66.7 %  (95 %: 20.8 to 93.9)\nbalanced accuracy 0.750")
    assert "top-5" not in text  # of three classes, the true one is always among the first five
    assert "name 0            1.000   0.500  0.667        2" in text
    assert "0.600  name 0 taken for name 1  0.jpg" in text
    assert repr(result) == "Evaluation(3 images, top1=0.667 (0.208 to 0.939))"


def test_a_thousand_classes_are_shown_as_far_as_they_were_met() -> None:
    result = evaluation([3, 9], np.eye(1000)[[3, 4]])
    assert [row["id"] for row in result.to_dict()["classes"]] == ["c3", "c4", "c9"]
    assert np.array(result.to_dict()["confusion"]).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_the_worst_classes_come_first_by_name() -> None:
    """Those without an image come last: there is nothing to be right about."""
    labels = [Label("n1", "crane"), Label("n2", "crane"), Label("n3", "maillot"), Label("n4", "heron")]
    result = evaluation([0, 0, 1, 2, 2], np.eye(4)[[0, 0, 3, 2, 0]], labels=labels)
    rows = str(result).splitlines()[6:10]
    assert [row.split("  ")[0] for row in rows] == ["crane (n2)", "maillot", "crane (n1)", "heron"]
    assert "1.000  crane (n2) taken for heron  2.jpg" in str(result)
    many = str(evaluation(list(range(50)), np.eye(50)[[0, *range(49)]]))
    assert "and 30 more classes; to_frame() has all" in many
    assert many.count("name ") == 20 + 2 * 5


def test_to_frame_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r'needs the package pandas: pip install "pretrained-cnn\[pandas'):
        evaluation([0], [[1.0, 0.0]]).to_frame()


def test_in_a_notebook_the_worst_mistakes_are_seen(tmp_path: Path) -> None:
    """Those that are files, and those that were kept; a name is escaped, and what cannot be read is said."""
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("hello")
    sources = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "<array 2>", "gone.png", "right.png"]
    scores = np.array([[0, 0.9, 0.1], [0, 0.8, 0.2], [0, 0.7, 0.3], [0, 0.6, 0.4], [1, 0, 0]])
    labels = [Label("n1", "<b>"), Label("n2", "crane"), Label("n3", "crane")]
    kept = {2: np.zeros((9, 9, 3), np.uint8)}
    failed = [ImageError("x.png", "it is <empty>")]
    result = evaluation([0] * 5, scores, labels=labels, sources=sources, images=kept, failed=failed)
    page = result._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "0.900  &lt;b&gt; taken for crane (n2)" in page
    assert "b.png" in page
    assert "this is not an image" in page
    assert "it is &lt;empty&gt;" in page
    assert "top-1   20.0 %" in page
    assert "right.png" not in page
    assert not re.search("<(b|array|empty)>", page)
    several = MultiLabelEvaluation(labels, np.eye(3)[[0, 0]], np.array([[0.1, 0, 0], [1, 0.9, 0]]), sources[:2])
    assert "0.900  crane (n2) given to" in several._repr_html_()
    assert several._repr_html_().count("data:image/jpeg;base64,") == 1


# The image of the confusion matrix


def drawn(result: Evaluation) -> tuple[list[str], dict[tuple[int, int], str]]:
    """The names on the axes, and the number in each ``(row, column)``."""
    axes = result.plot().axes[0]
    across, down = ([label.get_text() for label in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis))
    assert across == down
    places = {text.get_position(): text.get_text() for text in axes.texts}
    return down, {(int(row), int(column)): number for (column, row), number in places.items()}


def test_the_confusion_matrix_is_drawn_with_the_classes_that_were_met() -> None:
    scores = np.eye(10)[[3, 3, 4, 9, 3]]
    names, numbers = drawn(evaluation([3, 3, 3, 9, 9], scores))
    assert names == ["name 3", "name 4", "name 9"]
    assert numbers == {(0, 0): "2", (0, 1): "1", (2, 2): "1", (2, 0): "1"}
    (image,) = evaluation([3, 3, 3, 9, 9], scores).plot().axes[0].images
    np.testing.assert_allclose(image.get_array(), [[2 / 3, 1 / 3, 0], [0, 0, 0], [1 / 2, 0, 1 / 2]])


def test_names_that_are_shared_long_or_look_like_formulas() -> None:
    labels = [Label("n1", "crane"), Label("n2", "crane"), Label("c", "a$b$"), Label("d", "x" * 99)]
    result = evaluation([0, 1, 2, 3], np.eye(4), labels=labels)
    names, _ = drawn(result)
    assert names == ["crane (n1)", "crane (n2)", "a$b$", "x" * 23 + "…"]
    assert not any(label.get_parse_math() for label in result.plot().axes[0].get_xticklabels())


@pytest.mark.parametrize(
    ("classes", "numbers", "names"), [(2, True, True), (25, True, True), (50, False, True), (81, False, False)]
)
def test_what_would_not_be_readable_is_left_out(classes: int, numbers: bool, names: bool) -> None:
    found = drawn(evaluation(list(range(classes)), np.eye(classes)))
    assert [bool(part) for part in found] == [names, numbers]


@pytest.mark.parametrize("classes", [25, 50])
def test_no_name_and_no_number_covers_another(classes: int) -> None:
    figure = evaluation([*range(classes)] * 100, np.tile(np.eye(classes), (100, 1))).plot()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for texts in (axes.texts, axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [text.get_window_extent() for text in texts]
        assert not any(box.count_overlaps(boxes[number + 1 :]) for number, box in enumerate(boxes))


def test_the_drawing_shows_itself_and_leaves_pyplot_alone(tmp_path: Path) -> None:
    """In a process of its own, with a backend that cannot be had."""
    program = """
import numpy as np, sys
from pretrained_cnn import Evaluation, Label
labels = [Label("cat", "cat"), Label("dog", "dog")]
figure = Evaluation(labels, [0, 1], np.eye(2), ["a", "b"]).plot()
assert figure._repr_png_()[1:4] == b"PNG"
figure.savefig(sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""
    path = tmp_path / "confusion.svg"
    environment = {**os.environ, "MPLBACKEND": "tkagg", "DISPLAY": ""}
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=120, env=environment)
    assert path.read_text().startswith("<?xml")


def test_it_is_drawn_where_the_caller_says() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert evaluation([0, 1], np.eye(2)).plot(ax=axes[1]) is figure
    assert [len(part.images) for part in axes] == [0, 1]
    assert evaluation([0, 1], np.eye(2)).plot_reliability(ax=axes[0]) is figure
    assert [len(part.containers) for part in axes] == [1, 0]


def test_the_reliability_diagram_has_a_point_for_each_bin_and_its_interval() -> None:
    result = evaluation([0, 0, 0, 1], [[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
    axes = result.plot_reliability().axes[0]
    ((points, _, (bars,)),) = axes.containers
    np.testing.assert_allclose(points.get_xydata(), [[0.8, 0], [0.9, 1]])
    np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], [wilson(0, 1), wilson(3, 3)])
    assert axes.get_title() == f"4 images, ECE {result.ece:.3f}"


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pretrained_cnn.evaluate.drawing", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(MissingDependencyError, match=r'the package matplotlib: pip install "pretrained-cnn\[plot\]"'):
        evaluation([0], [[1.0, 0.0]]).plot()
    with pytest.raises(MissingDependencyError, match=r'the package matplotlib: pip install "pretrained-cnn\[plot\]"'):
        evaluation([0], [[1.0, 0.0]]).plot_reliability()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], np.empty((0, 2))), "no image could be read, so there is nothing to evaluate"),
        (([0, 1], np.eye(3)), r"scores of shape \(3, 3\) do not fit 2 images and 3 classes"),
        (([0, 2], np.eye(2)), "targets from 0 to 2 are not columns of 2 classes"),
        (([0, 1], [[1, 0], [math.nan, 1]]), "some scores are not finite numbers; leave their images out"),
    ],
)
def test_what_does_not_fit_together(arguments: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluation(*arguments)


# Labels


def test_labels_are_ids_or_names_that_only_one_class_has() -> None:
    assert class_indices(["n2", "maillot", "heron"], TABLE, "x") == [1, 2, 3]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("crane", "x: 2 classes are named 'crane'; use their ids, n1 and n2"),
        ("herom", "x: 'herom' is not one of the 4 classes; did you mean 'heron'?"),
        ("zzz", "x: 'zzz' is not one of the 4 classes; they begin with 'n1'"),
    ],
)
def test_labels_that_are_none(label: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        class_indices([label], TABLE, "x")
    assert str(caught.value) == message


PETS = [Label("cat", "cat"), Label("dog", "dog"), Label("n3", "eel")]


def frame_column(values: Any) -> Any:
    import pandas as pd

    return pd.Series(values)


@pytest.mark.parametrize(
    "labels",
    [
        ["dog", "cat", "n3"],
        [1, 0, 2],
        ["dog", 0, "eel"],
        np.array([1, 0, 2]),
        np.array([1.0, 0.0, 2.0]),
        np.array([[1], [0], [2]]),
        np.eye(3)[[1, 0, 2]],
        np.eye(3, dtype=int)[[1, 0, 2]].tolist(),
        np.array(["dog", "cat", "eel"]),
        np.array(["dog", "cat", "eel"], object),
        [np.str_("dog"), np.int64(0), np.array(2)],
        (name for name in ("dog", "cat", "eel")),
        iter([1, 0, 2]),
        range(1, 2),
        {"dog": 0, "cat": 1, "eel": 2}.keys(),
        frame_column(["dog", "cat", "eel"]),
        frame_column([1, 0, 2]).to_frame(),
        frame_column(["dog", "cat", "eel"]).astype("category"),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_of_any_collection(labels: Any) -> None:
    assert columns_of(labels, PETS).tolist() == [1, 0, 2][: 1 if isinstance(labels, range) else 3]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("dog", "labels='dog' is not a sequence of labels; give a list with one for each image, in their order"),
        ({"dog", "cat"}, "is not a sequence of labels"),
        (5, "labels=5 is not a sequence of labels"),
        ([0, 3], "labels: 3 is not the index of a class; there are 3, from 0 on"),
        ([-1], "labels: -1 is not the index of a class"),
        (["dog", None], "labels: number 1 is None, which is neither the name of a class nor its index"),
        ([0, math.nan], "labels: number 1 is nan, which is neither"),
        (frame_column([1, None]), "labels: number 1 is nan, which is neither"),
        ([0.5], "labels: number 0 is 0.5, which is neither"),
        ([True], "labels: number 0 is True, which is neither"),
        ([b"dog"], r"labels: number 0 is b'dog', .*; decode it first: label\.decode\(\)"),
        ([["dog"], ["cat", "n3"]], "labels: they are collections of different lengths; give one label for each image"),
        (np.ones((2, 3)), r"labels of shape \(2, 3\) are neither one for each image, \(N,\) or \(N, 1\), nor one-hot"),
        (np.zeros((2, 4)), r"nor one-hot \(N, 3\)"),
        (["Dog"], "labels: 'Dog' is not one of the 3 classes; did you mean 'dog'"),
    ],
)
def test_labels_that_are_no_classes(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        columns_of(labels, PETS)


def test_a_number_that_is_also_the_name_of_another_class_is_refused() -> None:
    """Sorted as text, the classes 1, 10, 2 have the indices 0, 1, 2."""
    table = [Label(name, name) for name in ("1", "10", "2")]
    assert columns_of(["10", "2"], table).tolist() == [1, 2]
    assert columns_of([2], table).tolist() == [2]
    for number in (1, 10):
        with pytest.raises(DataError, match=f"labels: {number} is the name of class number . and not of number"):
            columns_of([number], table)


def test_sets_of_labels() -> None:
    expected = [[False, True, True], [False, False, False]]
    for labels in ([["dog", "eel"], []], np.array(expected), np.array(expected, float), iter([("dog", "n3"), ()])):
        assert label_sets(labels, PETS).tolist() == expected
    with pytest.raises(DataError, match=r"labels of shape \(2, 2\) are not 0 or 1 for each of 3 labels"):
        label_sets(np.eye(2), PETS)
    with pytest.raises(DataError, match="labels: number 0: 1 is neither a label, which is a str, nor a collection"):
        label_sets([1], PETS)


# Classifiers


def test_imagenet_by_the_names_of_files_and_folders(
    keras_home: Path, labeled: list[tuple[Path, str]], tmp_path: Path
) -> None:
    clf = Classifier("MobileNet", alpha=0.25)
    result = clf.evaluate(labeled[0][0].parent)
    assert result.count == 100
    assert result.top1 >= 0.6
    assert result.top5 >= result.top1
    right = [r.top.id == wnid for r, (_, wnid) in zip(clf.predict_batch([p for p, _ in labeled]), labeled, strict=True)]
    assert result.top1 == pytest.approx(np.mean(right))

    for photo, wnid in labeled[:3]:
        (tmp_path / f"{wnid}-of-something").mkdir()
        shutil.copy(photo, tmp_path / f"{wnid}-of-something" / f"photo{photo.suffix}")
    assert clf.evaluate(tmp_path).targets.tolist() == [
        [label.id for label in clf.spec.labels].index(wnid) for _, wnid in labeled[:3]
    ]


def test_folders_csv_pairs_and_labels_say_the_same(tmp_path: Path) -> None:
    folder = draw(tmp_path / "images", 3)
    clf = Classifier(SMALL.replace(labels=CLASSES, builder=lambda input_shape: small_of(3)))
    paths = [(path, path.parent.name) for path in sorted(folder.rglob("*.png"))]
    rows = [f"{path.relative_to(tmp_path)},{label},x" for path, label in paths]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,note", *rows]) + "\n", "utf-8")
    expected = clf.evaluate(folder)
    in_memory = clf.evaluate([Image.open(path).convert("RGB") for path, _ in paths], labels=[0] * 9)
    for result in (expected, in_memory):
        assert result._repr_html_().count("data:image/jpeg;base64,") == len(result.mistakes(12)) > 0
    assert expected.targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for result in (
        clf.evaluate(tmp_path / "table.csv"),
        clf.evaluate(paths),
        clf.evaluate(folder, labels=[label for _, label in paths]),
        clf.evaluate(folder, labels=(CLASSES.index(label) for _, label in paths)),
        clf.evaluate(
            [Image.open(path).convert("RGB") for path, _ in paths], labels=[label for _, label in paths], batch_size=2
        ),
    ):
        np.testing.assert_array_equal(result.targets, expected.targets)
        np.testing.assert_allclose(result.scores, expected.scores, atol=1e-6)


def small_of(classes: int) -> Any:
    import keras

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def test_bad_images_are_listed_and_not_counted(tmp_path: Path) -> None:
    folder = draw(tmp_path, 2)
    (folder / "down" / "bad.png").write_text("hello")
    clf = Classifier(SMALL.replace(labels=CLASSES, builder=lambda input_shape: small_of(3)))
    result = clf.evaluate(folder)
    assert result.count == 6
    assert len(result.targets) == len(result.scores) == 6
    assert [error.source for error in result.failed] == [str(folder / "down" / "bad.png")]
    assert "could not be read: 1" in str(result)
    assert repr(result).endswith(", 1 failed)")


def test_what_cannot_be_evaluated(tmp_path: Path) -> None:
    folder = draw(tmp_path / "a", 1, classes=("across",))
    clf = Classifier(SMALL)
    with pytest.raises(DataError, match=r"/a: 'across' is not one of the 2 classes; they begin with 'a'"):
        clf.evaluate(folder)
    others = "none of its 2 classes, such as 'lamp', is one of the 2 classes of the classifier; give a classifier"
    with pytest.raises(DataError, match=others):
        clf.evaluate([(folder, "lamp"), (folder, "table")])
    with pytest.raises(DataError, match="2 labels do not fit 1 images"):
        clf.evaluate(folder, labels=["a", "b"])
    with pytest.raises(InvalidArgumentError, match="Small has a decode function in place of labels; give labels="):
        Classifier(SMALL.replace(decode=lambda scores, top: [])).evaluate(folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no-such", "no-such: it does not exist; give a folder with a"),
        (__file__, f"{__file__}: this is no folder, archive or CSV file; give a folder with a"),
        (3, "an object of type int has no labeled images; give a folder"),
        ([], "<pairs>: there is no image; give a folder"),
        (["a.jpg"], "<pairs>: number 0 is not a pair of an image and a label, but of type str"),
        ([("a.jpg", "a"), ("b.jpg", 1)], "<pairs>: some labels are text, such as 'a', and some numbers, such as 1"),
    ],
)
def test_sources_that_are_none(source: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        Classifier(SMALL).evaluate(source)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,a\n", "t.csv: no column is named path; its columns are 'a.jpg', 'a': choose one by path_column=...;"),
        ("path,label\na.jpg,\n", "t.csv: line 2 has an empty label; give it one"),
        ("path,label\n", "t.csv: there is no image; give a folder"),
    ],
)
def test_tables_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        Classifier(SMALL).evaluate(tmp_path / "t.csv")
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_folders_that_are_none(tmp_path: Path) -> None:
    draw(tmp_path, 1)
    Image.new("RGB", (9, 9)).save(tmp_path / "stray.png")
    with pytest.raises(DataError, match=r"stray\.png is in no folder of a class; move it into one, or elsewhere"):
        Classifier(SMALL).evaluate(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no image is in its folders, one for each class"):
        Classifier(SMALL).evaluate(tmp_path / "empty")
