"""Files of Keras 2 and models of tf_keras: rebuilt in Keras 3, and right only if tf_keras says the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from mutated_models import survive

from pretrained_cnn import BundleError, Classifier, MissingDependencyError, ModelFileError
from pretrained_cnn.foreign import keras2
from pretrained_cnn.foreign.keras2_operations import FUNCTIONS

tf_keras = pytest.importorskip("tf_keras")
tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
layers = tf_keras.layers

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), np.uint8)
LABELS = ["a", "b", "c"]


def trunk() -> Any:
    """As the networks of `keras.applications` are made: a slash in a name, depthwise convolutions, normalizations."""
    inputs = tf_keras.Input((12, 12, 3))
    found = layers.DepthwiseConv2D(3, name="expanded/depthwise")(inputs)
    found = layers.BatchNormalization(moving_mean_initializer="random_normal")(found)
    return tf_keras.Model(inputs, layers.ReLU(6.0)(found))


def teachable_machine() -> Any:
    features = tf_keras.Sequential([trunk(), layers.GlobalAveragePooling2D()])
    head = [layers.Dense(5, "relu", input_shape=(3,)), layers.Dense(3, "softmax", use_bias=False)]
    return tf_keras.Sequential([features, tf_keras.Sequential(head)])


def arithmetic() -> Any:
    inputs = tf_keras.Input((12, 12, 3))
    scaled = (1.0 - inputs / [127.0, 128.0, 129.0]) * 2.0 + [0.1, 0.2, 0.3]
    found = layers.DepthwiseConv2D(3)(scaled) + layers.Conv2D(3, 3)(inputs)
    return tf_keras.Model(inputs, layers.Dense(3, "softmax")(layers.Flatten()(found)))


def fine_tuned() -> Any:
    inner, inputs = trunk(), tf_keras.Input((12, 12, 3))
    inner.trainable = False
    found = layers.GlobalMaxPooling2D()(inner(inputs / 127.5 - 1.0, training=False))
    return tf_keras.Model(inputs, layers.Dense(3, "softmax")(layers.Dropout(0.2)(found)))


def operations() -> Any:
    """Operations of TensorFlow that change values and shapes, with constants and with tensors."""
    inputs = tf_keras.Input((12, 12, 3))
    found = inputs[..., ::-1][:, 1:-1, 1:11]
    found = tf.pad(tf.cast(tf.image.resize(found, (8, 8)), tf.float32), [[0, 0], [1, 1], [1, 1], [0, 0]])
    one, two = tf.split(found, [1, 2], axis=-1)
    found = tf.concat([one, two], axis=-1)
    found = tf.nn.relu(found - 100.0) + tf.math.sqrt(tf.abs(found))
    found = tf.reduce_max(tf.stack([found, found / 2.0], axis=1), axis=1)
    found = tf.reshape(tf.transpose(tf.clip_by_value(found, 0.0, 99.0), [0, 3, 1, 2]), [-1, 3, 100])
    found = tf.math.l2_normalize(tf.reduce_mean(found, axis=2), axis=1) @ tf.constant([[1.0, 2.0, 3.0]] * 3)
    found = tf.maximum(found, 0.1)
    found = -(tf.where(found > 1.0, found, 2 * found) ** 2)
    found = layers.LeakyReLU(alpha=0.2)(layers.ThresholdedReLU(theta=0.1)(found) + found)
    return tf_keras.Model(inputs, tf.nn.softmax(layers.Dense(3)(found)))


# the model, and what the caller says about pixels; the arithmetic of the last one says it
MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "teachable machine": (teachable_machine, {"preprocess": "teachable_machine"}),
    "arithmetic": (arithmetic, {"preprocess": "none"}),
    "fine-tuned": (fine_tuned, {}),
    "operations": (operations, {"preprocess": "none"}),
}


@pytest.mark.parametrize(
    ("case", "name"),
    [
        *((case, name) for case in MODELS for name in ("a.h5", "a.keras") if case != "operations"),
        ("operations", "a.h5"),  # Keras 2 cannot write an Ellipsis into an archive
    ],
)
def test_the_answer_of_tf_keras(case: str, name: str, tmp_path: Path) -> None:
    make, arguments = MODELS[case]
    model = make()
    model.save(path := tmp_path / name)
    pixels = IMAGES.astype(np.float32)
    expected = model(pixels / 127.5 - 1 if case == "teachable machine" else pixels).numpy()
    clf = Classifier.from_file(path, labels=LABELS, **arguments)
    np.testing.assert_allclose(clf.predict_proba(IMAGES), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.child
def test_what_a_child_process_rebuilt_is_used_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = arithmetic()
    model.save(path := tmp_path / "a.h5")
    monkeypatch.setattr(keras2, "rebuild", None)
    clf = Classifier.from_file(path, labels=LABELS, preprocess="none")
    np.testing.assert_allclose(clf.predict_proba(IMAGES), model(IMAGES.astype(np.float32)).numpy(), atol=1e-6)
    assert clf.embed(IMAGES).shape[0] == len(IMAGES)


def test_everything_works_on_it(tmp_path: Path) -> None:
    model = teachable_machine()
    model.save(path := tmp_path / "a.h5")
    clf = Classifier.from_file(path, labels=LABELS, preprocess="teachable_machine")
    expected = model(IMAGES / np.float32(127.5) - 1).numpy()
    assert clf.embed(IMAGES).shape == (3, 5)
    assert clf.explain(IMAGES[0]).heat_map.shape
    clf.save(tmp_path / "b")
    np.testing.assert_allclose(Classifier.load(tmp_path / "b").predict_proba(IMAGES), expected, atol=1e-6)


def test_an_archive_that_was_written_on_windows(tmp_path: Path) -> None:
    """Its groups are called ``layers\\conv2d``, which tf_keras does not read."""
    import zipfile

    model = tf_keras.Sequential(
        [layers.Conv2D(4, 3, input_shape=(12, 12, 3)), layers.Flatten(), layers.Dense(3, "softmax")]
    )
    model.save(path := tmp_path / "a.keras")
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "w.h5").write_bytes(content["model.weights.h5"])
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        for name in list(file["layers"]):
            file.move(f"layers/{name}", f"layers\\{name}")
        del file["layers"]
    content["model.weights.h5"] = (tmp_path / "w.h5").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    clf = Classifier.from_file(path, labels=LABELS, preprocess="none")
    np.testing.assert_allclose(clf.predict_proba(IMAGES), model(IMAGES.astype(np.float32)).numpy(), atol=1e-6)


def test_what_differs_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that tf_keras runs gives the answer, and says why it cannot do all else."""
    model = fine_tuned()
    model.save(path := tmp_path / "a.h5")
    monkeypatch.setitem(FUNCTIONS, "math.subtract", lambda x, y: x - y + 0.5)
    clf = Classifier.from_file(path, labels=LABELS)
    np.testing.assert_allclose(clf.predict_proba(IMAGES), model(IMAGES.astype(np.float32)).numpy(), atol=1e-6)
    with pytest.raises(BundleError, match=r"rebuilt in Keras 3, it differs from tf_keras by .*cannot be explained"):
        clf.explain(IMAGES[0])


