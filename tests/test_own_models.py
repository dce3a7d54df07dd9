"""Keras models of people's own: the right answer everywhere, or the sentence that leads out."""

from __future__ import annotations

import copy
import gc
import io
import json
import math
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from own_models import (
    BINARY,
    BOTH,
    GRAYS,
    IMAGES,
    LABELS,
    MOVES,
    REFUSED,
    RIGHT,
    SEVERAL,
    SIZE,
    Brighter,
    Case,
    copied,
    cropped_first,
    dense,
    moved_places,
    names_from_the_start,
    net,
    pixels,
    pooled,
    quantized,
    sparsemax,
    subclass,
    with_own_layer,
)
from PIL import Image

from pretrained_cnn import Classifier, ImageError, InvalidArgumentError, InvalidSpecError, ModelSpec, ResizePolicy
from pretrained_cnn.evaluate import read_labeled
from pretrained_cnn.identity import conversion_key_of_graph, function_identity, graph_identity
from pretrained_cnn.presets import PRESETS

TWO = IMAGES[:2]
DARK = np.full((SIZE, SIZE, 3), 10, np.uint8)

exclusive = pytest.mark.parametrize("case", RIGHT, ids=[case.name for case in RIGHT])
binary = pytest.mark.parametrize("case", BINARY, ids=[case.name for case in BINARY])
several = pytest.mark.parametrize("case", SEVERAL, ids=[case.name for case in SEVERAL])


def means(images: Any) -> np.ndarray:
    """The mean of each channel, 0 to 1: all that the models look at."""
    return np.stack([np.reshape(image, (SIZE, SIZE, -1)).mean(axis=(0, 1)) / 255 for image in images])


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def wrapped(case: Case, **changes: Any) -> Classifier:
    return Classifier.from_keras(case.make(), **{"labels": case.labels, **case.arguments, **changes})


def names(case: Case) -> list[str]:
    if isinstance(case.labels, dict):
        pairs = [(key, value) if isinstance(key, int) else (value, key) for key, value in case.labels.items()]
        return [name for _, name in sorted(pairs)]
    return [name.strip() for name in case.labels]


def sparse(logits: np.ndarray) -> np.ndarray:
    """The point of the simplex that is nearest, by bisection for what is taken from each number."""
    low, high = logits.min(axis=1, keepdims=True) - 1, logits.max(axis=1, keepdims=True)
    for _ in range(60):
        middle = (low + high) / 2
        over = np.maximum(logits - middle, 0).sum(axis=1, keepdims=True) > 1
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    return np.maximum(logits - low, 0)


def check_heat(heat: np.ndarray) -> None:
    """The bright quarter is hot, and the rest is not."""
    assert heat.shape == (SIZE, SIZE)
    assert heat[:10, :10].min() > 0.9
    assert heat[14:, 14:].max() < 0.5


# Right everywhere


@exclusive
def test_the_right_answer(case: Case) -> None:
    clf, expected = wrapped(case), softmax(case.logits(means(case.images)))
    labels = names(case)
    np.testing.assert_allclose(clf.predict_proba(case.images), expected, atol=1e-5)
    assert [clf.predict(image).label for image in case.images] == labels
    assert clf.evaluate(list(zip(case.images, labels, strict=True))).top1 == 1
    if case.embeds:
        np.testing.assert_allclose(clf.embed(case.images), case.embedding(means(case.images)), atol=1e-5)
    else:
        with pytest.raises(InvalidArgumentError, match="so there is no embedding"):
            clf.embed(case.images)
    if case.explains:
        for image, label in zip(case.images, labels, strict=True):
            explanation = clf.explain(image)
            assert explanation.prediction.label == label
            if case.images is IMAGES:
                check_heat(explanation.heat_map)
    else:
        with pytest.raises(InvalidArgumentError, match="cannot be explained: no map of features was found in it"):
            clf.explain(case.images[0])


