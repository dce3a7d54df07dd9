"""Bundles: what is saved is what is loaded, and what was touched is refused by name."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pretrained_cnn
from pretrained_cnn import (
    BundleError,
    Classifier,
    ImagePolicy,
    InvalidArgumentError,
    MissingDependencyError,
    ModelSpec,
    RuntimeSpec,
    get_spec,
)
from pretrained_cnn._files import sha256
from pretrained_cnn.bundle import export
from pretrained_cnn.bundle.formats import FORMATS, base, get_format, list_formats
from pretrained_cnn.bundle.manifest import FileInfo, Manifest
from pretrained_cnn.bundle.store import open_bundle, verify, write_bundle
from pretrained_cnn.cli import main
from pretrained_cnn.runtimes import RUNTIMES, runtime_for
from pretrained_cnn.testing import RuntimeConformance

SPEC: ModelSpec = RuntimeConformance.spec
RUNTIME_OF = {
    "keras": "keras",
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "litert": "litert",
    "saved_model": "tensorflow",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bundle of each format, written once."""
    folder, clf = tmp_path_factory.mktemp("bundles"), Classifier(SPEC)

    def bundle(format: Any) -> Path:
        path: Path = folder / format
        if not path.exists():
            clf.save(path, format=format)
        return path

    return bundle