def test_one_answer_to_everything_leaves_the_weights_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = teachable_machine()
    model.layers[0].layers[0].set_weights([weight * 0 for weight in model.layers[0].layers[0].get_weights()])
    model.save(path := tmp_path / "a.h5")
    clf = Classifier.from_file(path, labels=LABELS, preprocess="none")
    assert np.ptp(clf.predict_proba(IMAGES), axis=0).max() == 0
    weights = keras2._compare_weights
    monkeypatch.setattr(keras2, "_compare_weights", lambda ours, theirs: weights(ours, fine_tuned()))
    with pytest.raises(BundleError, match="its weights are not the same"):
        Classifier.from_file(path, labels=LABELS, preprocess="none").explain(IMAGES[0])


def sorting(function: Callable[[Any], Any] = tf.sort) -> Any:
    """A network with an operation that Keras 3 does not have."""
    inputs = tf_keras.Input((12, 12, 3))
    found = layers.Flatten()(layers.DepthwiseConv2D(3)(function(inputs)))
    return tf_keras.Model(inputs, layers.Dense(3, "softmax")(found))


class Own(tf_keras.Model):  # type: ignore[misc]  # tf_keras has no types
    """A model by a class of the caller's program."""

    def __init__(self) -> None:
        super().__init__()
        self.body = trunk()
        self.head = layers.Dense(3, "softmax")

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.head(layers.Flatten()(self.body(inputs / 255.0, training=training)))


