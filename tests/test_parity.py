"""Each backbone against the pipeline that people write by hand with Keras."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from memory import give_back
from waking import FAMILIES, wake

from pretrained_cnn import Classifier, ImagePolicy, ResizePolicy, get_spec
from pretrained_cnn.catalog import CATALOG
from pretrained_cnn.images.batch import load as read_image
from pretrained_cnn.images.sources import single_item
from pretrained_cnn.scores import probes

NAMES = [spec.name for spec in CATALOG if spec.builder.path.startswith("keras.applications:")]
LIKE_LOAD_IMG: dict[str, Any] = {
    "resize": ResizePolicy("squash", interpolation="nearest"),
    "image_policy": ImagePolicy(color_profile="ignore"),  # six of the photos have a profile, which load_img passes over
}
SMALLER = {"VGG16": (64, 64)}
"""VGG's head has weights for each pixel of the last map: at 224 x 224 writing it as ONNX takes 14 GB of memory."""


EIGHT = {"EfficientNetV2L": 8}
"""Between two photos, woken by them alone, its answers differ too little to prove anything."""


class Woken(NamedTuple):
    clf: Classifier
    expected: np.ndarray


@pytest.fixture(autouse=True)
def _the_same_weights_each_time() -> Iterator[None]:
    keras.utils.set_random_seed(0)
    yield
    give_back()


@pytest.fixture(scope="module", params=FAMILIES)
def woken(request: pytest.FixtureRequest, eight_photos: list[Path]) -> Iterator[Woken]:
    """One backbone of a family at a time, and what it answers to the photos."""
    name = request.param
    keras.utils.set_random_seed(0)
    clf = Classifier(name, weights=None, input_size=SMALLER.get(name), **LIKE_LOAD_IMG)
    # Also by the images that a bundle is checked on: far from all that woke it, rounding errors grow on the way.
    seen = np.concatenate([load(eight_photos, clf.spec.input_size), probes(clf.spec.input_size)])
    wake(clf.keras_model, preprocess_of(name)(seen))
    expected = clf.predict_proba(eight_photos)
    assert expected.max(axis=1).min() > 0.002, "the network is mute, and the tests would prove nothing"
    yield Woken(clf, expected)
    del clf
    give_back()


def preprocess_of(name: str) -> Callable[..., Any]:
    """Keras's own function for a builder: the one in the module that defines it."""
    builder = getattr(keras.applications, name)
    module = builder.__module__.rpartition(".")[2]
    return importlib.import_module(f"keras.applications.{module}").preprocess_input


def load(photos: list[Path], size: tuple[int, int], interpolation: str = "nearest") -> np.ndarray:
    images = [keras.utils.load_img(photo, target_size=size, interpolation=interpolation) for photo in photos]
    return np.stack([keras.utils.img_to_array(image) for image in images])


