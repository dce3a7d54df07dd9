"""What TensorFlow Serving is given: a SavedModel, loaded by TensorFlow alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from paths import EXAMPLES
from PIL import Image

from pretrained_cnn import Classifier, ResizePolicy
from pretrained_cnn.testing import RuntimeConformance


def signatures(clf: Classifier, path: Path) -> dict[str, Callable[..., Any]]:
    """The signatures of what is written for TensorFlow Serving, each from a tensor to scores ``(N, C)``."""
    clf.save(path, format="saved_model")
    (version,) = (path / "model").iterdir()
    assert version.name == "1", "TensorFlow Serving looks for folders that are numbers"
    model = tf.saved_model.load(str(version))
    labels = (version / "assets" / "labels.txt").read_text("utf-8").splitlines()
    assert [tuple(line.split("\t")) for line in labels] == [tuple(label) for label in clf.spec.labels]

    def call(name: str, argument: str) -> Callable[..., Any]:
        return lambda batch: model.signatures[name](**{argument: tf.constant(batch)})["scores"].numpy()

    found = {name: call(name, arguments[0]) for name, arguments in ARGUMENTS.items() if name in model.signatures}
    assert {name: list(model.signatures[name].structured_input_signature[1]) for name in found} == {
        name: ARGUMENTS[name] for name in found
    }
    return found


ARGUMENTS = {"serving_default": ["images"], "jpeg": ["image_bytes"]}


def test_both_signatures(tmp_path: Path) -> None:
    clf = Classifier(RuntimeConformance.spec, resize=ResizePolicy(interpolation="bilinear"))
    model = signatures(clf, tmp_path / "bundle")
    images = sorted(EXAMPLES.glob("*.png"))
    expected = clf.predict_proba(images)
    assert np.ptp(expected, axis=0).max() > 0.1, "the network is mute, and the test proves nothing"
    assert np.abs(model["jpeg"]([image.read_bytes() for image in images]) - expected).max() < 5e-3

    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 24, 3), np.uint8)
    clf = Classifier(RuntimeConformance.spec)  # the same network, and images of its size stay as they are
    np.testing.assert_allclose(model["serving_default"](pixels), clf.predict_proba(list(pixels)), atol=1e-6)


@pytest.mark.slow
def test_the_jpeg_signature_takes_images_as_they_lie(tmp_path: Path, clock: Path) -> None:
    """It does not turn them as EXIF says; who sends them does."""
    clf = Classifier(RuntimeConformance.spec)
    model = signatures(clf, tmp_path / "bundle")
    with Image.open(clock) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned back before it is shown
        file = io.BytesIO()
        turned.save(file, "png", exif=exif)
    as_shown, as_it_lies = clf.predict_proba([file.getvalue(), turned])
    assert np.abs(as_shown - as_it_lies).max() > 0.05
    np.testing.assert_allclose(model["jpeg"]([file.getvalue()])[0], as_it_lies, atol=5e-3)


@pytest.mark.slow
def test_a_filter_that_tensorflow_lacks_leaves_no_jpeg_signature(tmp_path: Path) -> None:
    clf = Classifier(RuntimeConformance.spec, resize=ResizePolicy(interpolation="nearest"))
    assert list(signatures(clf, tmp_path / "bundle")) == ["serving_default"]


@pytest.mark.slow
def test_the_jpeg_signature_agrees_on_photos(keras_home: Path, labeled: list[tuple[Path, str]], tmp_path: Path) -> None:
    """MobileNet with its ImageNet weights: the same best class for each of 100 photos."""
    clf = Classifier("MobileNet")
    model = signatures(clf, tmp_path / "bundle")
    photos = [photo for photo, _ in labeled]
    expected = clf.predict_proba(photos)
    scores = np.concatenate([model["jpeg"]([photo.read_bytes()]) for photo in photos])
    np.testing.assert_array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    differences = np.abs(scores - expected).max(axis=1)
    assert differences.max() < 0.05
    assert np.median(differences) < 2e-3
