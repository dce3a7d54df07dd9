"""Heat maps: right by hand and by finite differences, in every backbone, on the thing that was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from memory import give_back
from paths import EXAMPLES
from PIL import Image
from waking import FAMILIES, wake

from pretrained_cnn import (
    Classifier,
    DataError,
    ImageError,
    ImagePolicy,
    InvalidArgumentError,
    ResizePolicy,
    get_spec,
)
from pretrained_cnn import explain as explaining
from pretrained_cnn.backbones.build import Backbone
from pretrained_cnn.backbones.explainer import Explainer, _linear
from pretrained_cnn.backbones.graph import Call
from pretrained_cnn.explain import project_to_image
from pretrained_cnn.images.resize import resize, window

SMALL = keras.initializers.RandomUniform(-0.1, 0.1, seed=1)
POSITIVE = keras.initializers.RandomUniform(0, 1, seed=2)  # so that something speaks for each class
METHODS = ["grad_cam", "grad_cam++", "hires_cam"]


def small(head: str = "pooled") -> keras.Model:
    """A network of 16 x 16 pixels whose last map is 6 x 6 of 4 channels."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(
        4, 5, strides=2, activation="relu", kernel_initializer=SMALL, bias_initializer="ones", name="last"
    )(x)
    if head == "pooled":
        x = layers.GlobalAveragePooling2D()(x)
    else:
        x = layers.Flatten()(layers.MaxPooling2D()(x))
        x = layers.Dense(5, activation="tanh")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", kernel_initializer=POSITIVE)(x))


def classifier(model: keras.Model, **arguments: Any) -> Classifier:
    labels = [f"class {i}" for i in range(model.output_shape[1])]
    return Classifier.from_keras(model, labels=labels, **arguments)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


def explainer(model: keras.Model, method: Any = "grad_cam") -> Explainer:
    return Explainer(classifier(model).engine.backbone(), method)


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam"])
def test_with_one_dense_layer_on_pooled_features_it_is_cam(pixels: np.ndarray, method: str) -> None:
    model = small()
    features = keras.Model(model.inputs, model.get_layer("last").output).predict(pixels.astype("float32"), verbose=0)
    kernel = model.layers[-1].get_weights()[0]
    targets = np.array([2, 0])
    by_hand = np.stack([np.maximum(f @ kernel[:, t], 0) for f, t in zip(features, targets, strict=True)])
    by_hand /= by_hand.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explainer(model, method)(pixels, targets), by_hand, atol=1e-5)


def test_the_gradient_is_that_of_the_linear_score(pixels: np.ndarray) -> None:
    """By finite differences, through a head that is not linear in the features."""
    model = small("flattened")
    head = keras.Model(model.get_layer("last").output, model.layers[-2].output)
    kernel, bias = model.layers[-1].get_weights()
    features = keras.Model(model.inputs, model.get_layer("last").output).predict(pixels.astype("float32"), verbose=0)

    def score(features: np.ndarray) -> np.ndarray:
        return (keras.ops.convert_to_numpy(head(features)) @ kernel + bias)[:, 1]

    step, gradient = 1e-3, np.zeros_like(features)
    for place_ in np.ndindex(features.shape[1:]):
        change = np.zeros_like(features)
        change[(slice(None), *place_)] = step
        gradient[(slice(None), *place_)] = (score(features + change) - score(features - change)) / (2 * step)
    by_hand = np.maximum((features * gradient).sum(axis=-1), 0)
    by_hand /= by_hand.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explainer(model, "hires_cam")(pixels, np.array([1, 1])), by_hand, atol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_a_image_has_the_same_map_alone_as_among_others(pixels: np.ndarray, method: str) -> None:
    explain = explainer(small("flattened"), method)
    together = explain(pixels, np.array([0, 1]))
    np.testing.assert_allclose(explain(pixels[1:], np.array([1])), together[1:], atol=1e-5)
    assert together.dtype == np.float32
    assert together.shape == (2, 6, 6)
    assert together.min() >= 0
    assert together.max(axis=(1, 2)).tolist() == [1, 1]


def test_what_speaks_against_a_class_is_not_shown(pixels: np.ndarray) -> None:
    model = small()
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([-np.abs(kernel), bias])
    for method in METHODS:
        assert explainer(model, method)(pixels, np.array([0, 1])).max() == 0


