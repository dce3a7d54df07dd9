"""Keras files that others saved: opened by their content, judged before they are believed, and right on every road."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from pretrained_cnn import Classifier, InvalidArgumentError, ModelFileError, cli
from pretrained_cnn.foreign.kinds import DAMAGED_HDF5, KERAS_HDF5, WEIGHTS, kind_of
from pretrained_cnn.foreign.labels import choose_labels
from pretrained_cnn.presets import PRESETS

COLORS = ["red", "green", "blue"]
IMAGES = [np.full((8, 8, 3), color, np.uint8) for color in ((250, 10, 10), (10, 250, 10), (10, 10, 250))]


def network(*before: Any, activation: str | None = "softmax", after: int = 1) -> keras.Model:
    """A network that names the color of an image whose values ``before`` brings to 0..1."""
    dense = layers.Dense(3, activation)
    model = keras.Sequential([keras.Input((8, 8, 3)), *before, layers.GlobalAveragePooling2D(), dense])
    dense.set_weights([np.eye(3) * 8.0 * after, np.zeros(3)])
    return model


def functional(*before: Any, **arguments: Any) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    found: Any = inputs
    for layer in before:
        found = layer(found)
    pooled = layers.GlobalAveragePooling2D()(found)
    dense = layers.Dense(3, arguments.get("activation", "softmax"))
    outputs = dense(pooled)
    dense.set_weights([np.eye(3) * 8.0, np.zeros(3)])
    return keras.Model(inputs, [outputs] if arguments.get("in_a_list") else outputs)


# name of the file, model, arguments that it needs
RIGHT: dict[str, tuple[str, Callable[[], keras.Model], dict[str, Any]]] = {
    "archive": ("a.keras", network, {"preprocess": "unit"}),
    "archive, numbers": ("a.keras", network, {"scale": 1 / 255}),
    "archive, function": ("a.keras", network, {"preprocess": lambda pixels: pixels / 255}),
    "HDF5": ("a.h5", network, {"preprocess": "unit"}),
    "HDF5 called .keras": ("a.h5", network, {"preprocess": "unit", "rename": "b.keras"}),
    "archive called .h5": ("a.keras", network, {"preprocess": "unit", "rename": "b.h5"}),
    "archive without a suffix": ("a.keras", network, {"preprocess": "unit", "rename": "b"}),
    "functional": ("a.keras", functional, {"preprocess": "unit"}),
    "output in a list": ("a.keras", lambda: functional(in_a_list=True), {"preprocess": "unit"}),
    "rescales": ("a.keras", lambda: network(layers.Rescaling(1 / 255)), {}),
    "rescales, HDF5": ("a.h5", lambda: network(layers.Rescaling(1 / 255)), {}),
    "rescales behind augmentation": (
        "a.keras",
        lambda: network(layers.RandomFlip(), layers.ZeroPadding2D(0), layers.Rescaling(1 / 255)),
        {},
    ),
    "rescales within a model": (
        "a.keras",
        lambda: network(keras.Sequential([keras.Input((8, 8, 3)), layers.Rescaling(1 / 255)])),
        {},
    ),
    "normalizes": (
        "a.keras",
        lambda: network(layers.Normalization(mean=[0.0, 0.0, 0.0], variance=[255.0**2] * 3)),
        {},
    ),
    "arithmetic": ("a.keras", lambda: functional(lambda tensor: tensor / 255.0), {}),
    "said, and done again by numbers": ("a.keras", lambda: network(layers.Rescaling(1.0 / 2)), {"scale": 2 / 255}),
    "logits": ("a.keras", lambda: network(activation=None), {"preprocess": "unit", "from_logits": True}),
    "takes 0 to 255": ("a.keras", lambda: network(layers.Activation(lambda_free_unit)), {"preprocess": "none"}),
    "optimizer of old": ("a.h5", lambda: compiled(), {"preprocess": "unit"}),
}


@keras.saving.register_keras_serializable("tests")
def lambda_free_unit(tensor: Any) -> Any:
    return tensor / 255.0


def compiled() -> keras.Model:
    model = network()
    model.compile(keras.optimizers.Adam(), "categorical_crossentropy")
    return model


@pytest.mark.parametrize("case", RIGHT)
def test_the_right_answer(case: str, tmp_path: Path) -> None:
    name, make, arguments = RIGHT[case]
    arguments = dict(arguments)
    path = tmp_path / name
    make().save(path)
    if "rename" in arguments:
        path = path.rename(tmp_path / arguments.pop("rename"))
    clf = Classifier.from_file(path, labels=COLORS, **arguments)
    assert [result.top.label for result in clf.predict_batch(IMAGES)] == COLORS
    assert min(result.top.score for result in clf.predict_batch(IMAGES)) > 0.95
    assert clf.spec.name == path.name


# the model, arguments, the sentence
REFUSED: dict[str, tuple[Callable[[], keras.Model], dict[str, Any], str]] = {
    "nothing said": (network, {}, "does not say which pixel values it was trained with"),
    "a Lambda": (
        lambda: network(layers.Lambda(lambda tensor: tensor / 255)),
        {"preprocess": "unit"},
        "is a Lambda, which runs code that comes with the file; if you trust its author, give trust=True",
    ),
    "scaled twice": (
        lambda: network(layers.Rescaling(1 / 255)),
        {"preprocess": "keras_tf"},
        "preprocess='keras_tf' would change the pixel values twice: the network itself begins with Rescaling",
    ),
    "BGR on top": (
        lambda: network(layers.Rescaling(1 / 255)),
        {"preprocess": "keras_caffe"},
        "preprocess='keras_caffe' would change the pixel values twice",
    ),
    "a preset and numbers": (network, {"preprocess": "unit", "scale": 1.0}, "two preprocessings at once"),
    "numbers without a scale": (network, {"mean": 0.5}, "need scale=...: give scale=1/255"),
    "a preset unknown": (network, {"preprocess": "tensorflow"}, "preprocess='tensorflow' is not known"),
    "logits not said": (lambda: network(activation=None), {"preprocess": "unit"}, "from_logits=True"),
    "labels missing": (network, {"preprocess": "unit", "labels": None}, "give labels=[...] with 3 names"),
    "labels too few": (
        network,
        {"preprocess": "unit", "labels": ["red", "green"]},
        "2 labels do not match the 3 classes of a.keras; one is missing",
    ),
    "axes of a graph": (network, {"preprocess": "unit", "layout": "NCHW"}, "layout=... is for files of TFLite"),
    "a signature": (network, {"preprocess": "unit", "signature": "serve"}, "signature=... is for a SavedModel"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_sentence(case: str, tmp_path: Path) -> None:
    make, arguments, message = REFUSED[case]
    make().save(path := tmp_path / "a.keras")
    with pytest.raises((InvalidArgumentError, ModelFileError)) as caught:
        Classifier.from_file(path, **{"labels": COLORS, **arguments})
    assert message in str(caught.value)


def test_each_preset_is_named_to_who_has_to_choose(tmp_path: Path) -> None:
    network().save(path := tmp_path / "a.keras")
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier.from_file(path, labels=COLORS)
    assert all(name in str(caught.value) for name in PRESETS)


class Own(layers.Layer):
    """A layer that only this file knows."""

    def call(self, inputs: Any) -> Any:
        return inputs / 255


@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_classes_that_are_not_keras_are_the_callers_or_nobodys(name: str, tmp_path: Path) -> None:
    network(Own()).save(path := tmp_path / name)
    with pytest.raises(ModelFileError, match=r"if it is your own, give custom_objects=\{.*Own"):
        Classifier.from_file(path, labels=COLORS, preprocess="none")
    clf = Classifier.from_file(path, labels=COLORS, preprocess="none", custom_objects={"Own": Own})
    assert clf.predict(IMAGES[1]).top.label == "green"


@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_code_in_a_file_runs_only_if_it_is_trusted(name: str, tmp_path: Path) -> None:
    network(layers.Lambda(lambda tensor: tensor / 255, output_shape=(8, 8, 3))).save(path := tmp_path / name)
    with pytest.raises(ModelFileError, match="Lambda, which runs code"):
        Classifier.from_file(path, labels=COLORS, preprocess="none")
    clf = Classifier.from_file(path, labels=COLORS, preprocess="none", trust=True)
    assert clf.predict(IMAGES[1]).top.label == "green"


def change_config(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description of the model in an archive."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    change(config)
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def test_a_file_that_names_functions_of_other_modules_imports_nothing(tmp_path: Path) -> None:
    network().save(path := tmp_path / "a.keras")

    def hostile(config: dict[str, Any]) -> None:
        config["config"]["layers"][-1]["config"]["activation"] = {
            "module": "os", "class_name": "function", "config": "system", "registered_name": "system",
        }  # fmt: skip

    change_config(path, hostile)
    with pytest.raises(ModelFileError, match="'system' is of os, which is not Keras"):
        Classifier.from_file(path, labels=COLORS, preprocess="unit")


def test_weights_lie_in_the_file_itself(tmp_path: Path) -> None:
    network().save(path := tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["model_weights"]["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ModelFileError, match="is a link to another file, '/etc/passwd'"):
        Classifier.from_file(path, labels=COLORS, preprocess="unit")


def test_an_archive_whose_sizes_do_not_add_up_is_not_unpacked(tmp_path: Path) -> None:
    network().save(path := tmp_path / "a.keras")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(20_000_000))
    with pytest.raises(ModelFileError, match="the sizes that it gives for its files do not add up"):
        Classifier.from_file(path, labels=COLORS, preprocess="unit")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_damage_is_a_sentence(name: str, tmp_path: Path) -> None:
    """Whatever is changed in a file: the answer of the whole one, or an error of ours."""
    network().save(path := tmp_path / name)
    expected = Classifier.from_file(path, labels=COLORS, preprocess="unit").predict_proba(IMAGES)
    whole, generator, same = path.read_bytes(), np.random.default_rng(0), 0
    for place in generator.integers(0, len(whole), 25):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = Classifier.from_file(path, labels=COLORS, preprocess="unit").predict_proba(IMAGES)
        except (ModelFileError, InvalidArgumentError):
            continue
        same += np.array_equal(found, expected)
    assert same, "most bytes of a small file are of no consequence"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ModelFileError, InvalidArgumentError), match="damaged"):
        Classifier.from_file(path, labels=COLORS, preprocess="unit")


LABELS = {
    "a list": COLORS,
    "a mapping": {"blue": 2, "red": 0, "green": 1},
    "lines": "red\ngreen\n\nblue\n",
    "lines with numbers": "0 red\n1 green\n2 blue\n",
    "out of order": "2: blue\n0: red\n1: green\n",
    "with a byte order mark": "\ufeffred\r\ngreen\r\nblue\r\n",
    "JSON": '["red", "green", "blue"]',
    "JSON, by name": '{"red": 0, "green": 1, "blue": 2}',
}


def test_labels_as_people_have_them(tmp_path: Path) -> None:
    network().save(path := tmp_path / "a.keras")
    for case, labels in LABELS.items():
        given: Any = labels
        if isinstance(labels, str):
            given = tmp_path / "labels.txt"
            given.write_text(labels, "utf-8")
        clf = Classifier.from_file(path, labels=given, preprocess="unit")
        assert [label.name for label in clf.spec.labels] == COLORS, case
    assert Classifier.from_file(path, labels="numbers", preprocess="unit").predict(IMAGES[2]).top.label == "2"


# labels, the number of outputs, and a part of the sentence
COUNTS: list[tuple[Any, int, str]] = [
    (
        ["a", "b"],
        3,
        "2 labels do not match the 3 classes of m.tflite; one is missing: networks of TensorFlow often have",
    ),
    (["background", "a", "b", "c"], 3, "the network has no class 'background': leave this first label out"),
    (
        ["Class", "a", "b", "c"],
        3,
        "one is too many: look for a heading or an empty class (the first one here is 'Class')",
    ),
    (["a"], 3, "give 3 names in the order of the outputs"),
    (["background", "a"], 3, "give 3 names in the order of the outputs"),
    (None, 3, "m.tflite does not name its classes; give labels=[...] with 3 names"),
    (None, 1, "give labels=[...] with 2 names"),
]


@pytest.mark.parametrize(("labels", "outputs", "message"), COUNTS, ids=lambda value: None)
def test_another_number_of_labels(labels: Any, outputs: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        choose_labels(labels, outputs, "m.tflite")
    assert message in str(caught.value)


def test_names_of_labels_stay_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        "background",
        "Danaus plexippus (Monarch)",
        "Vanessa atalanta (Red Admiral)",
        "crane",
        "crane",
        "Buddha's Han...",
    ]
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    labels = choose_labels(tmp_path / "labels.txt", 6, "m.tflite")
    assert [label.name for label in labels] == lines
    assert [label.id for label in labels] == [*lines[:3], "3", "4", lines[5]]
    for outputs, first in ((1000, "n01440764"), (1001, "background")):
        labels = choose_labels(None, outputs, "m.tflite")
        assert (len(labels), labels[0].id) == (outputs, first)
        assert f"m.tflite has {outputs} outputs and no labels: ImageNet's are taken" in caplog.text


def test_the_other_doors_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network().save(path := tmp_path / "a.keras")
    assert Classifier(path, labels=COLORS, preprocess="unit").predict(IMAGES[0]).top.label == "red"
    with pytest.raises(InvalidArgumentError, match=r"alpha=\.\.\. is not known of a model file"):
        Classifier(path, labels=COLORS, preprocess="unit", alpha=1)
    with pytest.raises(InvalidArgumentError, match="a model file has its own"):
        Classifier(path, labels=COLORS, weights=None)

    Image.fromarray(IMAGES[1]).save(tmp_path / "green.png")
    (tmp_path / "labels.txt").write_text("\n".join(COLORS))
    words = ["--model", str(path), "--labels", str(tmp_path / "labels.txt"), "--scale", "1/255"]
    assert cli.main(["classify", str(tmp_path / "green.png"), *words, "--top", "1"]) == 0
    assert "green" in capsys.readouterr().out
    assert cli.main(["classify", str(tmp_path / "green.png"), "--model", "MobileNet", "--scale", "1"]) == 2
    assert "--scale is for a model file, which --model is not" in capsys.readouterr().err
    bundle = str(tmp_path / "b")
    assert cli.main(["export", *words, "--output", bundle, "--format", "keras"]) == 0
    assert Classifier.load(bundle).predict(IMAGES[1]).top.label == "green"


def test_everything_works_on_it(tmp_path: Path) -> None:
    mix = layers.Conv2D(3, 1, use_bias=False)
    model = network(mix)
    mix.set_weights([np.eye(3)[np.newaxis, np.newaxis]])
    model.save(path := tmp_path / "a.keras")
    clf = Classifier.from_file(path, labels=COLORS, preprocess="unit")
    assert clf.embed(IMAGES).shape == (3, 3)
    assert clf.explain(IMAGES[0]).heat_map.max() <= 1
    pairs = list(zip(IMAGES, COLORS, strict=True))
    assert clf.evaluate(pairs).top1 == 1
    again = Classifier.train(pairs, path, pairs, preprocess="unit", cache=False)
    assert [result.top.label for result in again.predict_batch(IMAGES)] == COLORS


@pytest.mark.slow
@pytest.mark.child
def test_a_file_is_tried_in_a_child_process_first(tmp_path: Path) -> None:
    """What crashes there is an error. A file with classes of this program is loaded here, where these are known."""
    here = f"__import__('os').getpid() == {os.getpid()}"
    crash = eval(f"lambda x: x if {here} else __import__('os').kill(__import__('os').getpid(), 11)")
    network(layers.Lambda(crash, output_shape=(8, 8, 3))).save(path := tmp_path / "crash.keras")
    with pytest.raises(ModelFileError, match=r"crash\.keras is damaged, or too large.*ended by SIGSEGV"):
        Classifier.from_file(path, labels=COLORS, preprocess="unit", trust=True)

    network(Own()).save(path := tmp_path / "own.h5")
    clf = Classifier.from_file(path, labels=COLORS, preprocess="none", custom_objects={"Own": Own})
    assert clf.predict(IMAGES[1]).top.label == "green"


def test_hdf5_of_each_version_is_known_by_its_bytes(tmp_path: Path) -> None:
    for version in ("earliest", "v110", "latest"):
        with h5py.File(path := tmp_path / f"{version}.h5", "w", libver=version) as file:
            file["kernel"] = np.zeros(3)
            file.attrs.create("backend", "tensorflow")
        assert kind_of(path) == WEIGHTS, version
        with h5py.File(path, "a", libver=version) as file:
            file.attrs["model_config"] = "{}"
        assert kind_of(path) == KERAS_HDF5, version
        path.write_bytes(path.read_bytes()[:-100])
        assert kind_of(path) == DAMAGED_HDF5, version


def published(assets: Path) -> tuple[Path, list[dict[str, Any]]]:
    folder = assets.parent / "cases" / "models"
    return folder, json.loads((folder / "golden.json").read_text("utf-8"))["models"]


@pytest.mark.slow
def test_published_files_give_their_right_answers(assets: Path) -> None:
    folder, models = published(assets)
    kept = [model for model in models if not model["file"].endswith(".tflite")]
    assert len(kept) == 3
    for model in kept:
        numbers = {name: model["preprocess"][name] for name in ("scale", "mean", "std")}
        clf = Classifier.from_file(folder / model["file"], labels=model["labels"], **numbers)
        for picture in model["pictures"]:
            found = clf.predict_proba([folder / "pictures" / picture["picture"]])[0]
            within = 1e-4 if picture["exact"] else 0.05
            np.testing.assert_allclose(found, picture["scores"], atol=within, err_msg=picture["picture"])


def test_names_say_which_file_it_was(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    (tmp_path / "a.npy").write_bytes(stream.getvalue())
    with pytest.raises(InvalidArgumentError, match=r"a\.npy' is arrays of NumPy without the network"):
        Classifier.from_file(tmp_path / "a.npy")
    with pytest.raises(InvalidArgumentError, match="is named like an image, not like a model"):
        Classifier.from_file("examples/images/clock.png")
