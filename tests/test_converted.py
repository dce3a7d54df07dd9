"""The cache of converted graphs: made once, right or not there, and warm without Keras."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from paths import ROOT
from test_laziness import heavy_imports
from warned import messages

from pretrained_cnn import (
    BundleError,
    Classifier,
    MissingDependencyError,
    ModelSpec,
    RuntimeSpec,
    get_spec,
    identity,
    register_format,
    register_runtime,
)
from pretrained_cnn._cache import cache_entries
from pretrained_cnn.bundle import child, converted
from pretrained_cnn.bundle import store as bundles
from pretrained_cnn.bundle.formats import FORMATS
from pretrained_cnn.bundle.formats.litert import LiteRT
from pretrained_cnn.testing import RuntimeConformance

SPEC: ModelSpec = RuntimeConformance.spec
IMAGE = np.full((40, 24, 3), 200, np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


@pytest.fixture
def conversions(caplog: pytest.LogCaptureFixture) -> Any:
    """How often something was converted so far."""
    caplog.set_level(logging.INFO, "pretrained_cnn")
    return lambda: sum("converting " in record.getMessage() for record in caplog.records)


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def test_once_is_enough(conversions: Any, cache: Path) -> None:
    first = Classifier(SPEC, runtime="openvino").predict_proba([IMAGE])
    again = Classifier(SPEC, runtime="openvino").predict_proba([IMAGE])
    np.testing.assert_array_equal(first, again)
    assert conversions() == 1
    assert len(kept(cache)) == 1, "one bundle, and neither a lock nor a part is left"
    Classifier(SPEC, runtime="openvino").embed([IMAGE])
    Classifier(SPEC, runtime="onnxruntime").predict(IMAGE)
    assert conversions() == len(kept(cache)) == 3


WARM = """
from pretrained_cnn import Classifier
clf = Classifier("EfficientNetLite0", runtime={runtime!r})
assert clf.predict("examples/images/clock.png").top.label == "analog_clock"
"""


@pytest.mark.parametrize(
    "runtime",
    ["openvino", "onnxruntime", "litert"],
)
@pytest.mark.slow
def test_no_start_imports_keras(runtime: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert kept(cache) == []
    for _ in ("a child process converts it", "it is in the cache"):
        assert heavy_imports(WARM.format(runtime=runtime)) == set()
        assert len(kept(cache)) == 1


@pytest.mark.slow
def test_a_warm_start_with_weights_of_keras(keras_home: Path, labeled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = f"""
from pretrained_cnn import Classifier
clf = Classifier("MobileNet", alpha=0.25, runtime="onnxruntime")
assert clf.predict({str(labeled[0][0])!r}).top.id == {labeled[0][1]!r}
"""
    assert heavy_imports(code) <= {"h5py"}, "a child process converts it; the file has no published hash: h5py opens it"
    assert heavy_imports(code) == set(), "it is in the cache"


def test_loading_a_bundle_imports_no_keras(tmp_path: Path) -> None:
    Classifier(SPEC).save(tmp_path / "b", format="onnx")
    code = f"""
from pretrained_cnn import Classifier
Classifier.load({str(tmp_path / "b")!r}).predict_batch(["examples/images/clock.png"])
"""
    assert heavy_imports(f"import os; os.chdir({str(ROOT)!r}); {code}") == set()


@pytest.mark.slow
def test_nobody_is_told_that_openvino_was_used(tmp_path: Path) -> None:
    code = f"""
from pretrained_cnn import Classifier
from pretrained_cnn import testing
Classifier(testing.RuntimeConformance.spec).save({str(tmp_path / "b")!r}, format="openvino")
import nncf, sys
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)
    assert not (tmp_path / "intel").exists()


# Keys


def key(spec: ModelSpec, weights: str | None = "imagenet", options: dict[str, Any] = {}, **changes: Any) -> Any:
    return identity.conversion_key(spec, weights, options, **{"output": "scores", "format": "openvino", **changes})