def nested(inner: keras.Model) -> keras.Model:
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, inner(inputs))


def trunk_within() -> keras.Model:
    """What Keras's own guide to transfer learning builds: a backbone as a layer, and a head behind it."""
    whole = small()
    trunk = keras.Model(whole.inputs, whole.get_layer("last").output)
    inputs = keras.Input((16, 16, 3))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(trunk(inputs, training=False)))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.layers[-1].set_weights(whole.layers[-1].get_weights())
    return model


def sequential() -> keras.Model:
    whole = small()
    trunk = keras.Sequential([keras.Input((16, 16, 3)), whole.layers[1], whole.layers[2]])
    return keras.Sequential([keras.Input((16, 16, 3)), trunk, whole.layers[3], whole.layers[4]])


def functional_softmax() -> keras.Model:
    whole = small()
    dense = layers.Dense(3)
    model = keras.Model(whole.inputs, keras.ops.softmax(dense(whole.layers[3].output)))
    dense.set_weights(whole.layers[4].get_weights())
    return model


@pytest.mark.parametrize("build", [trunk_within, sequential, functional_softmax, lambda: nested(nested(small()))])
def test_models_within_models_are_looked_into(build: Any, pixels: np.ndarray) -> None:
    targets = np.array([0, 2])
    backbone = Backbone(get_spec("MobileNet").replace(input_size=(16, 16), preprocess=None), build(), True)
    np.testing.assert_allclose(Explainer(backbone)(pixels, targets), explainer(small())(pixels, targets), atol=1e-5)


def test_new_weights_are_seen(pixels: np.ndarray) -> None:
    """The linear head has no weights of its own that could be left behind."""
    model = small()
    explain = explainer(model)
    before = explain(pixels, np.array([0, 0]))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel[:, [1, 0, 2]], bias])
    np.testing.assert_allclose(explain(pixels, np.array([1, 1])), before, atol=1e-6)


def test_frozen_weights_are_no_hindrance(pixels: np.ndarray) -> None:
    model, targets = small(), np.array([0, 1])
    before = explainer(model)(pixels, targets)
    model.trainable = False
    np.testing.assert_allclose(explainer(model)(pixels, targets), before, atol=1e-6)


def test_a_head_that_is_a_convolution() -> None:
    conv = layers.Conv2D(3, 1, activation="softmax")
    pixels = keras.Input((1, 1, 5))
    outputs = conv(pixels)
    x = np.random.default_rng(0).normal(size=(1, 1, 1, 5)).astype("float32")
    plain = _linear(Call(conv, [pixels], [outputs]))
    scores, probabilities = (keras.ops.convert_to_numpy(layer(x)).ravel() for layer in (plain, conv))
    assert scores.sum() != pytest.approx(1)
    np.testing.assert_allclose(np.exp(scores) / np.exp(scores).sum(), probabilities, atol=1e-6)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.inner = small()

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs)


@pytest.mark.parametrize(
    "model",
    [
        lambda: keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")]),
        Subclassed,
    ],
)
def test_where_no_map_can_be_found(model: Any, clock: Path) -> None:
    network = model()
    network(np.zeros((1, 16, 16, 3)))
    clf = Classifier.from_keras(
        network, labels=[str(i) for i in range(network(np.zeros((1, 16, 16, 3))).shape[1])], input_size=(16, 16)
    )
    with pytest.raises(InvalidArgumentError, match="cannot be explained: no map of features was found in it"):
        clf.explain(clock)


# On the image


@pytest.mark.parametrize("policy", [ResizePolicy(), ResizePolicy("squash"), ResizePolicy("pad")])
@pytest.mark.parametrize("size", [(320, 200), (200, 320), (64, 64)])
def test_a_map_lies_where_the_network_saw_it(policy: ResizePolicy, size: tuple[int, int]) -> None:
    """A white spot in a black image, resized as for the network, is a heat map that must come back to the spot."""
    x, y = size[0] // 2 + 12, size[1] // 2 - 9
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (x - 8, y - 8, x + 8, y + 8))
    seen = resize(image, (48, 48), policy)[..., 0].astype(np.float32) / 255
    heat = project_to_image(seen, size, (48, 48), policy)
    assert heat.shape == size[::-1]
    assert heat.dtype == np.float32
    assert heat.max() == 1
    rows, columns = np.indices(heat.shape)
    middle = (heat * (columns + 0.5)).sum() / heat.sum(), (heat * (rows + 0.5)).sum() / heat.sum()
    assert middle == pytest.approx((x, y), abs=1.0)


