"""The estimators are scikit-learn's: parameters, clones, pipelines, grid search, and its own checks."""

from __future__ import annotations

import gc
import pickle
import re
import subprocess
import sys
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from paths import ROOT
from patterns import CLASSES, SMALL, draw, scale
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

from pretrained_cnn import Classifier, DataError, ImageError, InvalidArgumentError, ModelSpec, register
from pretrained_cnn.engine import Engine
from pretrained_cnn.integrations.sklearn import ImageClassifier, ImageEmbedder

SKLEARN_PAGE = ROOT / "docs" / "how-to" / "scikit-learn.md"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [str(path) for path in sorted(draw(tmp_path_factory.mktemp("images"), 12).rglob("*.png"))]


@pytest.fixture
def classes(images: list[str]) -> list[str]:
    return [Path(path).parent.name for path in images]


def test_embedder(images: list[str]) -> None:
    embedder = ImageEmbedder(SMALL, batch_size=5)
    with pytest.raises(NotFittedError):
        embedder.transform(images)
    vectors = embedder.fit_transform(images)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, Classifier(SMALL).embed(images), atol=1e-6)
    assert embedder.get_feature_names_out()[[0, -1]].tolist() == ["embedding0", "embedding15"]
    assert ImageEmbedder(SMALL, layer="relu0").fit_transform(images).shape == (36, 8)
    with pytest.raises(ImageError, match=r"no\.png: the file does not exist"):
        embedder.transform(["no.png"])
    with pytest.raises(
        InvalidArgumentError, match="layer='relu9': small has no layer of that name; did you mean 'relu"
    ):
        ImageEmbedder(SMALL, layer="relu9").fit(images)


def test_parameters_and_clones() -> None:
    embedder = ImageEmbedder("MobileNet", layer="conv1", batch_size=3)
    assert embedder.get_params()["layer"] == "conv1"
    copy = clone(embedder).set_params(model="Xception")
    assert (copy.model, copy.layer, copy.batch_size, embedder.model) == ("Xception", "conv1", 3, "MobileNet")
    assert clone(ImageClassifier(SMALL, head="mlp")).get_params()["head"] == "mlp"
    assert repr(ImageEmbedder("MobileNet")) == "ImageEmbedder(model='MobileNet')"


def test_pipeline_and_frames(images: list[str], classes: list[str]) -> None:
    pipeline = make_pipeline(ImageEmbedder(SMALL), StandardScaler(), LogisticRegression())
    pipeline.fit(images, classes)
    assert pipeline.score(images, classes) > 0.7
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pipeline)).predict(images), pipeline.predict(images))
    frame = ImageEmbedder(SMALL).set_output(transform="pandas").fit_transform(images)
    assert list(frame.columns[:2]) == ["embedding0", "embedding1"]


