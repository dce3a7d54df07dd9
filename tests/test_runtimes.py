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
    InvalidArgumentError,
    MissingDependencyError,
    RuntimeSpec,
    list_runtimes,
    register_runtime,
    runtimes,
)
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