def test_whatever_changes_the_graph_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = get_spec("MobileNetV3Small")
    files = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i]))
    keys = [
        key(spec),
        key(spec, output="embedding"),
        key(spec, format="onnx"),
        key(spec, options={"alpha": 0.75}),
        key(spec, options={"minimalistic": True}),
        key(spec.replace(input_size=(256, 256))),
        key(spec.replace(preprocess="keras.applications.resnet:preprocess_input")),
        key(spec.replace(labels=["a", "b"]), str(files[0])),
        key(spec, str(files[0])),
        key(spec, str(files[1])),
        key(get_spec("MobileNetV3Large")),
    ]
    assert None not in keys
    assert key(spec) == keys[0]
    assert key(spec.replace(published=None)) == keys[0], "what does not change the graph"
    monkeypatch.setattr(metadata, "version", lambda package: "0")
    keys.append(key(spec))
    assert len(set(keys)) == len(keys)


def test_what_only_the_built_network_can_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = get_spec("MobileNetV3Small")
    assert key(spec, None) is None, "random weights"
    assert key(spec, str(tmp_path / "no.h5")) is None
    assert key(spec.replace(builder="my_package:build")) is None
    assert key(spec.replace(preprocess=lambda x: x)) is None
    assert key(get_spec("MobileNet").replace(weights=())) is None
    assert key(spec, options={"classifier_activation": keras.activations.softmax}) is None
    monkeypatch.setattr(identity, "installed_file", lambda *_: (_ for _ in ()).throw(FileNotFoundError))
    assert key(get_spec("EfficientNetLite0")) is None
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert key(spec) is None
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_network_of_ones_own_is_known_by_its_weights(conversions: Any) -> None:
    def build(input_shape: Any) -> keras.Model:
        model = SPEC.builder(input_shape)
        model.layers[-1].set_weights([weight + shift for weight in model.layers[-1].get_weights()])
        return model

    shift = np.float32(0)
    mine = SPEC.replace(builder=build)
    first = Classifier(mine, runtime="openvino").predict_proba([IMAGE])
    Classifier(mine, runtime="openvino").predict_proba([IMAGE])
    assert conversions() == 1
    shift = np.random.default_rng(0).normal(size=7).astype(np.float32)
    assert not np.allclose(Classifier(mine, runtime="openvino").predict_proba([IMAGE]), first)
    assert conversions() == 2
    model = build((40, 24, 3))
    for _ in range(2):
        Classifier.from_keras(model, labels=list("abcdefg"), runtime="openvino").predict(IMAGE)
    assert conversions() == 3


def test_names_are_counted_anew() -> None:
    def build(**changes: Any) -> Any:
        inputs = keras.Input((4,))
        first, second = (keras.layers.Dense(4, **{"activation": "relu", **changes}) for _ in range(2))
        return keras.Model(inputs, second(first(inputs)))

    def described(model: Any) -> Any:
        return identity.renumbered(json.loads(model.to_json()))

    first = build()
    assert described(build()) == described(first)
    assert build().to_json() != first.to_json()
    assert described(build(dtype="mixed_bfloat16")) != described(first)
    assert described(build(activation="gelu")) != described(first)
    inputs = keras.Input((4,))
    twice = keras.layers.Dense(4, activation="relu")
    assert described(keras.Model(inputs, twice(twice(inputs)))) != described(first), "one layer, used twice"


@pytest.mark.slow
def test_random_weights_are_not_kept(cache: Path) -> None:
    clf = Classifier("MobileNetV3Small", weights=None, runtime="openvino")
    scores = clf.predict_proba([IMAGE])
    np.testing.assert_allclose(scores, _with_keras(clf), atol=1e-5)
    assert kept(cache) == []


def _with_keras(clf: Classifier) -> Any:
    from pretrained_cnn.backbones.serving import serving_graph

    return serving_graph(clf.engine.backbone()).predict(clf.engine.pixels([IMAGE]), verbose=0)["scores"]


# Right or not there