@pytest.fixture
def copied(saved: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """The same, to be damaged."""
    return lambda format: Path(shutil.copytree(saved(format), tmp_path / format))


# What is saved is what is loaded


@pytest.mark.parametrize(("format", "runtime"), RUNTIME_OF.items())
def test_a_bundle_answers_as_its_classifier(
    format: str, runtime: str, saved: Callable[[str], Path], eight_photos: list[Path]
) -> None:
    before, after = Classifier(SPEC), Classifier.load(saved(format))
    np.testing.assert_allclose(after.predict_proba(eight_photos), before.predict_proba(eight_photos), atol=1e-4, rtol=0)
    for old, new in zip(before.predict_batch(eight_photos), after.predict_batch(eight_photos), strict=True):
        assert [p[:2] for p in new] == [p[:2] for p in old]
    assert after.spec.labels == SPEC.labels
    assert (after.spec.name, after.spec.input_size, after.spec.resize) == (SPEC.name, SPEC.input_size, SPEC.resize)
    assert repr(after) == f"Classifier.load({str(saved(format))!r}, runtime={runtime!r})"


@pytest.mark.parametrize("format", RUNTIME_OF)
def test_what_is_in_a_bundle(format: str, saved: Callable[[str], Path]) -> None:
    path = saved(format)
    manifest = json.loads((path / "manifest.json").read_text())
    files = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert set(manifest["files"]) == files - {"manifest.json"}
    assert {"labels.json", "check.npz", get_format(format).file} <= files | {"model"}
    assert manifest["format_version"] == 4
    for name, info in manifest["files"].items():
        assert info["bytes"] == (path / name).stat().st_size
    assert (manifest["input_shape"], manifest["outputs"]) == ([None, 40, 24, 3], {"scores": [None, 7]})
    assert (manifest["channels"], manifest["kind"], manifest["thresholds"]) == (3, "exclusive", None)
    assert (manifest["dtype"], manifest["calibration"], manifest["license"]) == ("float32", None, None)
    assert manifest["check"]["same_top1"] == 1.0
    assert manifest["check"]["largest_difference"] <= manifest["tolerance"] == 1e-4
    assert {"keras", "tensorflow"} <= manifest["versions"].keys()
    assert manifest["library"] == pretrained_cnn.__version__
    assert path.stat().st_mode & 0o777 == 0o777 & ~_umask()
    with np.load(path / "check.npz", allow_pickle=False) as check:
        assert check["images"].shape == (4, 40, 24, 3)
        assert np.ptp(check["scores"], axis=0).max() > 0.1, "the four images tell nothing apart"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_only_a_keras_bundle_has_more_than_scores(saved: Callable[[str], Path]) -> None:
    image = np.zeros((40, 24, 3), np.uint8)
    whole = Classifier.load(saved("keras"))
    np.testing.assert_array_equal(whole.embed([image]), Classifier(SPEC).embed([image]))
    clf = Classifier.load(saved("openvino"))
    with pytest.raises(BundleError, match=r'gives scores only, not embedding; write it with save\(output=\["scores"'):
        clf.embed([image])
    with pytest.raises(BundleError, match="gives scores only, not embedding"):
        Classifier.train([(image, "dark"), (image + 200, "bright")], clf, cache=False)
    with pytest.raises(BundleError, match=r"is of format='openvino' and gives scores only; .* format=\"keras\""):
        clf.keras_model  # noqa: B018


def test_a_bundle_without_keras_is_saved_as_it_is(saved: Callable[[str], Path], tmp_path: Path) -> None:
    clf = Classifier.load(saved("openvino"), image_policy=ImagePolicy(max_pixels=10_000))
    assert clf.save(tmp_path / "again").largest_difference == 0
    first, again = open_bundle(saved("openvino")), open_bundle(tmp_path / "again")
    assert again.model_checksums() == first.model_checksums()
    assert (again.spec.labels, again.manifest.outputs) == (first.spec.labels, first.manifest.outputs)
    assert again.image_policy == ImagePolicy(max_pixels=10_000)
    image = np.zeros((40, 24, 3), np.uint8)
    others: list[dict[str, Any]] = [{"format": "keras"}, {"dtype": "float16"}, {"output": "embedding"}]
    for arguments in (*others, {"quantize": [image]}):
        with pytest.raises(
            BundleError, match=rf"so it can be saved as it is, without {next(iter(arguments))}=\.\.\.; "
        ):
            clf.save(tmp_path / "other", **arguments)


def test_embeddings_travel_too(tmp_path: Path) -> None:
    image = np.full((40, 24, 3), 99, np.uint8)
    before = Classifier(SPEC)
    before.save(tmp_path / "e", format="onnx", output="embedding")
    after = Classifier.load(tmp_path / "e")
    np.testing.assert_allclose(after.embed([image]), before.embed([image]), rtol=1e-4, atol=1e-4)
    assert after.embed([]).shape == before.embed([]).shape
    with pytest.raises(BundleError, match="gives embedding only"):
        after.predict(image)


def test_a_keras_bundle_is_trained_further(saved: Callable[[str], Path]) -> None:
    clf = Classifier.load(saved("keras"))
    model = clf.keras_model
    assert model.trainable_weights
    assert clf.spec.preprocess is not None
    before = clf.predict_proba([np.zeros((40, 24, 3), np.uint8)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    pixels = clf.spec.preprocess(np.zeros((4, 40, 24, 3), np.float32))
    model.fit(pixels, np.zeros(4), verbose=0)
    assert not np.array_equal(clf.predict_proba([np.zeros((40, 24, 3), np.uint8)]), before)


def test_a_keras_bundle_takes_any_runtime(saved: Callable[[str], Path], eight_photos: list[Path]) -> None:
    expected = Classifier(SPEC).predict_proba(eight_photos)
    clf = Classifier.load(saved("keras"), runtime="openvino")
    np.testing.assert_allclose(clf.predict_proba(eight_photos), expected, atol=1e-4, rtol=0)
    with pytest.raises(BundleError, match="is of format='onnx', which runtime='litert' does not execute; leave"):
        Classifier.load(saved("onnx"), runtime="litert")


def test_how_images_are_read_is_saved_too(tmp_path: Path) -> None:
    image_policy = ImagePolicy(background=(0, 0, 255), max_pixels=10_000, color_profile="ignore")
    Classifier(SPEC, image_policy=image_policy).save(tmp_path / "b")
    assert Classifier.load(tmp_path / "b").engine.image_policy == image_policy
    assert Classifier.load(tmp_path / "b", image_policy=ImagePolicy()).engine.image_policy == ImagePolicy()


@pytest.mark.slow
def test_a_trunk_is_saved_for_its_embeddings(keras_home: Path, tmp_path: Path, clock: Path) -> None:
    file = keras_home / "models" / get_spec("MobileNet").weights_file(has_head=False, options={"alpha": 0.25}).name
    trunk = Classifier("MobileNet", alpha=0.25, weights=file)
    for format in ("keras", "openvino"):
        trunk.save(tmp_path / format, format=format)
        loaded = Classifier.load(tmp_path / format)
        np.testing.assert_allclose(loaded.embed([clock]), trunk.embed([clock]), atol=1e-4)
        with pytest.raises(OSError, match="embed"):
            loaded.predict(clock)


def test_sixteen_bits_are_half_the_size(saved: Callable[[str], Path], tmp_path: Path) -> None:
    agreement = Classifier(SPEC).save(tmp_path / "b", format="openvino", dtype="float16")
    assert 0 < agreement.largest_difference < 0.05
    assert (tmp_path / "b" / "model.bin").stat().st_size < 0.6 * (saved("openvino") / "model.bin").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize(("format", "file"), [("openvino", "model.bin"), ("litert", "model.tflite")])
def test_sixteen_bits_of_a_real_network(format: Any, file: str, tmp_path: Path, clock: Path) -> None:
    clf = Classifier("EfficientNetLite0")
    clf.save(tmp_path / "32", format=format)
    clf.save(tmp_path / "16", format=format, dtype="float16")
    assert (tmp_path / "16" / file).stat().st_size < 0.55 * (tmp_path / "32" / file).stat().st_size
    assert Classifier.load(tmp_path / "16").predict(clock).top.label == "analog_clock"


@pytest.mark.slow
def test_eight_bits_agree_on_the_images_they_were_made_by(
    keras_home: Path, labeled: list[tuple[Path, str]], tmp_path: Path
) -> None:
    clf, photos = Classifier("MobileNet"), [photo for photo, _ in labeled]
    agreement = clf.save(tmp_path / "b", format="openvino", quantize=photos)
    assert agreement.images == 20, "a fifth is held back"
    assert agreement.same_top1 >= 0.95
    assert (tmp_path / "b" / "model.bin").stat().st_size < 4.5e6
    quantized = Classifier.load(tmp_path / "b").predict_batch(photos, top=1)
    right = sum(result.top.id == wnid for result, (_, wnid) in zip(quantized, labeled, strict=True))
    assert right >= 88
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["check"] == dataclasses.asdict(agreement)


@pytest.mark.parametrize("format", RUNTIME_OF)
def test_both_outputs_in_one_pass_and_no_others(format: str, tmp_path: Path, eight_photos: list[Path]) -> None:
    clf = Classifier(SPEC)
    check = clf.save(tmp_path / "b", format=format, output=["scores", "embedding"])
    assert check.largest_difference < 1e-4
    bundle = open_bundle(tmp_path / "b")
    assert bundle.manifest.outputs == {"scores": [None, 7], "embedding": [None, 16]}
    assert sorted(bundle.format.outputs(bundle.model_path)) == ["embedding", "scores"]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 24, 3), np.uint8)
    expected = {"scores": clf.predict_proba(list(pixels)), "embedding": clf.embed(list(pixels))}
    for names in (("scores", "embedding"), ("embedding", "scores"), ("embedding",)):
        runtime = bundle.open(outputs=names)
        for name, found in zip(names, runtime.run(pixels), strict=True):
            np.testing.assert_allclose(found, expected[name], atol=1e-4, rtol=1e-4)
    after = Classifier.load(tmp_path / "b")
    np.testing.assert_allclose(after.predict_proba(eight_photos), clf.predict_proba(eight_photos), atol=1e-4, rtol=0)
    np.testing.assert_allclose(after.embed(eight_photos), clf.embed(eight_photos), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("format", RUNTIME_OF)
def test_a_model_with_an_output_that_nobody_asked_for_is_not_saved(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a converter does, and in each format."""
    from pretrained_cnn.bundle import export

    convert = export.convert

    def convert_more(graph: keras.Model, *arguments: Any, **options: Any) -> list[str]:
        return convert(
            keras.Model(graph.inputs, {**graph.output, "logits": graph.output["scores"] * 2}), *arguments, **options
        )

    monkeypatch.setattr(export, "convert", convert_more)
    message = rf"was not saved: in format='{format}' it gives the outputs .*logits.* \(2\), and exactly scores were"
    refused(tmp_path, BundleError, message, Classifier(SPEC), format=format)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetV2B0"])
def test_silu_adds_no_outputs(name: str, tmp_path: Path) -> None:
    """OpenVINO reads the operation that carries silu's gradient so that each activation becomes an output."""
    Classifier(name, weights=None, input_size=(64, 64)).save(tmp_path / "b", format="openvino")
    bundle = open_bundle(tmp_path / "b")
    assert bundle.format.outputs(bundle.model_path) == ["scores"]


def test_silu_adds_no_outputs_to_a_small_network(tmp_path: Path) -> None:
    """The same, quickly: a part of EfficientNet, without its 1,000 classes."""

    def build(input_shape: tuple[int, int, int]) -> keras.Model:
        trunk = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=input_shape)
        x = keras.layers.GlobalAveragePooling2D()(trunk.get_layer("block2a_expand_activation").output)
        return keras.Model(trunk.inputs, keras.layers.Dense(7, activation="softmax")(x))

    Classifier(SPEC.replace(builder=build, preprocess=None, input_size=(32, 32))).save(
        tmp_path / "b", format="openvino"
    )
    bundle = open_bundle(tmp_path / "b")
    assert bundle.format.outputs(bundle.model_path) == ["scores"]


def test_a_bundle_is_replaced_where_it_is_asked_for(saved: Callable[[str], Path], tmp_path: Path) -> None:
    path = Path(shutil.copytree(saved("onnx"), tmp_path / "b"))
    Classifier(SPEC).save(path, format="keras", overwrite=True)
    assert Classifier.load(path).runtime == "keras"
    assert [file.name for file in tmp_path.iterdir()] == ["b"]
    assert not (path / "model.onnx").exists()
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(InvalidArgumentError, match="min_agreement"):
        Classifier(SPEC).save(path, overwrite=True, min_agreement=-1)
    assert (path / "manifest.json").read_bytes() == before
    (tmp_path / "photos").mkdir()
    with pytest.raises(BundleError, match="photos is not a bundle, so it is not replaced"):
        Classifier(SPEC).save(tmp_path / "photos", overwrite=True)


def test_arrays_of_a_calibration_are_kept_and_checked(tmp_path: Path) -> None:
    from pretrained_cnn.backbones.build import build
    from pretrained_cnn.backbones.serving import serving_graph

    arrays = {"quantiles": np.linspace(0, 1, 5), "embeddings": np.ones((2, 16), np.float32)}
    graph = serving_graph(build(SPEC), ["scores", "embedding"])
    write_bundle(tmp_path / "b", graph, SPEC, ImagePolicy(), format="onnx", calibration=arrays)
    bundle = open_bundle(tmp_path / "b")
    assert bundle.manifest.calibration == {"quantiles": [5], "embeddings": [2, 16]}
    found = bundle.calibration()
    assert found is not None
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    (tmp_path / "b" / "calibration.npz").write_bytes(b"")
    with pytest.raises(BundleError, match=r"calibration\.npz was changed or cut: it has 0 of "):
        open_bundle(tmp_path / "b")


class Text(base.Format):
    """A format of a plugin: the scores of the network for black, as text."""

    name = "text"
    file = "model.txt"

    def write(self, graph: keras.Model, path: Path, spec: ModelSpec, *, dtype: Any, images: Any) -> None:
        scores = graph(np.zeros((1, *graph.input_shape[1:]), np.uint8))["scores"]
        np.savetxt(path, keras.ops.convert_to_numpy(scores), header="scores")

    def outputs(self, path: Path) -> list[str]:
        return path.read_text().splitlines()[0].removeprefix("#").split()


class TextRuntime:
    """Runs it: whatever comes in, the scores for black."""

    def __init__(self, path: Path, outputs: Any) -> None:
        assert list(outputs) == ["scores"]
        self.scores = np.loadtxt(path, dtype=np.float32)

    def run(self, batch: Any) -> Any:
        return (np.tile(self.scores, (len(batch), 1)),)

    def close(self) -> None:
        pass


TEXT = Text()
TEXT_RUNTIME = RuntimeSpec(name="text-runner", factory=TextRuntime, format="text")


def test_a_plugin_brings_a_format_of_its_own(tmp_path: Path) -> None:
    points = (EntryPoint("text", "test_bundles:TEXT", FORMATS.group),)
    runtimes = (EntryPoint("text-runner", "test_bundles:TEXT_RUNTIME", RUNTIMES.group),)
    with FORMATS.temporary(points), RUNTIMES.temporary(runtimes):
        assert list_formats()[-1] == "text"
        black = np.zeros((40, 24, 3), np.uint8)
        clf = Classifier(SPEC)
        with pytest.raises(BundleError, match="does not agree with the network, and was not saved"):
            clf.save(tmp_path / "b", format="text")  # it gives the same scores whatever comes in
        constant = Classifier(SPEC.replace(builder=build_constant, preprocess=None))
        constant.save(tmp_path / "b", format="text")
        loaded = Classifier.load(tmp_path / "b")
        assert loaded.runtime == "text-runner"
        np.testing.assert_allclose(loaded.predict_proba([black]), constant.predict_proba([black]), atol=1e-6)
        converted = Classifier(SPEC.replace(builder=build_constant, preprocess=None), runtime="text-runner")
        np.testing.assert_allclose(converted.predict_proba([black]), constant.predict_proba([black]), atol=1e-6)
    with pytest.raises(BundleError, match="is of a format that is not installed: unknown format 'text'"):
        Classifier.load(tmp_path / "b")


def build_constant(input_shape: tuple[int, int, int]) -> keras.Model:
    """Scores that no image changes."""
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling2D()(inputs) * 0.0 + 1.0
    dense = keras.layers.Dense(7, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(seed=1))
    return keras.Model(inputs, dense(x))


@pytest.mark.parametrize("use", [get_format, runtime_for])
def test_an_unknown_format_is_refused(use: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="format"):
        use("pickle")


# What cannot be saved


def refused(tmp_path: Path, error: type[Exception], message: str, clf: Classifier, **arguments: Any) -> None:
    with pytest.raises(error, match=message):
        clf.save(tmp_path / "b", **arguments)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"format": "pickle"}, InvalidArgumentError, "unknown format 'pickle'; choose 'keras', 'openvino', 'onnx'"),
        (
            {"dtype": "float8"},
            InvalidArgumentError,
            "dtype='float8' is not known; choose 'float32', 'float16' or 'int8'",
        ),
        (
            {"format": "onnx", "dtype": "float16"},
            InvalidArgumentError,
            "format='onnx' does not store dtype='float16'; it stores 'float32'",
        ),
        (
            {"format": "openvino", "quantize": ["a.jpg"], "dtype": "float16"},
            InvalidArgumentError,
            'quantize=... makes dtype="int8"; leave dtype="float16" out',
        ),
        ({"format": "openvino", "dtype": "int8"}, InvalidArgumentError, 'dtype="int8" needs quantize='),
        ({"format": "openvino", "min_agreement": 2}, InvalidArgumentError, "min_agreement=2 is not a number"),
        ({"output": ["scores", "logits"]}, InvalidArgumentError, "choose one or both of scores, embedding"),
        ({"format": "openvino", "quantize": [np.zeros((9, 9, 3), np.uint8)] * 4}, InvalidArgumentError, "at least 5"),
        ({"format": "openvino", "quantize": ["no.jpg"]}, ValueError, "no.jpg: the file does not exist"),
        ({"format": "openvino", "quantize": []}, InvalidArgumentError, "quantize= has 0 images; give at least 5"),
        ({"format": "onnx", "quantize": [np.zeros((9, 9, 3), np.uint8)]}, InvalidArgumentError, "does not store"),
    ],
)
def test_arguments_that_do_not_go_together(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    refused(tmp_path, error, message, Classifier(SPEC), **arguments)


def test_a_decode_function_is_code(tmp_path: Path) -> None:
    clf = Classifier(SPEC.replace(decode=lambda scores, top: []))
    refused(
        tmp_path, InvalidArgumentError, r"a decode function of its own, and a bundle holds no code; give labels", clf
    )


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda module: None)
    message = r'this needs the package scipy: pip install "pretrained-cnn\[openvino\]"'
    refused(tmp_path, MissingDependencyError, message, Classifier(SPEC), format="openvino")