def test_what_the_network_is_not_shown_is_cold() -> None:
    heat = project_to_image(np.ones((7, 7), np.float32), (400, 200), (224, 224), ResizePolicy())
    left, top, right, bottom = window((400, 200), (224, 224), ResizePolicy())
    assert (round(left), round(top), round(right), round(bottom)) == (112, 12, 288, 188)
    assert heat[:, :112].max() == heat[:, 289:].max() == heat[:12].max() == heat[189:].max() == 0
    assert heat[13:187, 113:287].min() == pytest.approx(1)


@pytest.mark.parametrize("policy", [ResizePolicy(), ResizePolicy("squash"), ResizePolicy("pad")])
def test_a_map_made_band_by_band_is_the_same(policy: ResizePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = np.random.default_rng(0).random((7, 7), np.float32)
    whole = project_to_image(seen, (333, 211), (64, 64), policy)
    monkeypatch.setattr(explaining, "BAND", 5_000)
    np.testing.assert_allclose(project_to_image(seen, (333, 211), (64, 64), policy), whole, atol=1e-5)


def test_an_image_too_large_to_explain_names_the_setting(tmp_path: Path) -> None:
    Image.new("RGB", (100, 80)).save(tmp_path / "a.jpg")
    clf = classifier(small(), image_policy=ImagePolicy(max_memory=50_000))
    assert clf.predict(tmp_path / "a.jpg").error is None
    reason = r"an explanation of its 100 x 80 pixels takes 64,000 bytes, more than 50,000 \(ImagePolicy\.max_memory\)"
    with pytest.raises(ImageError, match=reason):
        clf.explain(tmp_path / "a.jpg")


@pytest.mark.slow
def test_overlay_and_file(clock: Path, tmp_path: Path) -> None:
    explanation = Classifier("EfficientNetLite0").explain(clock)
    image = np.asarray(Image.open(clock).convert("RGB"))
    laid = np.asarray(explanation.overlay())
    cold = explanation.heat_map == 0
    assert cold.any()
    assert (laid[cold] == image[cold]).all()
    hottest = np.unravel_index(explanation.heat_map.argmax(), image.shape[:2])
    assert (laid[hottest] != image[hottest]).any()
    assert (np.asarray(explanation.overlay(0)) == image).all()
    explanation.save(tmp_path / "clock.png")
    saved = np.asarray(Image.open(tmp_path / "clock.png"))
    assert (saved == np.asarray(explanation.captioned())).all()
    assert (saved[: len(laid)] == laid).all()
    assert explanation._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(InvalidArgumentError, match=r"opacity=2 is not a number from 0 to 1"):
        explanation.overlay(2)


@pytest.mark.slow
def test_the_class_explained(clock: Path) -> None:
    clf = Classifier("EfficientNetLite0")
    best, wall = list(clf.predict(clock))[:2]
    assert clf.explain(clock).prediction == best
    for target in (wall.index, wall.id, wall.label):
        assert clf.explain(clock, target).prediction == wall
    with pytest.raises(
        DataError, match="target: 'wall_clok' is not one of the 1000 classes; did you mean 'wall_clock'"
    ):
        clf.explain(clock, "wall_clok")
    with pytest.raises(DataError, match="target: 2 classes are named 'crane'; use their ids, n02012849 and n03126707"):
        clf.explain(clock, "crane")
    for target in (1000, -1, True, 1.5):
        with pytest.raises(InvalidArgumentError, match="is neither a class's name nor a number from 0 to 999"):
            clf.explain(clock, target)
    with pytest.raises(InvalidArgumentError, match=r"method='lime' is not known; choose 'grad_cam', 'grad_cam"):
        clf.explain(clock, method="lime")


# With the backbones


def shrunk(name: str) -> tuple[int, int]:
    """The backbone's own input size, or a smaller one where that takes long."""
    height, width = get_spec(name).input_size
    return min(height, 224), min(width, 224)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAMILIES, "EfficientNetLite0"])