@pytest.mark.parametrize("source", ["file", "object", "subclass"])
def test_what_cannot_be_rebuilt_is_run_as_a_graph(source: str, tmp_path: Path) -> None:
    model = Own() if source == "subclass" else sorting()
    expected = model(IMAGES.astype(np.float32)).numpy()
    if source == "file":
        model.save(path := tmp_path / "a.h5")
        clf = Classifier.from_file(path, labels=LABELS, preprocess="none")
    else:
        clf = Classifier.from_keras(model, labels=LABELS)
    np.testing.assert_allclose(clf.predict_proba(IMAGES), expected, atol=1e-6)
    pairs = list(zip(IMAGES, [LABELS[row.argmax()] for row in expected], strict=True))
    assert clf.evaluate(pairs).top1 == 1
    clf.save(tmp_path / "b")
    again = Classifier.load(tmp_path / "b")
    np.testing.assert_allclose(again.predict_proba(IMAGES), expected, atol=1e-6)
    reason = "requires the model to be" if source == "subclass" else "the operation 'sort' of TensorFlow is not known"
    with pytest.raises(BundleError, match=rf"cannot be rebuilt in Keras 3: .*{reason}"):
        again.explain(IMAGES[0])
    assert again.embed(IMAGES).shape == (3, 300)
    if source != "subclass":
        before = tf_keras.Model(model.input, model.layers[-2].output)
        np.testing.assert_allclose(again.embed(IMAGES), before(IMAGES.astype(np.float32)).numpy(), rtol=1e-5)


def test_a_function_that_does_more_than_compute_is_not_called(tmp_path: Path) -> None:
    """tf_keras would call it, also on loading."""
    sorting().save(path := tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace(
            '"function": "sort"', '"function": "io.read_file"'
        )
    with pytest.raises(ModelFileError, match=r"the function 'io\.read_file' of TensorFlow may do more than compute"):
        Classifier.from_file(path, labels=LABELS, preprocess="none")


@pytest.mark.parametrize("case", MODELS)
def test_an_object_of_tf_keras_takes_the_same_road(case: str) -> None:
    make, arguments = MODELS[case]
    model = make()
    pixels = IMAGES.astype(np.float32)
    expected = model(pixels / 127.5 - 1 if case == "teachable machine" else pixels).numpy()
    clf = Classifier.from_keras(model, labels=LABELS, **arguments)
    np.testing.assert_allclose(clf.predict_proba(IMAGES), expected, atol=1e-6)
    assert clf.embed(IMAGES).shape[0] == len(IMAGES)
    assert clf.spec.name == model.name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras2.h5", "keras2.keras"])
def test_mutated_files(kind: str) -> None:
    """A changed file is opened, or one of our errors, unless it ends the process, which is a child's elsewhere."""
    ends, failures = survive(kind, 250)
    assert not failures
    assert ends["opened"], "no changed file was opened: the changes are too hard"
    assert ends["error"], "no change did any harm: the changes are too weak"


def test_without_tf_keras_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teachable_machine().save(path := tmp_path / "a.h5")
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pretrained-cnn\[keras2\]"'):
        Classifier.from_file(path, labels=LABELS, preprocess="teachable_machine")