def test_a_layer_that_nobody_could_load(tmp_path: Path) -> None:
    class Own(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2

    inputs = keras.Input((9, 9, 3))
    x = keras.layers.GlobalAveragePooling2D()(Own()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    clf = Classifier.from_keras(model, labels=["a", "b"])
    refused(tmp_path, BundleError, r"cannot be loaded by Keras: .*'Own'.*register_keras_serializable", clf)


def test_what_does_not_agree_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export_another(graph: keras.Model, *arguments: Any, **options: Any) -> None:
        weights = graph.get_weights()
        graph.set_weights([weight * 0.9 for weight in weights])
        original(graph, *arguments, **options)

    original = export.export
    monkeypatch.setattr(export, "export", export_another)
    message = (
        r"Conformance in format='onnx' with dtype='float32' does not agree with the network, and was not saved: "
        r"of 4 images \d+\.\d% keep their best class .* difference of a score is 0\.\d+; expected are 100"
    )
    refused(tmp_path, BundleError, message, Classifier(SPEC), format="onnx")


def test_where_there_is_something_already(saved: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="already exists; choose another name, or pass overwrite=True to replace it"):
        Classifier(SPEC).save(saved("keras"))
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match=r"b cannot be written: "):
        Classifier(SPEC).save(tmp_path / "file" / "b")


# What was touched


DAMAGES: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "a byte": (lambda file, other: file.write_bytes(_flip(file.read_bytes())), "was changed"),
    "the end": (lambda file, other: file.write_bytes(file.read_bytes()[:-1]), "was changed or cut: it has "),
    "one more byte": (lambda file, other: file.write_bytes(file.read_bytes() + b"\n"), "was changed"),
    "empty": (lambda file, other: file.write_bytes(b""), "was changed or cut: it has 0 of "),
    "a pointer": (
        lambda file, other: file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "is a pointer of Git LFS, not the file; fetch it with `git lfs pull`",
    ),
    "missing": (lambda file, other: file.unlink(), "is missing"),
    "a folder": (lambda file, other: (file.unlink(), file.mkdir()), "cannot be read: Is a directory"),
    "another's": (lambda file, other: file.write_bytes(other.read_bytes() + b"\0"), "was changed"),
    "a link that leads out": (lambda file, other: (shutil.move(file, other), file.symlink_to(other)), "leads out of"),
}