def test_every_family_can_be_explained(name: str, clock: Path) -> None:
    keras.utils.set_random_seed(0)
    clf = Classifier(name, weights=None, input_size=shrunk(name))
    explanation = clf.explain(clock)
    assert explanation.heat_map.shape == (360, 480)
    assert explanation.heat_map.dtype == np.float32
    assert explanation.heat_map.min() == 0
    grid = clf.engine.explainer("grad_cam")(clf.engine.pixels([clock]), np.zeros(1, np.intp)).shape[1:]
    assert 5 <= grid[0] == grid[1] <= 14
    del clf, explanation
    give_back()


BOXES = {
    "balloon": (62, 76, 298, 375),
    "candle": (88, 115, 272, 379),
    "clock": (90, 30, 390, 330),
    "hourglass": (68, 78, 292, 372),
    "soccer_ball": (60, 55, 340, 335),
    "umbrella": (90, 53, 390, 320),
}
"""Where ``examples/draw.py`` draws each thing: left, top, right, bottom."""


def scenes() -> list[tuple[str, Image.Image, tuple[float, ...]]]:
    """Each drawing as it is, and four fifths as large in the upper right-hand corner of a larger scene."""
    found = []
    for name, box in BOXES.items():
        image = Image.open(EXAMPLES / f"{name}.png").convert("RGB")
        found.append((name, image, box))
        small_ = image.resize([round(side * 0.8) for side in image.size])
        free = 448 - small_.width, 448 - small_.height
        left, top = round(free[0] * 0.9), round(free[1] * 0.1)
        rim = ((top, free[1] - top), (left, free[0] - left), (0, 0))
        scene = Image.fromarray(np.pad(np.asarray(small_), rim, mode="edge"))
        found.append((name, scene, tuple(side * 0.8 + (left, top)[i % 2] for i, side in enumerate(box))))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("model", ["EfficientNetLite0", "MobileNet"])
@pytest.mark.parametrize("method", METHODS)
def test_the_pointing_game(model: str, method: Any, keras_home: Path) -> None:
    """The maximum lies on the thing drawn, to within 15 pixels, as in Zhang et al., 2018 (arXiv:1608.00507)."""
    clf, hits = Classifier(model), []
    for name, image, (left, top, right, bottom) in scenes():
        heat = clf.explain(image, {"clock": "analog_clock"}.get(name, name), method).heat_map
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        hits.append(left - 15 <= x < right + 15 and top - 15 <= y < bottom + 15)
    assert len(hits) == 12
    assert sum(hits) >= 11


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_random_weights_looks_elsewhere(method: Any) -> None:
    """The sanity check of Adebayo et al., 2018 (arXiv:1810.03292): maps must depend on the weights."""
    trained = Classifier("EfficientNetLite0")
    images = sorted(EXAMPLES.glob("*.png"))
    keras.utils.set_random_seed(0)
    random = Classifier("EfficientNetLite0", weights=None)
    seen = np.stack([resize(Image.open(path).convert("RGB"), (224, 224), ResizePolicy()) for path in images])
    wake(random.keras_model, (seen - np.float32(127)) / 128)
    ours, other = (clf.engine.explainer(method) for clf in (trained, random))
    targets = trained.predict_proba(images).argmax(axis=1)
    maps = [explain(seen, targets).reshape(len(seen), -1) for explain in (ours, other)]
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(*maps, strict=True)]
    # Seen: 0.11, 0.62, 0.11. Grad-CAM++ keeps positive gradients only, and shows much of where features are strong.
    assert np.mean(alike) < (0.8 if method == "grad_cam++" else 0.5)
    same = [np.corrcoef(a, b)[0, 1] for a, b in zip(maps[0], ours(seen, targets).reshape(len(seen), -1), strict=True)]
    assert min(same) > 0.999, "the comparison would find maps that are alike"


def test_the_gradients_of_weights_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are most of the work, and TensorFlow crashes in those of some networks."""
    from tensorflow.python.ops import gen_nn_ops

    def computed(*given: Any, **named: Any) -> Any:
        raise AssertionError("the gradient of a weight")

    trunk = [keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*trunk, layers.Dense(2), layers.Softmax()])
    clf = Classifier.from_keras(model, labels=["a", "b"])
    monkeypatch.setattr(gen_nn_ops, "conv2d_backprop_filter", computed)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    gap = [keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()]
    ends_in_map = Classifier.from_keras(keras.Sequential([*gap, layers.Softmax()]), labels=["a", "b"])
    for each in (clf, ends_in_map):
        assert each.explain(image).heat_map.shape == (16, 16)
