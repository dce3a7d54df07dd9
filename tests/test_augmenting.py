"""Changed copies of images for a head on a frozen network: embedded once, kept, and never on both sides of a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from patterns import CLASSES, SMALL, draw
from sklearn.linear_model import LogisticRegression

from pretrained_cnn import Classifier, ImageError, InvalidArgumentError, engine


@pytest.fixture(scope="module")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patterns")
    for seed, part in enumerate(("train", "validation")):
        draw(folder / part, 8, seed=seed)
    return folder


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How many images the network was given in each batch, copies included; with a cache of its own."""
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "cache"))
    counts: list[int] = []
    original = engine.Network.answer

    def counting(self: Any, batch: Any) -> Any:
        counts.append(len(batch.pixels))
        return original(self, batch)

    monkeypatch.setattr(engine.Network, "answer", counting)
    return counts


def test_copies_are_embedded_once_and_depend_on_their_image_alone(patterns: Path, embedded: list[int]) -> None:
    data, validation = patterns / "train", patterns / "validation"
    first = Classifier.train(data, SMALL, validation, augment="default", copies=3)
    assert sum(embedded) == 24 + 24 + 3 * 24
    embedded.clear()
    paths = sorted(data.rglob("*.png"))
    backwards = [(path, path.parent.name) for path in reversed(paths)]
    again = Classifier.train(backwards, SMALL, validation, augment="default", copies=3)
    assert embedded == [], "they are kept, by the content of the image"
    cold = Classifier.train(data, SMALL, validation, augment="default", copies=3, cache=False)
    for other in (again, cold):
        np.testing.assert_allclose(other.predict_proba(paths), first.predict_proba(paths), atol=1e-4)
    embedded.clear()
    Classifier.train(data, SMALL, validation, augment="default", copies=3, seed=1)
    assert sum(embedded) == 3 * 24, "another seed changes the images otherwise"
    assert first.report.counts["train"] == dict.fromkeys(CLASSES, 8), "copies do not count as images"
    assert first.report.settings["copies"] == 3


def test_the_head_is_fitted_on_images_and_copies(patterns: Path) -> None:
    """An upside-down image is a copy that can be made by hand."""

    class UpsideDown(keras.layers.Layer):
        def call(self, images: Any, training: bool = False) -> Any:
            return keras.ops.flip(images, axis=1)

    data, validation = patterns / "train", patterns / "validation"
    clf = Classifier.train(data, SMALL, validation, augment=UpsideDown(), copies=2)
    paths = sorted(data.rglob("*.png"))
    network = Classifier(SMALL)
    pixels = network.engine.pixels(paths)
    vectors = network.embed([each for image in pixels for each in (image, image[::-1], image[::-1])]).astype(float)
    mean, scale = vectors.mean(axis=0), np.sqrt(vectors.var(axis=0).mean())
    theirs = LogisticRegression(C=clf.report.settings["C"], max_iter=5000, tol=1e-8)
    theirs.fit(
        (vectors - mean) / scale,
        [path.parent.name for path in paths for _ in range(3)],
        sample_weight=np.full(len(vectors), 1 / 3),
    )
    expected = theirs.predict_proba((network.embed(sorted(validation.rglob("*.png"))) - mean) / scale)
    np.testing.assert_allclose(clf.predict_proba(sorted(validation.rglob("*.png"))), expected, atol=1e-3)


def test_copies_stay_on_the_side_of_their_image(patterns: Path) -> None:
    """Else each image that is held out would be known by its copies: here they are the images themselves."""
    same = keras.layers.Identity()
    plain = Classifier.train(patterns / "train", SMALL)
    copied = Classifier.train(patterns / "train", SMALL, augment=same)
    assert copied.report.settings["copies"] == 4
    for name, value in plain.report.metrics.items():
        assert copied.report.metrics[name] == pytest.approx(value, abs=2e-3), name
    chosen = next(row for row in copied.history if row["C"] == copied.report.settings["C"])
    assert chosen["validation_loss"] > chosen["loss"] + 0.1, "what is held out is not known"
    mlp = Classifier.train(patterns / "train", SMALL, augment=same, head="mlp", epochs=1)
    assert mlp.report.counts["validation"] == dict.fromkeys(CLASSES, 2)


def test_a_preview(patterns: Path) -> None:
    clf = Classifier(SMALL)
    path = patterns / "train" / "down" / "000.png"
    figure = clf.preview_augmentation(path)
    images = [ax.images[0].get_array() for ax in figure.axes]
    assert len(images) == 8
    np.testing.assert_array_equal(images[0], clf.engine.pixels([path])[0])
    assert all((image != images[0]).any() for image in images[1:])
    assert len({image.tobytes() for image in images}) == 8
    again = clf.preview_augmentation(path)
    np.testing.assert_array_equal(images[3], again.axes[3].images[0].get_array())
    with pytest.raises(InvalidArgumentError, match="augment=None changes nothing; give"):
        clf.preview_augmentation(path, None)
    with pytest.raises(InvalidArgumentError, match="copies=0 is not a whole number of at least 1"):
        clf.preview_augmentation(path, copies=0)
    with pytest.raises(ImageError, match="the file does not exist"):
        clf.preview_augmentation("no.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copies": 3}, "copies=... needs augment=... and no unfreeze=..., which changes the images again"),
        ({"copies": 3, "augment": "default", "unfreeze": 1}, "copies=... needs augment=... and no unfreeze=..."),
        ({"copies": 0, "augment": "default"}, "copies=0 is not a whole number of at least 1"),
        ({"augment": "much"}, "augment='much' is not known; give \"default\", a keras layer or None"),
    ],
)
def test_what_cannot_be_right(options: dict[str, Any], message: str, patterns: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier.train(patterns / "train", SMALL, **options)
    assert str(caught.value).startswith(message)