def _info(file: Path) -> FileInfo:
    return FileInfo(bytes=file.stat().st_size, sha256=sha256(file))


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("openvino", "model.xml"),
        ("openvino", "model.bin"),
        ("openvino", "labels.json"),
        ("openvino", "check.npz"),
        ("keras", "model.keras"),
        ("onnx", "model.onnx"),
        ("litert", "model.tflite"),
        ("saved_model", "model/1/saved_model.pb"),
        ("saved_model", "model/1/variables/variables.index"),
        ("saved_model", "model/1/assets/labels.txt"),
    ],
)
def test_a_damaged_file_is_named(
    format: str, file: str, damage: str, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    path = copied(format)
    other = tmp_path / "other"
    other.write_bytes(b"something else")
    work, message = DAMAGES[damage]
    work(path / file, other)
    with pytest.raises(BundleError) as caught:
        Classifier.load(path)
    assert str(caught.value).startswith(f"{path / file} {message}")


@pytest.mark.parametrize("format", RUNTIME_OF)
def test_line_ends_that_git_changes_do_not_count(format: str, copied: Callable[[str], Path], tmp_path: Path) -> None:
    path = copied(format)
    card, files = path / "README.md", open_bundle(path).manifest.files
    card.write_bytes("Klassen und Maße\r\n".encode())  # written on Windows, say
    remade(path, files={**files, "README.md": _info(card)})
    (path / ".gitattributes").write_bytes(b"*.md text\n")

    def git(*command: str | Path) -> None:
        settings = ("core.autocrlf=true", "core.safecrlf=false", "user.name=a", "user.email=a@example.org")
        subprocess.run(
            ["git", *(word for setting in settings for word in ("-c", setting)), *command],
            check=True,
            capture_output=True,
        )

    git("init", path)
    git("-C", path, "add", ".")
    git("-C", path, "commit", "-m", "bundle")
    git("clone", path, tmp_path / "clone")
    assert b"\r\n" in (tmp_path / "clone/manifest.json").read_bytes()
    assert b"\r\n" in (tmp_path / "clone/labels.json").read_bytes()
    Classifier.load(tmp_path / "clone")
    git("-C", path, "config", "core.autocrlf", "false")
    git("-c", "core.autocrlf=false", "clone", path, tmp_path / "unix")
    assert b"\r" not in (tmp_path / "unix/README.md").read_bytes()
    open_bundle(tmp_path / "unix")


def test_line_ends_count_in_what_is_no_text(copied: Callable[[str], Path]) -> None:
    path = copied("openvino")
    data, files = (path / "model.bin").read_bytes(), open_bundle(path).manifest.files
    old = data[:4] + b"\n\xff" + data[4:]
    (path / "model.bin").write_bytes(old)
    remade(path, files={**files, "model.bin": _info(path / "model.bin")})
    open_bundle(path)
    (path / "model.bin").write_bytes(old.replace(b"\n\xff", b"\r\n\xff"))
    with pytest.raises(BundleError, match=r"model\.bin was changed"):
        open_bundle(path)


def test_links_are_followed_where_it_is_asked_for(
    copied: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], clock: Path
) -> None:
    path, blobs = copied("openvino"), tmp_path / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(path.iterdir())):  # as huggingface_hub lays a snapshot out
        shutil.move(file, blobs / str(number))
        file.symlink_to(os.path.join("..", "blobs", str(number)))
    with pytest.raises(BundleError, match=r"leads out of the bundle, to .*; .* pass follow_links=True"):
        Classifier.load(path)
    expected = Classifier(SPEC).predict_proba([clock])
    for clf in (Classifier.load(path, follow_links=True), Classifier(path, follow_links=True)):
        np.testing.assert_allclose(clf.predict_proba([clock]), expected, atol=1e-4, rtol=0)
    assert main(["check", str(path)]) == 1
    assert "pass --follow-links" in capsys.readouterr().err
    assert main(["check", str(path), "--follow-links"]) == 0
    assert main(["classify", "-m", str(path), "--follow-links", str(clock)]) == 0
    (blobs / "1").write_bytes(_flip((blobs / "1").read_bytes()))
    with pytest.raises(BundleError, match="was changed"):
        Classifier.load(path, follow_links=True)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "a link that leads out"])