def test_grid_search_over_names(images: list[str], classes: list[str], clean_registry: None) -> None:
    register(SMALL)
    register(SMALL.replace(name="Blind", preprocess=lambda pixels: pixels * 0))
    pipeline = make_pipeline(ImageEmbedder(), StandardScaler(), LogisticRegression())
    grid = {"imageembedder__model": ["Blind", "Small"], "logisticregression__C": [1.0]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(images, classes)
    assert search.best_params_["imageembedder__model"] == "Small"
    assert search.predict(images[:1]).shape == (1,)


@pytest.mark.parametrize("kind", [str, int, float, bool])
def test_classifier_with_classes_of_any_kind(kind: Any, images: list[str], classes: list[str]) -> None:
    if kind is bool:
        y: Any = [name == "down" for name in classes]
    elif kind is str:
        y = classes
    else:  # in the order of numbers, and not of text
        y = [kind({"across": 10, "down": 9, "squares": -1}[name]) for name in classes]
    clf = ImageClassifier(SMALL)
    with pytest.raises(NotFittedError):
        clf.predict(images)
    clf.fit(images, y)
    assert clf.classes_.tolist() == sorted(set(y))
    assert clf.predict(images).dtype == clf.classes_.dtype
    assert clf.score(images, y) > 0.7
    assert clf.predict_proba(images).shape == (36, len(set(y)))


def test_classifier_in_cross_validation(images: list[str], classes: list[str]) -> None:
    scores = cross_val_score(ImageClassifier(SMALL), np.array(images), classes, cv=3)
    assert scores.mean() > 0.5


def test_classifier_takes_the_arguments_of_train(images: list[str], classes: list[str]) -> None:
    clf = ImageClassifier(SMALL, head="mlp", epochs=1, class_weight={"down": 2.0}, seed=3).fit(images, classes)
    settings = clf.classifier_.report.settings
    assert (settings["head"], settings["epochs"], settings["seed"]) == ("mlp", 1, 3)
    assert settings["class_weight"] == {"down": 2.0}
    assert [label.id for label in clf.classifier_.spec.labels] == list(CLASSES)
    with pytest.raises(InvalidArgumentError, match="multi_label=True: an ImageClassifier gives one class; use Classi"):
        ImageClassifier(SMALL, multi_label=True).fit(images, classes)
    with pytest.raises(InvalidArgumentError, match="classifier_=3 is no argument of ImageClassifier"):
        ImageClassifier(SMALL, classifier_=3)
    with pytest.raises(DataError, match="has the label 'nan', which stands for a missing one"):
        ImageClassifier(SMALL).fit(images, np.array([np.nan, *classes[1:]]))
    with pytest.raises(DataError, match="class_weight names 'up', but the classes are 'across'"):
        ImageClassifier(SMALL, class_weight={"up": 2.0}).fit(images, classes)
    with pytest.raises(DataError, match="2 classes in y do not fit 36 images in X"):
        ImageClassifier(SMALL).fit(images, ["a", "b"])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed, but the target y is None"),
        ([np.nan, "blue"] * 18, "Input y contains NaN or None, such as number 0; leave these images out"),
        ([1.0, np.nan] * 18, "Input y contains NaN or None, such as number 1"),
        (["blue", None] * 18, "Input y contains NaN or None, such as number 1"),
        (pd.array([1, 2, None] * 12), "Input y contains NaN or None, such as number 2"),
        (pd.Series(["blue", pd.NA] * 18, dtype="string"), "Input y contains NaN or None, such as number 1"),
        (np.linspace(0, 1, 36), "Unknown label type: continuous"),
        (np.eye(3)[[0, 1, 2] * 12], r"y should be a 1d array, got an array of shape \(36, 3\)"),
        ([[0, 1], [1, 0]] * 18, r"y should be a 1d array, got an array of shape \(36, 2\)"),
        ([1, "blue"] * 18, "y has text and numbers; give classes of one kind"),
    ],
)
def test_targets_that_are_no_classes(y: Any, message: str, images: list[str]) -> None:
    with pytest.raises(ValueError, match=message):
        ImageClassifier(SMALL).fit(images, y)


def test_whole_numbers_of_pandas_stay_whole(images: list[str]) -> None:
    assert ImageClassifier(SMALL).fit(images, pd.array([3, 1, 2] * 12, dtype="Int64")).classes_.dtype == np.int64


def test_a_batch_size_is_checked_though_all_is_known(images: list[str]) -> None:
    embedded = ImageEmbedder(SMALL).fit_transform(images[:2])
    assert np.array_equal(ImageEmbedder(SMALL).fit_transform(images[:2]), embedded)
    with pytest.raises(InvalidArgumentError, match="batch_size=0 is not a whole number of at least 1"):
        ImageEmbedder(SMALL, batch_size=0).fit_transform(images[:2])


@pytest.mark.parametrize("column", [lambda y: np.array(y)[:, None], lambda y: [[value] for value in y]])
def test_targets_in_a_column_are_warned_of(column: Any, images: list[str], classes: list[str]) -> None:
    with (
        pytest.warns(DataConversionWarning, match="A column-vector y was passed when a 1d array was expected"),
        pytest.raises(DataError, match="36 classes in y do not fit 1 images in X"),
    ):
        ImageClassifier(SMALL).fit(images[:1], column(classes))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras and NumPy, which pytest.warns lets out again
def test_tables_with_one_column(images: list[str], classes: list[str]) -> None:
    table = pd.DataFrame({"path": images})
    with pytest.warns(DataConversionWarning):
        clf = ImageClassifier(SMALL).fit(table, pd.DataFrame({"class": classes}))
    expected = ImageClassifier(SMALL).fit(images, pd.Series(classes, dtype="category"))
    np.testing.assert_array_equal(clf.predict_proba(np.array(images, object)[:, None]), expected.predict_proba(table))