def read(photo: Path, size: tuple[int, int], resize: ResizePolicy) -> np.ndarray:
    return read_image(single_item(photo), size, resize, LIKE_LOAD_IMG["image_policy"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_hand_written_pipeline(name: str, eight_photos: list[Path]) -> None:
    """On two photos, resized as ``load_img`` does by default, and then smoothly."""
    photos = eight_photos[: EIGHT.get(name, 2)]
    by_hand = getattr(keras.applications, name)(weights=None)
    spec = get_spec(name)
    default = by_hand.input_shape[1:3]
    assert default in (spec.input_size, (None, None))
    assert by_hand.count_params() == spec.parameters
    assert spec.depth in (None, sum(bool(layer.weights) for layer in by_hand.layers))

    preprocess = preprocess_of(name)
    wake(by_hand, preprocess(load(photos, spec.input_size)))
    smoothly = ResizePolicy("squash", interpolation="bilinear")
    ways = {"nearest": LIKE_LOAD_IMG["resize"], "bilinear": smoothly}
    inputs = [preprocess(load(photos, spec.input_size, interpolation)) for interpolation in ways]
    expected = by_hand.predict(np.concatenate(inputs), batch_size=2, verbose=0)
    assert expected.max(axis=1).min() > 0.002, "the network is mute, and the test would prove nothing"

    weights = by_hand.get_weights()
    del by_hand
    gc.collect()  # the largest of them have more than a gigabyte
    clf = Classifier(name, weights=None, **LIKE_LOAD_IMG)
    clf.keras_model.set_weights(weights)
    del weights
    resized = [clf.engine.pixels(photos)]
    resized.append(np.stack([read(photo, spec.input_size, smoothly) for photo in photos]))
    scores, embedding = clf.engine.open(["scores", "embedding"]).run(np.concatenate(resized))
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)
    assert embedding.shape == (2 * len(photos), spec.embedding_size)


def swap_channels(preprocess: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: preprocess(x[..., ::-1])


def twice(preprocess: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: preprocess(preprocess(x))


def needless(preprocess: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: x / 127.5 - 1.0


@pytest.mark.slow
def test_a_wrong_preprocess_would_be_noticed(woken: Woken, eight_photos: list[Path]) -> None:
    spec = woken.clf.spec
    right = preprocess_of(spec.name)
    probe = np.full((1, 2, 2, 3), 100.0, np.float32)
    inside = bool((right(probe.copy()) == probe).all())  # preprocessing is a part of the network
    wrongs = [swap_channels(right), *([needless(right)] if inside else [None, twice(right)])]
    for wrong in wrongs:
        other = Classifier(spec.replace(preprocess=wrong), weights=None, **LIKE_LOAD_IMG)
        other.keras_model.set_weights(woken.clf.keras_model.get_weights())
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(other.predict_proba(eight_photos), woken.expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["openvino", "onnx", "litert"])
def test_a_converted_network_answers_alike(format: Any, woken: Woken, eight_photos: list[Path], tmp_path: Path) -> None:
    woken.clf.save(tmp_path / "bundle", format=format)
    scores = Classifier.load(tmp_path / "bundle").predict_proba(eight_photos)
    np.testing.assert_allclose(scores, woken.expected, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(scores.argmax(axis=1), woken.expected.argmax(axis=1))


def test_the_catalog_has_every_builder_of_keras() -> None:
    # The namespace also exports submodules; a builder is a function that takes weights and include_top.
    builders = {
        name
        for name, value in vars(keras.applications).items()
        if callable(value) and {"weights", "include_top"} <= set(value.__code__.co_varnames)
    }
    assert len(builders) >= 40
    assert builders == set(NAMES)


def test_real_weights_name_the_labeled_photos(keras_home: Path, labeled: list[tuple[Path, str]]) -> None:
    results = Classifier("MobileNet").predict_batch([photo for photo, _ in labeled])
    right = sum(result.top.id == wnid for result, (_, wnid) in zip(results, labeled, strict=True))
    assert right >= 90


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_real_weights_equal_the_hand_written_script(
    alpha: float, keras_home: Path, labeled: list[tuple[Path, str]]
) -> None:
    photos = [photo for photo, _ in labeled]
    os.environ["KERAS_HOME"] = str(keras_home)
    spec = get_spec("MobileNet")
    by_hand = keras.applications.MobileNet(alpha=alpha, weights=None)
    by_hand.load_weights(keras_home / "models" / spec.weights_file(options={"alpha": alpha}).name)
    inputs = keras.applications.mobilenet.preprocess_input(load(photos, (224, 224)))
    expected = by_hand.predict(inputs, verbose=0)

    clf = Classifier("MobileNet", alpha=alpha, **LIKE_LOAD_IMG)
    np.testing.assert_allclose(clf.predict_proba(photos), expected, atol=1e-5, rtol=0)
    decoded = decode_predictions(expected, keras_home)
    for result, rows in zip(clf.predict_batch(photos), decoded, strict=True):
        assert [(row.id, row.label) for row in result] == [(wnid, label) for wnid, label, _ in rows]
        np.testing.assert_allclose([row.score for row in result], [score for *_, score in rows], atol=1e-5)


def decode_predictions(scores: np.ndarray, keras_home: Path) -> Any:
    """Keras's own, which would download its labels if they were not in its folder."""
    from keras.src.utils import file_utils

    original = file_utils.get_file
    try:
        file_utils.get_file = lambda name, *_, **__: str(keras_home / "models" / name)
        return keras.applications.imagenet_utils.decode_predictions(scores, top=5)
    finally:
        file_utils.get_file = original


@pytest.mark.slow
def test_the_xception_trunk_serves_embeddings_only(assets: Path, eight_photos: list[Path]) -> None:
    path = assets / "weights" / "xception_notop.h5"
    trunk = keras.applications.Xception(weights=None, include_top=False, pooling="avg")
    trunk.load_weights(path)
    inputs = keras.applications.xception.preprocess_input(load(eight_photos, (299, 299)))
    clf = Classifier("Xception", weights=path, **LIKE_LOAD_IMG)
    np.testing.assert_allclose(clf.embed(eight_photos), trunk.predict(inputs, verbose=0), atol=1e-4)
    with pytest.raises(OSError, match=r"weights given for Xception end before the classes .* they serve embed"):
        clf.predict(eight_photos[0])