def test_a_damaged_manifest_is_named(damage: str, copied: Callable[[str], Path], tmp_path: Path) -> None:
    path = copied("openvino")
    work, _ = DAMAGES[damage]
    other = tmp_path / "other"
    other.write_bytes(b"{}")
    work(path / "manifest.json", other)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Classifier.load(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_of_any_file(data: st.DataObject, saved: Callable[[str], Path]) -> None:
    path = saved("openvino")
    file = data.draw(st.sampled_from(sorted(file for file in path.iterdir() if file.is_file())))
    before = file.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    changed = before[:place] + bytes([before[place] ^ data.draw(st.integers(1, 255))]) + before[place + 1 :]
    try:
        file.write_bytes(changed)
        with pytest.raises(BundleError, match=file.name):
            open_bundle(path)
    finally:
        file.write_bytes(before)
    open_bundle(path)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for path, message in (
        (tmp_path / "no", "no does not exist"),
        (file, "file is a file, and a bundle is a folder"),
        (tmp_path, r"is not a bundle: it has no manifest\.json"),
    ):
        with pytest.raises(BundleError, match=message):
            Classifier.load(path)


# What was made to do harm: its checksums are right


def remade(path: Path, **changes: Any) -> Path:
    """The bundle with a manifest that says something else, and a checksum that fits."""
    file = path / "manifest.json"
    manifest = Manifest.from_text(file.read_text(), "manifest.json")
    file.write_text(dataclasses.replace(manifest, **changes).to_text())
    return path


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../outside", "..\\outside", ""])
def test_a_manifest_that_leads_out(name: str, copied: Callable[[str], Path]) -> None:
    path = copied("openvino")
    files = open_bundle(path).manifest.files
    with pytest.raises(BundleError, match=r"manifest\.json names '.*', which is not within the bundle"):
        Classifier.load(remade(path, files={**files, name: FileInfo(bytes=0, sha256="0")}))


def test_a_manifest_of_a_later_release(copied: Callable[[str], Path]) -> None:
    path = copied("openvino")
    data = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**data, "format_version": 5, "news": 1}))
    with pytest.raises(BundleError, match=r"has format version 5 of a later release, .* version 4; pip install"):
        Classifier.load(path)