def test_a_table_of_several_columns_is_refused(images: list[str], classes: list[str]) -> None:
    table = pd.DataFrame({"path": images, "size": 3})
    for estimator in (ImageClassifier(SMALL), ImageEmbedder(SMALL).fit()):
        act = estimator.fit if isinstance(estimator, ImageClassifier) else estimator.transform
        with pytest.raises(DataError, match="X has the columns path, size; give the one that holds the images"):
            act(table, *([classes] if isinstance(estimator, ImageClassifier) else []))
        with pytest.raises(DataError, match="X has 2 columns; give the one that holds the images"):
            act(table.to_numpy(), *([classes] if isinstance(estimator, ImageClassifier) else []))


@pytest.mark.slow
def test_sample_weights_count_as_in_train(images: list[str], classes: list[str]) -> None:
    weights = np.linspace(0.1, 3, len(images))
    clf = ImageClassifier(SMALL).fit(images, classes, sample_weight=pd.Series(weights))
    expected = Classifier.train(list(zip(images, classes, strict=True)), SMALL, sample_weight=weights)
    np.testing.assert_allclose(clf.predict_proba(images), expected.predict_proba(images), atol=1e-6)


@pytest.mark.slow
def test_decisions_are_logarithms_of_probabilities(images: list[str], classes: list[str]) -> None:
    clf = ImageClassifier(SMALL).fit(images, classes)
    probabilities = clf.predict_proba(images)
    np.testing.assert_allclose(clf.predict_log_proba(images), np.log(probabilities), rtol=1e-6)
    np.testing.assert_allclose(softmax(clf.decision_function(images), axis=1), probabilities, rtol=1e-5)
    clf.fit(images, [name == "down" for name in classes])
    decisions = clf.decision_function(images)
    assert decisions.shape == (36,)
    np.testing.assert_array_equal(decisions > 0, clf.predict(images))
    np.testing.assert_allclose(1 / (1 + np.exp(-decisions)), clf.predict_proba(images)[:, 1], rtol=1e-5)


def test_decisions_are_finite_where_a_probability_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    clf = ImageClassifier()
    clf.classes_ = np.arange(3)
    monkeypatch.setattr(clf, "predict_proba", lambda X: np.array([[1, 0, 0]], np.float32))  # noqa: N803
    assert clf.predict_log_proba([]).tolist() == [[0, -np.inf, -np.inf]]
    assert np.isfinite(clf.decision_function([])).all()


@pytest.mark.slow
def test_a_fitted_classifier_can_be_pickled(images: list[str], classes: list[str]) -> None:
    clf = ImageClassifier(SMALL).fit(images, classes)
    copy = pickle.loads(pickle.dumps(clf))
    again = deepcopy(copy)
    for each in (copy, again):
        np.testing.assert_allclose(each.predict_proba(images), clf.predict_proba(images), atol=1e-6)
        assert each.predict(images).tolist() == clf.predict(images).tolist()
    folder = copy.classifier_.engine.bundle.path
    assert folder.is_dir()
    del copy, each
    gc.collect()
    assert not folder.exists()
    assert pickle.loads(pickle.dumps(ImageClassifier("MobileNet", alpha=0.25))).alpha == 0.25


@pytest.mark.slow
def test_builder_options_are_parameters() -> None:
    embedder = ImageEmbedder("MobileNet", alpha=0.25, weights=None, input_size=(32, 32))
    assert clone(embedder).get_params()["alpha"] == 0.25
    assert repr(ImageEmbedder("MobileNet", alpha=0.5)) == "ImageEmbedder(alpha=0.5, model='MobileNet')"
    image = np.zeros((1, 32, 32, 3), np.uint8)
    assert embedder.fit_transform(image).shape == (1, 256)
    assert embedder.set_params(alpha=0.5).fit_transform(image).shape == (1, 512)
    wider = ImageEmbedder("MobileNet", weights=None, input_size=(32, 32)).set_params(alpha=0.75)
    assert pickle.loads(pickle.dumps(wider)).get_params() == wider.get_params()
    assert len(wider.fit().get_feature_names_out()) == 768
    with pytest.raises(InvalidArgumentError, match="the builder of MobileNet has no option 'aplha'"):
        ImageEmbedder("MobileNet", aplha=0.5, weights=None).fit()
    with pytest.raises(InvalidArgumentError, match="fit=3 is no argument of ImageClassifier"):
        ImageClassifier("MobileNet", fit=3)