def test_a_broken_entry_is_made_anew(conversions: Any, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = Classifier(SPEC, runtime="openvino").predict_proba([IMAGE])
    (entry,) = cache.iterdir()
    (entry / "model.bin").write_bytes(b"")
    np.testing.assert_array_equal(Classifier(SPEC, runtime="openvino").predict_proba([IMAGE]), expected)
    assert conversions() == 2
    assert f"a converted model is broken and will be made again: {entry / 'model.bin'} was changed" in caplog.text
    assert kept(cache) == [entry.name]


def test_the_cache_is_bounded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def use(output: str) -> str:
        clf = Classifier(SPEC, runtime="openvino")
        (clf.embed if output == "embedding" else clf.predict_proba)([IMAGE])
        newest = cache_entries(["converted"])[0].path
        time.sleep(0.02)
        return newest.name

    first, second = use("scores"), use("embedding")
    assert use("scores") == first
    total = sum(entry.size for entry in cache_entries())
    monkeypatch.setenv("PRETRAINED_CNN_CACHE_BYTES", str(total))
    Classifier(SPEC, runtime="onnxruntime").predict(IMAGE)
    assert second not in kept(cache), "used least recently"
    assert first in kept(cache)
    assert len(kept(cache)) == 2


CONVERT = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from pretrained_cnn import Classifier
print(Classifier("EfficientNetLite0", runtime="openvino").predict("examples/images/clock.png").top.label)
"""


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CONVERT], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_two_processes_convert_once(cache: Path) -> None:
    running = [start(), start()]
    answers = [process.communicate(timeout=240) for process in running]
    assert [out for out, _ in answers] == ["analog_clock\n"] * 2
    assert sum(err.count("converting EfficientNetLite0 for format openvino, once") for _, err in answers) == 1
    assert len(kept(cache)) == 1


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_no_harm(cache: Path) -> None:
    first = start()
    while not list(cache.glob(".*/**/model.xml")) and first.poll() is None:  # in the middle of writing
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    out, _ = first.communicate(timeout=60)
    assert (first.returncode, out) == (-signal.SIGKILL, "")
    left = kept(cache)
    assert left, "the kill came too early to prove anything"
    assert all(name.startswith(".") for name in left)
    second, _ = start().communicate(timeout=240)
    assert second == "analog_clock\n"
    assert len(kept(cache)) == 1, f"its leavings are cleared away: {kept(cache)}"
    assert converted.find(kept(cache)[0]) is not None


def test_versions_are_known_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = identity.installed_versions()
    assert found["keras"] == keras.__version__
    assert found["tensorflow"] == metadata.version("tensorflow")


def test_the_cache_may_be_removed_at_any_time(cache: Path) -> None:
    clf = Classifier(SPEC, runtime="openvino")
    expected = clf.predict_proba([IMAGE])
    shutil.rmtree(cache)
    np.testing.assert_array_equal(clf.predict_proba([IMAGE]), expected)
    np.testing.assert_array_equal(Classifier(SPEC, runtime="openvino").predict_proba([IMAGE]), expected)


# Caches that cannot be written


def test_a_filled_cache_that_cannot_be_written_is_used(
    conversions: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Classifier(SPEC, runtime="openvino").predict_proba([IMAGE])

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    before = kept(cache)
    for name in ("utime", "rename", "mkdir", "replace"):
        monkeypatch.setattr(os, name, refuse)
    np.testing.assert_array_equal(Classifier(SPEC, runtime="openvino").predict_proba([IMAGE]), expected)
    assert conversions() == 1
    assert kept(cache) == before


@pytest.mark.parametrize("reason", ["no folder", "read-only", "full"])
def test_a_cache_that_cannot_be_written_costs_a_warning(
    reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Classifier(SPEC).predict_proba([IMAGE])
    place = tmp_path / reason
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(place))
    if reason == "no folder":
        place.write_text("a file stands here")
    elif reason == "read-only":

        def refuse(*_: Any) -> Any:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(converted, "exclusive_lock", refuse)
    else:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(converted.shutil, "disk_usage", lambda path: usage._replace(free=3_000_000))
        write = bundles.write_bundle

        def fill(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.is_relative_to(place):
                raise BundleError(f"{path} cannot be written: No space left on device")
            return write(path, *arguments, **options)

        monkeypatch.setattr(bundles, "write_bundle", fill)
    with messages() as warned:
        scores = [Classifier(SPEC, runtime="openvino").predict_proba([IMAGE])[0] for _ in range(2)]
    np.testing.assert_allclose(scores, [expected[0]] * 2, atol=1e-4)
    (message,) = warned
    assert message.startswith(f"converted models are not kept in {place / 'converted'}: ")
    assert message.endswith("; set PRETRAINED_CNN_CACHE to a folder that can be written")
    assert "3 MB are free" in message or reason != "full"


def test_another_users_unreadable_entry_is_left_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Classifier(SPEC, runtime="openvino").predict(IMAGE)
    before = kept(cache)
    real = bundles.open_bundle

    def open_bundle(path: Path) -> Any:
        if path.parent == cache:
            raise BundleError(f"{path} cannot be read: Permission denied") from PermissionError()
        return real(path)

    monkeypatch.setattr(converted, "open_bundle", open_bundle)
    with messages() as warned:
        Classifier(SPEC, runtime="openvino").predict(IMAGE)
    assert "cannot be read" in warned[0]
    assert kept(cache) == before


def test_leavings_of_a_killed_save_are_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "b"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with bundles.scratch_beside(path) as scratch:
        mine = scratch.name
    theirs = mine.replace(mine.split(".")[2], "0a1b2c")  # of a container that had another name
    assert theirs != mine
    gone = [
        mine.replace(f".{os.getpid()}.", f".{dead.pid}."),
        mine,  # of a process in an earlier container, with the same number
        f"{theirs[:-1]}0",
    ]
    stays = [mine.replace(f".{os.getpid()}.", f".{os.getppid()}."), ".b.mine", f"{theirs[:-1]}1", f"{theirs[:-1]}.2"]
    for name in (*gone, *stays):
        (tmp_path / name / "new").mkdir(parents=True)
    for name in (gone[-1], stays[-1]):
        for folder in (tmp_path / name / "new", tmp_path / name):
            os.utime(folder, times=(time.time() - bundles.LEFT_SECONDS - 60,) * 2)
    os.utime(tmp_path / stays[2], times=(0, 0))  # but what is in it is new
    Classifier(SPEC).save(path, format="litert")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["b", *stays])


# Formats that another process does not find


@pytest.mark.child
@pytest.mark.usefixtures("clean_registry")
def test_a_format_that_the_program_registered_is_converted_here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process would take the built-in one of that name, or know none; and its code may change."""
    monkeypatch.setattr(child, "_start", lambda: pytest.fail("a process that does not know the format was started"))
    written = []

    class Mine(LiteRT):
        def convert(self, saved_model: Path, path: Path, **more: Any) -> None:
            written.append(path)
            super().convert(saved_model, path, **more)

    with FORMATS.temporary():
        register_format(Mine(), overwrite=True)
        register_runtime(
            RuntimeSpec(name="mine", factory="pretrained_cnn.runtimes.litert:LiteRTRuntime", format="litert")
        )
        for runs in (1, 2):
            Classifier(SPEC, runtime="mine").predict(IMAGE)
            assert len(written) == runs
    assert kept(cache) == []


# Where no process can be started


def test_what_another_backend_holds_needs_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras on torch or jax writes no SavedModel, and in its own process only TensorFlow can convert."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    message = "none can be started here, and Keras runs on torch; set KERAS_BACKEND=tensorflow"
    with pytest.raises(BundleError, match=message):
        Classifier(SPEC).save(tmp_path / "b", format="litert")
    assert list(tmp_path.iterdir()) == []


def test_without_filelock_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(MissingDependencyError, match="this needs the package filelock: pip install filelock"):
        Classifier(SPEC, runtime="litert").predict(IMAGE)
    assert kept(cache) == []