def test_a_manifest_of_an_earlier_release(copied: Callable[[str], Path]) -> None:
    path = copied("openvino")
    data = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**data, "format_version": 1}))
    with pytest.raises(BundleError, match=r"version 1 of an earlier release, .* version 4; save the classifier again"):
        Classifier.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "pickle"}, "is of a format that is not installed: unknown format 'pickle'; choose 'keras'"),
        ({"format": "onnx"}, "does not list the files of a bundle of format='onnx'"),
        ({"files": {}}, "does not list the files of a bundle of format='openvino'"),
        ({"spec": {}}, "do not describe a classifier: 'published'"),
        ({"spec": {"published": None, "resize": {}, "name": 1}}, "do not describe a classifier"),
        ({"image_policy": {"background": 3}}, "do not describe a classifier"),
        ({"image_policy": {}}, "do not describe a classifier"),
    ],
)
def test_a_manifest_that_makes_no_sense(changes: dict[str, Any], message: str, copied: Callable[[str], Path]) -> None:
    with pytest.raises(BundleError, match=message):
        Classifier.load(remade(copied("openvino"), **changes))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format_version": 4}', "[" * 100_000, '{"a": 1e999}'])
def test_a_manifest_that_is_none(text: str, copied: Callable[[str], Path]) -> None:
    path = copied("openvino")
    (path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Classifier.load(path)


def test_a_file_that_nobody_listed(copied: Callable[[str], Path]) -> None:
    path = copied("saved_model")
    (path / "model" / "1" / "saved_model.pbtxt").write_text("")
    with pytest.raises(BundleError, match=r"saved_model\.pbtxt is not in manifest\.json; remove it"):
        Classifier.load(path)


def test_code_in_a_keras_file_is_not_run(copied: Callable[[str], Path], saved: Callable[[str], Path]) -> None:
    path = copied("keras")
    inputs = keras.Input((40, 24, 3), dtype="uint8")
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(path / "model.keras")
    import hashlib

    digest = hashlib.sha256((path / "model.keras").read_bytes()).hexdigest()
    info = FileInfo(bytes=(path / "model.keras").stat().st_size, sha256=digest)
    files = {**open_bundle(saved("keras")).manifest.files, "model.keras": info}
    with pytest.raises(BundleError, match=r"model\.keras cannot be loaded by Keras: .*[Ll]ambda"):
        Classifier.load(remade(path, files=files))


def test_pickles_in_the_check_are_not_loaded(copied: Callable[[str], Path]) -> None:
    path = copied("openvino")
    bundle = open_bundle(path)
    np.savez(path / "check.npz", images=np.array([print], dtype=object), scores=np.zeros(1))
    with pytest.raises(BundleError, match=r"check\.npz holds no arrays that can be read: Object arrays"):
        verify(bundle, bundle.open())