@binary
def test_one_output_is_the_probability_of_the_second_label(case: Case) -> None:
    clf = wrapped(case, labels=["green", "red"])
    red = sigmoid(12 * (means(IMAGES)[:, 0] - means(IMAGES)[:, 1]))
    np.testing.assert_allclose(clf.predict_proba(IMAGES), np.stack([1 - red, red], axis=1), atol=1e-5)
    assert [clf.predict(image).label for image in TWO] == ["red", "green"]
    assert clf.predict(IMAGES[1]).score > 0.9
    evaluation = clf.evaluate([(IMAGES[0], "red"), (IMAGES[1], "green"), (IMAGES[1], "red")])
    assert evaluation.top1 == pytest.approx(2 / 3)
    if case.embeds:
        np.testing.assert_allclose(clf.embed(IMAGES), means(IMAGES), atol=1e-5)
    if case.explains:
        for image, target in zip(TWO, ("red", "green"), strict=True):
            check_heat(clf.explain(image, target).heat_map)


@several
def test_several_labels_an_image(case: Case) -> None:
    clf = wrapped(case, multi_label=True)
    found = clf.predict_proba([*IMAGES, BOTH, DARK])
    np.testing.assert_allclose(found, sigmoid(60 * means([*IMAGES, BOTH, DARK]) - 15), atol=1e-5)
    both = clf.predict(BOTH, top=1)
    assert sorted(label for _, label, _ in both) == ["green", "red"], "every label above its threshold, whatever top is"
    assert {label for _, label, _ in both.above()} == {"green", "red"}
    dark = clf.predict(DARK, top=2)
    assert len(dark) == 2
    assert dark.above() == ()
    assert {label for _, label, _ in clf.predict(BOTH, top=1).above(0.0)} == {"green", "red"}
    np.testing.assert_allclose(clf.embed([BOTH]), means([BOTH]), atol=1e-5)
    check_heat(clf.explain(IMAGES[1], "green").heat_map)
    with pytest.raises(InvalidArgumentError, match=r"name the one to explain: target=\.\.\."):
        clf.explain(BOTH)
    evaluation = clf.evaluate([(BOTH, ["red", "green"]), (DARK, []), (IMAGES[2], "blue")])
    assert (evaluation.mean_average_precision, evaluation.f1_macro, evaluation.f1_micro) == (1, 1, 1)
    for name in ("top1", "top5", "confusion", "ece", "plot_reliability"):
        with pytest.raises(InvalidArgumentError, match="only where each image has exactly one class"):
            getattr(evaluation, name)


@pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis")
@pytest.mark.parametrize(("name", "make", "arguments", "sentence"), REFUSED, ids=[row[0] for row in REFUSED])
def test_the_sentence(name: str, make: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier.from_keras(make(), **{"labels": LABELS, **arguments})
    assert sentence in str(caught.value)


def test_a_sparsemax_that_sums_to_1_is_accepted() -> None:
    clf = Classifier.from_keras(net(None, sparsemax), labels=LABELS)
    np.testing.assert_allclose(clf.predict_proba([*IMAGES, BOTH]), sparse(12 * means([*IMAGES, BOTH])), atol=1e-5)


def test_a_quantized_head_is_explained() -> None:
    clf = Classifier.from_keras(quantized(), labels=LABELS)
    assert [clf.predict(image).label for image in IMAGES] == LABELS
    check_heat(clf.explain(IMAGES[0]).heat_map)


def test_a_map_that_is_not_that_of_the_whole_image_is_not_drawn() -> None:
    clf = Classifier.from_keras(cropped_first(), labels=LABELS, preprocess="none", resize=ResizePolicy("squash"))
    with pytest.raises(InvalidArgumentError, match="a convolution behind it, over the whole image"):
        clf.explain(IMAGES[0])
    half = Classifier.from_keras(moved_places(MOVES["a half"]), labels=LABELS)
    check_heat(half.explain(IMAGES[0]).heat_map)


def test_a_registered_spec_is_judged_when_it_is_built() -> None:
    spec = ModelSpec(name="mine", builder=lambda input_shape: net(None), input_size=(SIZE, SIZE), labels=LABELS)
    with pytest.raises(InvalidArgumentError, match=r"mine: the outputs range from .* so they are not probabilities"):
        Classifier(spec).predict(IMAGES[0])
    right = spec.replace(builder=lambda input_shape: net("sigmoid", units=1), labels=["green", "red"])
    assert Classifier(right).predict(IMAGES[0]).label == "red"


def test_a_decode_function_of_its_own_may_take_logits_but_no_nan() -> None:
    def decode(scores: np.ndarray, top: int = 5) -> list[list[tuple[str, str, float]]]:
        return [[("most", LABELS[int(row.argmax())], float(row.max()))] for row in scores]

    spec = ModelSpec(name="mine", builder=lambda input_shape: net(None), input_size=(SIZE, SIZE), decode=decode)
    assert Classifier(spec).predict(IMAGES[2]).label == "blue"
    broken = spec.replace(preprocess=lambda x: ops.log(x - 300))
    with pytest.raises(InvalidArgumentError, match="the network gives NaN or infinite values"):
        Classifier(broken).predict(IMAGES[2])


# At run time


def with_trouble(trouble: Any) -> Classifier:
    """Right for every image but a black one."""
    i = pixels()
    y = dense(pooled(copied(layers.Rescaling(1 / 255)(i))))
    return Classifier.from_keras(keras.Model(i, trouble(y, ops.max(i, axis=(1, 2, 3))[:, None])), labels=LABELS)


BLACK = np.zeros((SIZE, SIZE, 3), np.uint8)


def test_a_row_that_is_not_finite_is_the_error_of_its_image() -> None:
    clf = with_trouble(lambda y, most: y * (most / most))
    with pytest.raises(ImageError, match="<array 0>: the network gives NaN or infinite values") as caught:
        clf.predict(BLACK)
    assert "float16" in str(caught.value)
    results = clf.predict_batch([IMAGES[0], BLACK, IMAGES[1]], errors="return")
    assert [result.status for result in results] == ["ok", "failed", "ok"]
    assert [result.label for result in (results[0], results[2])] == ["red", "green"]
    json.loads(json.dumps([result.to_dict() for result in results], allow_nan=False))
    evaluation = clf.evaluate([(IMAGES[0], "red"), (BLACK, "red"), (IMAGES[1], "green")])
    assert (evaluation.count, evaluation.top1, len(evaluation.failed)) == (2, 1, 1)
    json.dumps(evaluation.to_dict(), allow_nan=False)
    with pytest.raises(ImageError, match="the network gives NaN"):
        clf.predict_proba([IMAGES[0], BLACK])


def test_scores_that_are_no_probabilities_are_refused_for_every_batch() -> None:
    clf = with_trouble(lambda y, most: y + ops.cast(ops.equal(most, 0), "float32"))
    assert clf.predict(IMAGES[0]).label == "red"
    with pytest.raises(InvalidArgumentError, match=r"the outputs range from .* so they are not probabilities"):
        clf.predict(BLACK)


def gives_nan(clf: Classifier) -> None:
    clf.keras_model.layers[-1].set_weights([np.full((3, 3), np.nan)])


def gives_logits(clf: Classifier) -> None:
    clf.keras_model.layers[-1].activation = keras.activations.linear


@pytest.mark.parametrize("output", ["scores", "embedding", ["embedding", "scores"]])
@pytest.mark.parametrize(
    ("changed", "sentence"),
    [(gives_nan, "the network gives NaN"), (gives_logits, "the outputs range from .* so they are not probabilities")],
)
def test_what_a_network_gives_is_judged_again_when_it_is_saved(
    changed: Any, sentence: str, output: Any, tmp_path: Path
) -> None:
    clf = Classifier.from_keras(net(), labels=LABELS)
    changed(clf)
    if output == "embedding":  # which the head does not change
        clf.save(tmp_path / "b", output=output)
        clf.keras_model.layers[2].set_weights([np.full((1, 1, 3, 3), np.nan)])
        sentence = "the network gives NaN"
    with pytest.raises(InvalidSpecError, match=f"was not saved: {sentence}"):
        clf.save(tmp_path / "c", output=output)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_probabilities_in_16_bits_are_saved(policy: str, tmp_path: Path) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        model = net()
    finally:
        keras.config.set_dtype_policy("float32")
    Classifier.from_keras(model, labels=LABELS).save(tmp_path / "b")
    assert Classifier.load(tmp_path / "b").predict(IMAGES[1]).label == "green"


# What is passed is what is seen


def test_the_scores_of_the_lesson(tmp_path: Path) -> None:
    """``load_img`` to the network's size and an array of it: Keras's own scores."""
    path = tmp_path / "photo.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    Image.fromarray(noise).resize((500, 300)).save(path)
    clf, model = Classifier.from_keras(corners(), labels=["a", "b", "c", "d"]), corners()
    array = np.array(keras.utils.load_img(path, target_size=(SIZE, SIZE)))
    np.testing.assert_allclose(clf.predict_proba([array]), model(array[None].astype("float32")), atol=1e-5)
    nearest = ResizePolicy("squash", interpolation="nearest")
    same = Classifier.from_keras(model, labels=["a", "b", "c", "d"], resize=nearest)
    np.testing.assert_allclose(same.predict_proba([path]), clf.predict_proba([array]), atol=1e-5)


def test_the_scores_of_keras_own_loader(tmp_path: Path) -> None:
    folder = tmp_path / "all" / "one"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for i, size in enumerate([(500, 375), (24, 24), (30, 200), (20, 10)]):
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{i}.png")
    model = corners()
    data = keras.utils.image_dataset_from_directory(tmp_path / "all", image_size=(SIZE, SIZE), shuffle=False, verbose=0)
    clf = Classifier.from_keras(model, labels=["a", "b", "c", "d"])
    found = clf.predict_proba(str(folder))
    np.testing.assert_allclose(found, model.predict(data, verbose=0), atol=1e-2)  # pixels are whole numbers here
    assert "antialias=False" in repr(clf.spec.resize)


def corners() -> keras.Model:
    """Which corner is brightest: what a crop would cut away."""
    i = pixels()
    x = layers.AveragePooling2D(6, strides=18)(layers.Rescaling(1 / 255)(i))
    x = layers.Flatten()(ops.mean(x, axis=-1, keepdims=True))
    return keras.Model(i, layers.Softmax()(x * 4.0))


# Caches follow the code


@keras.saving.register_keras_serializable(package="own_models")
def own_activation(x: Any) -> Any:
    return ops.softmax(x)


class Scaled:
    def __call__(self, x: Any) -> Any:
        return x * 2


@pytest.mark.parametrize(
    "make",
    [
        with_own_layer,
        lambda: net(None, layers.Lambda(lambda x: ops.softmax(x))),
        lambda: net(None, layers.Activation(own_activation)),
        lambda: net(own_activation),
        lambda: net(None, layers.TimeDistributed(Brighter()) if False else layers.Activation(own_activation)),
        lambda: net(None, keras.Sequential([keras.Input((3,)), layers.Activation(own_activation)])),
        lambda: subclass(),
    ],
    ids=["layer", "Lambda", "activation", "activation of a layer", "wrapped", "in a model", "model"],
)
def test_a_graph_with_foreign_code_has_no_identity(make: Any) -> None:
    model = make()
    assert graph_identity(model) is None
    clf = Classifier.from_keras(model, labels=LABELS, input_size=(SIZE, SIZE))
    assert clf.engine.identity() is None


def test_a_graph_of_keras_alone_has_one() -> None:
    assert graph_identity(net()) is not None
    assert conversion_key_of_graph(net(), "onnx") == conversion_key_of_graph(net(), "onnx")
    assert Classifier.from_keras(net(), labels=LABELS).engine.identity() is not None


def test_a_function_that_imports_the_users_code_has_no_identity() -> None:
    def foreign(x: Any) -> Any:
        import own_models

        return x / own_models.GAIN

    def keras_only(x: Any) -> Any:
        from keras import ops

        return ops.divide(x, 2.0)

    assert function_identity(foreign) is None
    assert function_identity(keras_only) is not None


# Several labels an image


def test_average_precision_and_f1_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, f1_score

    from pretrained_cnn import Label, MultiLabelEvaluation

    random = np.random.default_rng(0)
    labels = [Label(str(i), str(i)) for i in range(5)]
    for decimals in (1, 6):  # with ties and without
        scores, targets = random.random((60, 5)).round(decimals), random.random((60, 5)) < [0.1, 0.3, 0.5, 0.7, 0.9]
        thresholds = (0.5, 0.3, 0.7, 0.5, 0.1)
        found = MultiLabelEvaluation(labels, targets, scores, [str(i) for i in range(60)], thresholds=thresholds)
        given = scores >= thresholds
        expected = average_precision_score(targets, scores, average=None)
        np.testing.assert_allclose([row.average_precision for row in found.classes], expected)
        assert found.mean_average_precision == pytest.approx(expected.mean())
        np.testing.assert_allclose([row.f1 for row in found.classes], f1_score(targets, given, average=None))
        assert found.f1_macro == pytest.approx(f1_score(targets, given, average="macro"))
        assert found.f1_micro == pytest.approx(f1_score(targets, given, average="micro"))
        assert len(found.mistakes(1000)) == (given != targets).sum()
    json.dumps(found.to_dict(), allow_nan=False)
    assert "mean average precision" in str(found)


def test_labels_of_several_kinds_of_sources(tmp_path: Path) -> None:
    clf = Classifier.from_keras(SEVERAL[0].make(), labels=LABELS, multi_label=True)
    for name, pixels_ in {"both.png": BOTH, "dark.png": DARK, "blue.png": IMAGES[2]}.items():
        Image.fromarray(pixels_).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text('path,label\nboth.png,"red, green"\ndark.png,\nblue.png,blue\n')
    assert clf.evaluate(tmp_path / "labels.csv").f1_macro == 1
    found = clf.evaluate([BOTH, DARK], labels=[("green", "red"), ()])
    assert math.isclose(found.f1_micro, 1)
    with pytest.raises(InvalidArgumentError, match="only where each image has exactly one class"):
        read_labeled(clf.engine, [(BOTH, "red")])


def test_thresholds_stay_in_a_bundle(tmp_path: Path) -> None:
    spec = ModelSpec(
        name="mine",
        builder=lambda input_shape: SEVERAL[0].make(),
        input_size=(SIZE, SIZE),
        labels=LABELS,
        multi_label=True,
        thresholds=[0.5, 0.9999999, 0.5],
    )
    Classifier(spec).save(tmp_path / "b")
    clf = Classifier.load(tmp_path / "b")
    assert (clf.spec.multi_label, clf.spec.thresholds) == (True, (0.5, 0.9999999, 0.5))
    assert [label for _, label, _ in clf.predict(BOTH, top=1).above()] == ["red"]
    with pytest.raises(InvalidArgumentError, match="2 thresholds do not match 3 labels"):
        spec.replace(thresholds=[0.5, 0.5])
    with pytest.raises(InvalidArgumentError, match="go with multi_label=True only"):
        spec.replace(multi_label=False, thresholds=[0.5] * 3)


# Settings of the program


@pytest.fixture
def channels_first() -> Iterator[None]:
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


def test_a_global_channels_first(channels_first: None) -> None:
    i = pixels()
    x = copied(layers.Rescaling(1 / 255)(i), data_format="channels_last")
    model = keras.Model(i, dense(pooled(x, data_format="channels_last")))
    clf = Classifier.from_keras(model, labels=LABELS)
    assert [clf.predict(image).label for image in IMAGES] == LABELS
    np.testing.assert_allclose(clf.embed(IMAGES), means(IMAGES), atol=1e-5)
    check_heat(clf.explain(IMAGES[0]).heat_map)
    sentence = r"call keras.config.set_image_data_format\('channels_last'\) first"
    with pytest.raises(InvalidArgumentError, match=sentence):
        Classifier("MobileNet", weights=None).predict(IMAGES[0])
    preprocess = keras.applications.resnet.preprocess_input
    with pytest.raises(InvalidArgumentError, match=sentence):
        Classifier.from_keras(model, labels=LABELS, preprocess=preprocess)


@pytest.fixture(params=["float16", "float64"])
def floatx(request: pytest.FixtureRequest) -> Iterator[str]:
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx("float32")


def test_other_global_floats(floatx: str) -> None:
    clf = Classifier.from_keras(net(), labels=LABELS)
    np.testing.assert_allclose(clf.predict_proba(IMAGES), softmax(12 * means(IMAGES)), atol=2e-2)
    np.testing.assert_allclose(clf.embed(IMAGES), means(IMAGES), atol=1e-2)
    check_heat(clf.explain(IMAGES[0]).heat_map)


def test_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = net()
    finally:
        keras.config.set_dtype_policy("float32")
    clf = Classifier.from_keras(model, labels=LABELS)
    np.testing.assert_allclose(clf.predict_proba(IMAGES), softmax(12 * means(IMAGES)), atol=2e-2)
    np.testing.assert_allclose(clf.embed(IMAGES), means(IMAGES), atol=1e-2)
    check_heat(clf.explain(IMAGES[0]).heat_map)


def test_where_tensorflow_builds_a_graph() -> None:
    tf = pytest.importorskip("tensorflow")
    clf = Classifier.from_keras(net(), labels=LABELS)
    expected = clf.predict_proba(IMAGES)
    data = tf.data.Dataset.from_tensor_slices(np.stack(IMAGES))
    sentence = "TensorFlow builds a graph here .* a classifier needs numbers"
    with pytest.raises(InvalidArgumentError, match=sentence), tf.Graph().as_default():
        clf.predict_proba(IMAGES)
    with pytest.raises(Exception, match=sentence):
        data.map(lambda image: clf.predict_proba(np.stack(IMAGES)))

    def scores(image: Any) -> Any:
        return clf.predict_proba([image.numpy()])[0]

    found = list(data.map(lambda image: tf.py_function(scores, [image], tf.float32)).as_numpy_iterator())
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_copies() -> None:
    clf = Classifier.from_keras(net(), labels=LABELS)
    copied_ = copy.deepcopy(clf)
    assert repr(copied_) == repr(clf) == f"Classifier.from_keras(<{clf.spec.name}>, runtime='keras')"
    np.testing.assert_allclose(copied_.predict_proba(IMAGES), clf.predict_proba(IMAGES), atol=1e-6)
    with pytest.raises(InvalidArgumentError, match=r"cannot be pickled; write it with save\(path\)"):
        pickle.dump(clf, io.BytesIO())


def test_pickles_of_names_and_bundles(tmp_path: Path) -> None:
    named = pickle.loads(pickle.dumps(Classifier("MobileNet", weights=None, alpha=0.25, labels=["a", "b"])))
    assert repr(named) == "Classifier('MobileNet', weights=None, runtime='keras', alpha=0.25)"
    assert [label.name for label in named.spec.labels] == ["a", "b"]
    Classifier.from_keras(net(), labels=LABELS).save(tmp_path / "b")
    loaded = pickle.loads(pickle.dumps(Classifier.load(tmp_path / "b")))
    assert loaded.predict(IMAGES[1]).label == "green"


FORK = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
from own_models import IMAGES, LABELS, net
from pretrained_cnn import Classifier
from pretrained_cnn.bundle import child

child.allowed = False
wrapped = Classifier.from_keras(net(), labels=LABELS)
ways = {"wrapped": lambda: wrapped, "again": lambda: Classifier("MobileNet", weights=None, alpha=0.25)}
formats = {"keras": "keras", "openvino": "openvino", "onnxruntime": "onnx", "litert": "litert"}
for runtime, format in {**formats, "tensorflow": "saved_model"}.items():
    path = f"{sys.argv[2]}/{runtime}"
    wrapped.save(path, format=format)
    loaded = Classifier.load(path)
    assert [loaded.predict(image).label for image in IMAGES] == LABELS
    ways[runtime] = lambda loaded=loaded: loaded
    ways[f"{runtime}, loaded again"] = lambda path=path: Classifier.load(path)

def work(get, answer):
    try:
        clf = get()
        answer.put(str([clf.predict(image).label for image in IMAGES]))
    except Exception as error:
        answer.put(f"{type(error).__name__}: {error}")

fork = multiprocessing.get_context("fork")
for name, get in ways.items():
    answer = fork.Queue()
    process = fork.Process(target=work, args=(get, answer), daemon=True)
    process.start()
    print(name, answer.get(timeout=60), sep="|", flush=True)
"""

EAGER = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
from own_models import IMAGES, LABELS, net
from pretrained_cnn import Classifier, InvalidArgumentError

tf.config.run_functions_eagerly(True)
clf = Classifier.from_keras(net(), labels=LABELS)
assert [clf.predict(image).label for image in IMAGES] == LABELS
assert clf.explain(IMAGES[0]).prediction.label == "red"
pairs = list(zip(IMAGES, LABELS))
for head in ("linear", "mlp"):
    assert Classifier.train(pairs, clf, validation=pairs, head=head, cache=False).evaluate(pairs).top1 > 0.3
tf.config.run_functions_eagerly(False)
tf.compat.v1.disable_eager_execution()
for ask in (clf.predict, lambda _: Classifier("MobileNet", weights=None).predict(_)):
    try:
        ask(IMAGES[0])
    except InvalidArgumentError as error:
        print(error)
"""


TF_KERAS = """
import sys
sys.path.insert(0, sys.argv[1])
import keras
import numpy as np
import tf_keras
from own_models import IMAGES, LABELS
from pretrained_cnn import Classifier

inputs = tf_keras.Input((24, 24, 3))
pooled = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.Rescaling(1 / 255)(inputs))
model = tf_keras.Model(inputs, tf_keras.layers.Dense(3, activation="softmax", use_bias=False)(pooled))
model.set_weights([12 * np.eye(3)])

model.export(sys.argv[2])
inputs = keras.Input((24, 24, 3))
layer = keras.layers.TFSMLayer(sys.argv[2], call_endpoint="serve")
clf = Classifier.from_keras(keras.Model(inputs, layer(inputs)), labels=LABELS)
assert [clf.predict(image).label for image in IMAGES] == LABELS
difference = np.abs(clf.predict_proba(IMAGES) - model(np.stack(IMAGES).astype("float32")).numpy()).max()
assert difference < 1e-6, difference
"""


def answers(program: str, *arguments: object) -> list[str]:
    """The lines that a program of its own prints."""
    command = [sys.executable, "-c", program, str(Path(__file__).parent), *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork(tmp_path: Path) -> None:
    found = dict(line.split("|") for line in answers(FORK, tmp_path))
    assert len(found) == 12
    for name, answer in found.items():
        if name.startswith(("openvino", "onnxruntime", "litert")):
            assert answer == str(LABELS), name
        else:
            assert "Error: " in answer, name
            assert "this process was forked after TensorFlow was used" in answer, name


@pytest.mark.slow
def test_with_and_without_eager_execution() -> None:
    first, second = answers(EAGER)
    assert first == second
    assert "TensorFlow builds a graph here" in first


@pytest.mark.slow
def test_models_of_keras_2(tmp_path: Path) -> None:
    """A layer of Keras 3 that runs what tf_keras exported."""
    pytest.importorskip("tf_keras", reason="tf_keras is not installed", exc_type=ImportError)
    answers(TF_KERAS, tmp_path / "exported")


# Training on top


SHADES = [np.clip(image * scale, 0, 255).astype(np.uint8) for scale in (0.7, 0.85, 1.0) for image in IMAGES]
PAIRS = list(zip(SHADES, ["rot", "grün", "blau"] * 3, strict=True))

TRAINED = [case for case in RIGHT if case.embeds and case.images is IMAGES and case.name != "Lambda"]


def check_trained(clf: Classifier) -> None:
    assert [clf.predict(image).label for image in IMAGES] == ["rot", "grün", "blau"]
    assert clf.evaluate(PAIRS).top1 == 1


@pytest.mark.parametrize("name", ["trunk and head in a model", "a convolution for a head", "layers named head"])
def test_train_on_top(name: str) -> None:
    (case,) = (case for case in TRAINED if case.name == name)
    check_trained(Classifier.train(PAIRS, wrapped(case), validation=PAIRS, cache=False))


HEADS: dict[str, dict[str, Any]] = {"linear": {}, "mlp": {"epochs": 40, "learning_rate": 0.1}}


@pytest.mark.slow
@pytest.mark.parametrize("case", TRAINED, ids=[case.name for case in TRAINED])
def test_train_on_top_of_all(case: Case) -> None:
    clf = wrapped(case)
    for head, settings in HEADS.items():
        names_from_the_start()
        check_trained(Classifier.train(PAIRS, clf, validation=PAIRS, head=head, cache=False, **settings))


@pytest.mark.parametrize("name", ["dropout", "dropout_rate", "classes", "classifier_activation"])
def test_options_of_the_head_that_is_replaced(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{name}=0.2 concerns the 1,000-class head"):
        Classifier.train("no folder", "MobileNet", head="mlp", **{name: 0.2})


# Formats


SAVED = [case for case in (*RIGHT, *BINARY, *SEVERAL) if case.formats]


@pytest.fixture(scope="module")
def nothing_to_collect() -> Iterator[None]:
    """LiteRT's converter collects garbage each time: in tests that takes longer than to convert a tiny network."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_to_collect")
@pytest.mark.parametrize("case", SAVED, ids=[case.name for case in SAVED])
def test_read_back(case: Case, tmp_path: Path) -> None:
    changes: dict[str, Any] = {}
    if case in BINARY:
        changes = {"labels": ["green", "red"]}
    elif case in SEVERAL:
        changes = {"multi_label": True}
    clf = wrapped(case, **changes)
    expected, label = clf.predict_proba(case.images), clf.predict(case.images[0]).label
    for format in case.formats:
        clf.save(tmp_path / format, format=format)
        again = Classifier.load(tmp_path / format)
        np.testing.assert_allclose(again.predict_proba(case.images), expected, atol=1e-4, err_msg=format)
        assert again.predict(case.images[0], top=1).predictions[0].label == label, format
        assert (again.spec.channels, again.spec.multi_label) == (1 if case.images is GRAYS else 3, case in SEVERAL)
        if format == "keras" and case.embeds:
            np.testing.assert_allclose(again.embed(case.images), clf.embed(case.images), atol=1e-5)


PRESETS_BY_HAND = {
    "keras_tf": lambda x: x / 127.5 - 1,
    "teachable_machine": lambda x: x / 127.5 - 1,
    "keras_caffe": lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68]),
    "keras_torch": lambda x: (x / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
    "unit": lambda x: x / 255,
    "none": lambda x: x,
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_name_says(name: str) -> None:
    model = dense_of_means()
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    clf = Classifier.from_keras(model, labels=LABELS, preprocess=name, from_logits=True)
    expected = softmax(PRESETS_BY_HAND[name](images.astype(np.float64)).mean(axis=(1, 2)) / 100)
    np.testing.assert_allclose(clf.predict_proba(list(images)), expected, atol=1e-5)
    assert clf.engine.identity() is not None, "embeddings are kept on disk"


def test_numbers_are_in_place_of_a_preset() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    numbers = {"scale": 1 / 255, "mean": [0.1, 0.2, 0.3], "std": 0.01}
    clf = Classifier.from_keras(dense_of_means(), labels=LABELS, from_logits=True, **numbers)
    fed = (images / 255 - np.array([0.1, 0.2, 0.3])) / 0.01
    np.testing.assert_allclose(clf.predict_proba(list(images)), softmax(fed.mean(axis=(1, 2)) / 100), atol=1e-4)


def test_whoever_gives_numbers_means_them() -> None:
    model = keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255), layers.GlobalAveragePooling2D(), layers.Softmax()]
    )
    Classifier.from_keras(model, labels=LABELS, scale=1 / 255)
    with pytest.raises(InvalidArgumentError, match="would scale them again"):
        Classifier.from_keras(model, labels=LABELS, preprocess="unit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preprocess": "tf"}, "preprocess='tf' is not known; choose 'keras_tf', 'keras_caffe'"),
        ({"preprocess": 3}, "preprocess=3 is neither a function nor the name of a preset"),
        ({"preprocess": "unit", "scale": 1}, "preprocess=... and scale=... are two preprocessings at once"),
        ({"mean": 0.5}, "give scale=1/255 if they are for pixel values of 0 to 1, or scale=1"),
        ({"scale": 0}, "scale=0 is not a number above 0"),
        ({"scale": 1, "mean": [1, 2]}, "mean=[1, 2] has 2 numbers; give one, or one for each channel"),
        ({"scale": 1, "std": [1, 0, 1]}, "std=0 is not a number above 0"),
    ],
)
def test_a_preprocessing_that_cannot_be_meant_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=re.escape(message)):
        Classifier.from_keras(dense_of_means(), labels=LABELS, from_logits=True, **arguments)


def test_a_preset_of_colors_does_not_fit_gray() -> None:
    gray = keras.Sequential([keras.Input((SIZE, SIZE, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    with pytest.raises(InvalidArgumentError, match="preprocess='keras_caffe' is for 3 channels"):
        Classifier.from_keras(gray, labels=LABELS, preprocess="keras_caffe")


def dense_of_means() -> keras.Model:
    """The mean of each channel, divided by 100, as logits."""
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3)])
    model.layers[-1].set_weights([np.eye(3) / 100, np.zeros(3)])
    return model
