"""The runtimes, each through the conformance tests that ship with the package; and how they are found by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretrained_cnn import (
    Classifier,
    ImageError,
    InvalidArgumentError,
    MissingDependencyError,
    RuntimeSpec,
    list_precisions,
    list_runtimes,
    register_runtime,
    runtimes,
)
from pretrained_cnn.bundle import child
from pretrained_cnn.results.settings import settings_of
from pretrained_cnn.runtimes import RUNTIMES
from pretrained_cnn.testing import RuntimeConformance


class TestKeras(RuntimeConformance):
    runtime = "keras"


class TestOpenVINO(RuntimeConformance):
    runtime = "openvino"


class TestONNXRuntime(RuntimeConformance):
    runtime = "onnxruntime"


class TestLiteRT(RuntimeConformance):
    runtime = "litert"


class TestTensorFlow(RuntimeConformance):
    runtime = "tensorflow"


# Against Keras, with real weights; each family, with random ones, is in test_parity.py


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "litert"])
def test_the_hundred_photos(runtime: str, keras_home: Path, labeled: list[tuple[Path, str]]) -> None:
    photos = [photo for photo, _ in labeled]
    expected = Classifier("MobileNet").predict_proba(photos)
    scores = Classifier("MobileNet", runtime=runtime).predict_proba(photos)
    np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(scores.argmax(axis=1), expected.argmax(axis=1))


# By name


class Constant:
    """The same score for each class, whatever comes in."""

    def __init__(self, path: Path, outputs: Any) -> None:
        assert (path.parent / "manifest.json").is_file()

    def run(self, batch: Any) -> Any:
        return (np.full((len(batch), 7), 1 / 7, np.float32),)

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("clean_registry")
def test_a_runtime_of_ones_own() -> None:
    register_runtime(RuntimeSpec(name="Constant", factory="test_runtimes:Constant", format="onnx"))
    assert list_runtimes()[-1] == ("Constant", True, None)
    clf = Classifier(RuntimeConformance.spec, runtime="con-stant")
    assert clf.predict(np.zeros((40, 24, 3), np.uint8)).top.score == pytest.approx(1 / 7)
    with pytest.raises(InvalidArgumentError, match="a runtime named 'constant' exists already; choose another"):
        register_runtime(RuntimeSpec(name="constant", factory=Constant, format="onnx"))
    with pytest.raises(InvalidArgumentError, match="a runtime named 'OpenVINO' exists already"):
        register_runtime(RuntimeSpec(name="OpenVINO", factory=Constant, format="onnx"))


@pytest.mark.usefixtures("clean_registry")
def test_conformance_finds_what_is_wrong() -> None:
    register_runtime(RuntimeSpec(name="constant", factory=Constant, format="onnx"))

    class Wrong(RuntimeConformance):
        runtime = "constant"

    Wrong().test_is_listed_as_installed()
    for test in (Wrong().test_gives_the_scores_of_keras, Wrong().test_takes_an_odd_last_batch):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            test()
    with pytest.raises(AssertionError, match="a closed runtime must raise ValueError"):
        Wrong().test_closes_twice()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factory": "no_colon"}, "mine: factory='no_colon' is not of the form"),
        ({"factory": 3}, "mine: factory=3 is neither a function nor"),
        ({"format": 3}, "mine: format=3 is not the name of a format"),
    ],
)
def test_a_runtime_that_cannot_be_right(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        RuntimeSpec(**{"name": "mine", "factory": Constant, "format": "onnx", **fields})
    with pytest.raises(InvalidArgumentError, match="expected a RuntimeSpec, not str: 'mine'"):
        register_runtime("mine")  # type: ignore[arg-type]


def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda package: None)
    info = {row.name: row for row in list_runtimes()}["litert"]
    assert info == ("litert", False, 'pip install "pretrained-cnn[litert]"')
    with pytest.raises(MissingDependencyError, match=r'ai_edge_litert: pip install "pretrained-cnn\[litert\]"'):
        Classifier("MobileNet", runtime="litert")


# What a runtime computes in


def test_precisions_come_from_what_the_cpu_says() -> None:
    """The query of the CPU is an argument, so that each machine asserts both answers."""
    from pretrained_cnn.runtimes.openvino import precisions

    assert precisions(lambda: ["FP32", "INT8", "BF16", "FP16"]) == dict.fromkeys(("bfloat16", "float16", "int8"))
    reasons = precisions(lambda: ["FP32", "INT8"])
    assert reasons["int8"] is None
    assert reasons["bfloat16"] == (
        "this CPU has no bfloat16 instructions (AVX512-BF16 or AMX-BF16), without which bfloat16 is not faster than "
        "float32"
    )
    assert str(reasons["float16"]).startswith("this CPU has no float16 instructions")
    assert [info.available for info in list_precisions("keras")] == [True]
    assert [info.name for info in list_precisions()] == ["float32", "bfloat16", "float16", "int8"]


class Scaled:
    """Scores that say in which precision it was made."""

    def __init__(self, path: Path, outputs: Any, *, precision: str = "float32") -> None:
        self.score = {"float32": 0.4, "bfloat16": 0.7}[precision]
        self.outputs = tuple(outputs)

    def run(self, batch: Any) -> Any:
        scores = np.full((len(batch), 7), (1 - self.score) / 6, np.float32)
        scores[:, 0] = self.score
        bright = batch.mean(axis=(1, 2, 3), dtype=np.float32)[:, np.newaxis]
        found = {"scores": scores, "embedding": np.repeat(bright, 16, axis=1)}
        return tuple(found[name] for name in self.outputs)

    def close(self) -> None:
        pass


def scaled(precisions: Any) -> RuntimeSpec:
    return RuntimeSpec(name="scaled", factory=Scaled, format="onnx", precisions=precisions)


BLACK = np.zeros((40, 24, 3), np.uint8)


def test_a_precision_that_the_machine_has_reaches_the_runtime(tmp_path: Path) -> None:
    with runtimes.RUNTIMES.temporary():
        register_runtime(scaled(lambda: {"bfloat16": None}))
        clf = Classifier(RuntimeConformance.spec, runtime="scaled", precision="bfloat16")
        assert clf.predict(BLACK).top.score == pytest.approx(0.7)
        assert clf.precision == "bfloat16"
        assert "precision='bfloat16'" in repr(clf)
        assert clf.engine.copy().precision == "bfloat16"
        plain = Classifier(RuntimeConformance.spec, runtime="scaled")
        assert plain.predict(BLACK).top.score == pytest.approx(0.4)
        assert plain.engine.identity() != clf.engine.identity(), "embeddings of one are not those of the other"
        assert settings_of(plain.engine) != settings_of(clf.engine), "a run in one is not resumed in the other"
        Classifier(RuntimeConformance.spec).save(tmp_path / "b", format="onnx")
        loaded = Classifier.load(tmp_path / "b", runtime="scaled", precision="bfloat16")
        assert loaded.predict(BLACK).top.score == pytest.approx(0.7)
        pairs = [(np.full((40, 24, 3), value, np.uint8), str(value)) for value in (0, 255)]
        trained = Classifier.train(pairs, clf, pairs, cache=False)
        assert (trained.runtime, trained.precision) == ("scaled", "bfloat16")


def test_a_precision_that_the_machine_lacks_is_refused(tmp_path: Path) -> None:
    message = "precision='bfloat16': this CPU has no such unit; leave precision out"
    Classifier(RuntimeConformance.spec).save(tmp_path / "b", format="onnx")
    with runtimes.RUNTIMES.temporary():
        register_runtime(scaled(lambda: {"bfloat16": "this CPU has no such unit"}))
        arguments: dict[str, Any] = {"runtime": "scaled", "precision": "bfloat16"}
        model = Classifier(RuntimeConformance.spec).keras_model
        labels = [str(i) for i in range(7)]
        for make in (
            lambda: Classifier(RuntimeConformance.spec, **arguments),
            lambda: Classifier(tmp_path / "b", **arguments),
            lambda: Classifier.load(tmp_path / "b", **arguments),
            lambda: Classifier.from_keras(model, labels=labels, **arguments),
            lambda: Classifier.train([(BLACK, "a"), (BLACK, "b")], RuntimeConformance.spec, **arguments),
        ):
            with pytest.raises(InvalidArgumentError, match=message):
                make()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "bfloat16"}, r"runtime='keras' computes in 'float32'; choose runtime='openvino', or leave"),
        ({"precision": "half", "runtime": "openvino"}, "precision='half' is not known; choose 'float32', 'bfloat16'"),
        ({"precision": "int8", "runtime": "openvino"}, r'precision="int8" needs quantize=\.\.\., about 300 images'),
        ({"quantize": [BLACK]}, r'quantize=\.\.\. is for precision="int8", not for precision=\'float32\''),
        ({"precision": "int8", "quantize": [BLACK], "runtime": "litert"}, "runtime='litert' computes in 'float32'"),
    ],
)
def test_a_precision_that_does_not_go_with_the_rest(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Classifier(RuntimeConformance.spec, **arguments)


def test_a_bundle_that_is_quantized_is_not_quantized_again() -> None:
    bundle = Path(__file__).parent / "released" / "0.1.0" / "bundles" / "int8"
    with pytest.raises(InvalidArgumentError, match="int8 is quantized already; leave precision out"):
        Classifier.load(bundle, precision="int8")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_openvino_in_half_precision(precision: Any, clock: Path) -> None:
    """Where the CPU has the instructions, the scores are near those of float32; elsewhere it is refused."""
    spec, available = RuntimeConformance.spec, {info.name for info in list_precisions() if info.available}
    if precision not in available:
        with pytest.raises(InvalidArgumentError, match=f"this CPU has no {precision} instructions"):
            Classifier(spec, runtime="openvino", precision=precision)
        return
    expected = Classifier(spec, runtime="openvino").predict_proba([clock])
    found = Classifier(spec, runtime="openvino", precision=precision).predict_proba([clock])
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert not np.array_equal(found, expected), "it computes in something else"


def test_int8_on_a_named_backbone(
    eight_photos: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The images reach the quantizer once, without those that judge the result. Quantizing itself is left out."""
    given: list[Any] = []

    def quantized(model: Any, images: Any) -> Any:
        given.append(images)
        return model

    monkeypatch.setattr("pretrained_cnn.bundle.formats.openvino._quantized", quantized)
    monkeypatch.setattr(child, "allowed", False)  # a child process would not be patched
    spec, photos = RuntimeConformance.spec, eight_photos * 2
    clf = Classifier(spec, runtime="openvino", precision="int8", quantize=iter(photos))
    expected = Classifier(spec).predict_proba(eight_photos)
    np.testing.assert_allclose(clf.predict_proba(eight_photos), expected, atol=1e-4)
    assert [images.shape for images in given] == [(13, 40, 24, 3)]
    assert clf.engine.runtime_identity().startswith("openvino int8 ")
    caplog.clear()
    with caplog.at_level("INFO"):
        Classifier(spec, runtime="openvino", precision="int8", quantize=photos).predict_proba(eight_photos)
        assert not [record for record in caplog.records if "converting" in record.message], "it was converted once"
        Classifier(spec, runtime="openvino", precision="int8", quantize=photos[:10]).predict_proba(eight_photos)
    assert [len(images) for images in given] == [13, 8], "other images give another network"
    large = np.random.default_rng(0).random((10, 60, 50, 3), np.float32) * 255
    Classifier(spec, runtime="openvino", precision="int8", quantize=large).predict_proba(eight_photos[:1])
    assert given[-1].shape == (8, 40, 24, 3), "an array is read as any other source"
    one = Classifier(spec, runtime="openvino", precision="int8", quantize=large[0])
    with pytest.raises(ImageError, match="this is one image where several are expected"):
        one.predict_proba(eight_photos[:1])