def test_a_grid_search_embeds_each_image_once(
    images: list[str], classes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path))
    embedded: list[str] = []
    batches_of = Engine.batches_of

    def counting(self: Engine, items: Any, **arguments: Any) -> Any:
        items = list(items)
        embedded.extend(item.name for item in items)
        return batches_of(self, items, **arguments)

    monkeypatch.setattr(Engine, "batches_of", counting)
    pipeline = make_pipeline(ImageEmbedder(SMALL, batch_size=5), StandardScaler(), LogisticRegression())
    GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(images, classes)
    assert sorted(embedded) == sorted(images)
    ImageClassifier(SMALL).fit(images, classes)
    assert sorted(embedded) == sorted(images)
    with pytest.raises(ImageError, match=r"no\.png: the file does not exist"):
        pipeline.named_steps["imageembedder"].fit().transform([*images, "no.png"])
    assert ImageEmbedder(SMALL).fit().transform([]).shape == (0, 16)


def draw_rows(table: Any) -> list[np.ndarray]:
    """A row of numbers as an image of 8 x 8 pixels: each number as one color, by three functions of it."""
    table = np.clip(table[:, :64], -500, 500)
    pixels = np.zeros((len(table), 64, 3))
    pixels[:, : table.shape[1]] = np.stack([np.tanh(table / 3), np.sin(table / 2), np.cos(table / 2)], axis=-1)
    return list((127.5 + 127.5 * pixels).astype(np.uint8).reshape(-1, 8, 8, 3))


class OfTables:
    """Takes tables, whose rows it draws, so that scikit-learn makes all its checks."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array, tags.input_tags.string, tags.no_validation = True, False, False
        return tags

    def draw(self, X: Any, **arguments: Any) -> list[np.ndarray]:  # noqa: N803
        return draw_rows(validate_data(self, X, **arguments))


class EmbedderOfTables(OfTables, ImageEmbedder):
    def fit(self, X: Any, y: Any = None) -> Any:  # noqa: N803
        return super().fit(self.draw(X), y)

    def transform(self, X: Any) -> Any:  # noqa: N803
        check_is_fitted(self)
        return super().transform(self.draw(X, reset=False))


class ClassifierOfTables(OfTables, ImageClassifier):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:  # noqa: N803
        return super().fit(self.draw(X), y, sample_weight)

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        check_is_fitted(self)
        return super().predict_proba(self.draw(X, reset=False))


def pixels(input_shape: tuple[int, int, int]) -> Any:
    """A network whose embedding is the pixels."""
    import keras

    image = keras.Input(input_shape)
    flat = keras.layers.Flatten()(image)
    return keras.Model(image, keras.layers.Dense(2, activation="softmax", kernel_initializer="zeros")(flat))


def expected_failures() -> dict[str, dict[str, str]]:
    """What the docs say that fails, by estimator and check."""
    rows = re.findall(r"^\| `(Image\w+)` \| `(check_\w+)` \| (.+) \|$", SKLEARN_PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: {check: why for each, check, why in rows if each == name} for name, _, _ in rows}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [EmbedderOfTables, ClassifierOfTables])
def test_scikit_learns_own_checks(kind: Any, tmp_path: Path) -> None:
    trunk = ModelSpec(name="Pixels", builder=pixels, input_size=(8, 8), preprocess=scale, labels=["a", "b"])
    Classifier(trunk).save(tmp_path / "trunk", format="onnx", output="embedding")
    expected = expected_failures()[kind.__mro__[2].__name__]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(
            kind(str(tmp_path / "trunk"), cache=False), expected_failed_checks=expected, on_fail=None, on_skip=None
        )
    by_status: dict[str, list[Any]] = {}
    for result in results:
        by_status.setdefault(result["status"], []).append(result)
    failed = [(result["check_name"], result["exception"]) for result in by_status.get("failed", [])]
    assert not failed
    assert {result["check_name"] for result in by_status["xfail"]} == set(expected)
    assert len(by_status["passed"]) >= 40


@pytest.mark.parametrize("estimator", [ImageEmbedder(SMALL), ImageClassifier(SMALL)])
def test_as_they_are_they_pass(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        check_estimator(estimator)


def test_without_scikit_learn() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
try:
    import pretrained_cnn.integrations.sklearn
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == 'this needs the package scikit-learn: pip install "pretrained-cnn[sklearn]"\n'
