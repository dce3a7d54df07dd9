"""The estimators are scikit-learn's: parameters, clones, pipelines, grid search, and its own checks."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from patterns import CLASSES, SMALL, draw
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from pretrained_cnn import Classifier, DataError, ImageError, InvalidArgumentError, register
from pretrained_cnn.integrations.sklearn import ImageClassifier, ImageEmbedder


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
    with pytest.raises(ImageError, match=r"no\.png: there is no such file"):
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
    assert settings["class_weight"] == {"1 down": 2.0}
    assert [label.id for label in clf.classifier_.spec.labels] == [f"{i} {name}" for i, name in enumerate(CLASSES)]
    with pytest.raises(DataError, match="class_weight names 'up', but the classes are '0 across'"):
        ImageClassifier(SMALL, class_weight={"up": 2.0}).fit(images, classes)
    with pytest.raises(DataError, match="2 classes in y do not fit 36 images in X"):
        ImageClassifier(SMALL).fit(images, ["a", "b"])


TABLE = "X is a table of numbers, and not images"
EXPECTED = {
    "ImageEmbedder": {
        "check_estimator_sparse_tag": "fit does not look at X, and so takes a sparse one",
        **dict.fromkeys(
            [
                "check_dict_unchanged",
                "check_estimators_dtypes",
                "check_estimators_pickle",
                "check_f_contiguous_array_estimator",
                "check_fit_idempotent",
                "check_fit_score_takes_y",
                "check_methods_sample_order_invariance",
                "check_methods_subset_invariance",
                "check_pipeline_consistency",
                "check_transformer_general",
                "check_transformer_preserve_dtypes",
            ],
            TABLE,
        ),
    },
    "ImageClassifier": {
        "check_classifiers_one_label": "one class is refused: there is nothing to tell apart",
        "check_estimator_sparse_array": "a sparse X is refused like any table, in other words",
        "check_estimator_sparse_matrix": "a sparse X is refused like any table, in other words",
        "check_estimator_sparse_tag": "a sparse X is refused like any table, in other words",
        **dict.fromkeys(
            [
                "check_class_weight_classifiers",
                "check_classifier_data_not_an_array",
                "check_classifiers_classes",
                "check_classifiers_train",
                "check_dict_unchanged",
                "check_dont_overwrite_parameters",
                "check_estimators_dtypes",
                "check_estimators_fit_returns_self",
                "check_estimators_overwrite_params",
                "check_estimators_pickle",
                "check_f_contiguous_array_estimator",
                "check_fit2d_1feature",
                "check_fit2d_1sample",
                "check_fit_check_is_fitted",
                "check_fit_idempotent",
                "check_fit_score_takes_y",
                "check_methods_sample_order_invariance",
                "check_methods_subset_invariance",
                "check_pipeline_consistency",
                "check_positive_only_tag_during_fit",
                "check_readonly_memmap_input",
            ],
            TABLE,
        ),
    },
}


class OfTables:
    """Claims to take tables, so that scikit-learn makes all its checks."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        return tags


class EmbedderOfTables(OfTables, ImageEmbedder):
    pass


class ClassifierOfTables(OfTables, ImageClassifier):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [EmbedderOfTables(SMALL), ClassifierOfTables(SMALL)])
def test_scikit_learns_own_checks(estimator: Any) -> None:
    expected = EXPECTED[type(estimator).__mro__[2].__name__]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert set(failed) == set(expected)
    passed = {result["check_name"] for result in results if result["status"] == "passed"}
    assert len(passed - set(expected)) >= 15
    refusals = ("where several are expected", "ImageError")  # a table has the shape of a gray image
    for name, why in expected.items():
        assert why != TABLE or any(refusal in str(failed[name]) for refusal in refusals), (name, failed[name])


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