@pytest.mark.slow
def test_int8_of_a_real_network(labeled: list[tuple[Path, str]]) -> None:
    photos = [photo for photo, _ in labeled]
    clf = Classifier("EfficientNetLite0", runtime="openvino", precision="int8", quantize=photos)
    best = clf.predict_proba(photos).argmax(axis=1)
    expected = Classifier("EfficientNetLite0").predict_proba(photos).argmax(axis=1)
    assert (best == expected).mean() >= 0.95


def test_a_runtime_that_nobody_knows() -> None:
    with pytest.raises(InvalidArgumentError, match="unknown runtime 'openvio'; did you mean 'openvino'"):
        Classifier("MobileNet", runtime="openvio")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Offer entry points: ``plugins(name="module:attr")``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "good_runtime.py").write_text(
        "from pretrained_cnn import RuntimeSpec\n"
        "spec = RuntimeSpec(name='Plugged', factory='test_runtimes:Constant', format='onnx')\n"
        "number = 3\n"
    )
    with contextlib.ExitStack() as stack:

        def offer(**named: str) -> None:
            points = [EntryPoint(name, value, RUNTIMES.group) for name, value in named.items()]
            stack.enter_context(RUNTIMES.temporary(points))

        yield offer


def test_plugins_bring_runtimes(plugins: Any) -> None:
    import sys

    plugins(plugged="good_runtime:spec", broken="no_such_module:spec", number="good_runtime:number", keras="no:where")
    assert [row.name for row in list_runtimes()][-3:] == ["plugged", "broken", "number"]
    assert "good_runtime" not in sys.modules, "listing imports nothing"
    assert runtimes.get_runtime("Plugged").format == "onnx"
    assert runtimes.get_runtime("keras").package == "keras", "no plugin shadows a built-in"
    with pytest.raises(InvalidArgumentError, match=r"the plugin 'broken' of an unknown package .* cannot be loaded"):
        Classifier("MobileNet", runtime="broken")
    with pytest.raises(InvalidArgumentError, match=r"the plugin 'number' of .* is not a RuntimeSpec but a int"):
        runtimes.get_runtime("number")


@pytest.mark.slow
def test_mixed_precision_is_kerass_own_switch(clock: Path) -> None:
    expected = Classifier("EfficientNetLite0").predict(clock)
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        clf = Classifier("EfficientNetLite0")
        result = clf.predict(clock)
        assert clf.keras_model.compute_dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert result.top.label == expected.top.label
    assert result.top.score == pytest.approx(expected.top.score, abs=0.1)
    assert result.top.score != expected.top.score
