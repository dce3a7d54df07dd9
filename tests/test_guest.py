"""The library is a guest in its host's process: what it changes there, and what threads may do at once."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from paths import ROOT

from pretrained_cnn import Classifier, InvalidArgumentError, PretrainedCNNWarning, _process, get_spec
from pretrained_cnn.bundle import convert
from pretrained_cnn.bundle.formats import get_format
from pretrained_cnn.testing import RuntimeConformance

SPEC = RuntimeConformance.spec


def program(code: str, *arguments: object, **environment: str) -> Any:
    """The JSON that a program prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_log_that_nobody_configured_is_silent() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("pretrained_cnn").handlers)
    code = "import logging, pretrained_cnn; logging.getLogger('pretrained_cnn.x').warning('hello')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""


def test_a_warning_is_the_callers_and_comes_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            _process.warn("the cache is full")
        _process.warn("another cause")
    assert [(str(warning.message), warning.category) for warning in caught] == [
        ("the cache is full", PretrainedCNNWarning),
        ("another cause", PretrainedCNNWarning),
    ]
    assert {warning.filename for warning in caught} == {__file__}


IN_A_BLOCK = """
import contextlib

@contextlib.contextmanager
def opened():
    warn("a cause within a block")
    yield

def use():
    with opened():
        pass
"""


def test_a_warning_within_a_context_manager_is_the_callers_too() -> None:
    names: dict[str, Any] = {"warn": _process.warn}
    exec(compile(IN_A_BLOCK, Path(_process.__file__).with_name("made_up.py"), "exec"), names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names["use"]()
    assert [warning.filename for warning in caught] == [__file__]


def test_building_a_network_leaves_pythons_random_alone(keras_home: Path) -> None:
    for build in (
        lambda: Classifier("EfficientNetLite0").keras_model,
        lambda: Classifier(SPEC).keras_model,
        lambda: Classifier("EfficientNetLite0", runtime="keras").predict("examples/images/clock.png"),
    ):
        random.seed(0)
        expected = random.Random(0).random()
        build()
        assert random.random() == expected


def test_random_is_kept_where_threads_overlap() -> None:
    np.random.seed(3)
    before, expected = random.getstate(), np.random.RandomState(3).random()
    first, second = _process.random_kept(), _process.random_kept()
    first.__enter__()
    random.random()
    np.random.random()
    second.__enter__()
    random.random()
    np.random.random()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert random.getstate() == before
    assert np.random.random() == expected


def test_random_weights_are_drawn_from_it() -> None:
    """As in Keras: two networks differ, and a seed repeats one."""
    models = [Classifier("MobileNet", weights=None, alpha=0.25).keras_model for _ in range(2)]
    first, second = (model.get_weights()[0] for model in models)
    assert (first != second).any()


BROKEN = """
import sys
sys.modules["PIL.Image"] = type(sys)("PIL.Image")  # a Pillow that lacks everything
try:
    from pretrained_cnn import Classifier
except ImportError as error:
    import json
    print(json.dumps([type(error).__name__, str(error), str(error.__cause__)]))
"""


def test_a_broken_package_is_named() -> None:
    name, message, cause = program(BROKEN)
    assert name == "ImportError"
    assert "PIL.Image" in cause
    assert message.startswith("Classifier cannot be imported: ")
    assert "PIL.Image" in message


WITHOUT_SSL = """
import json, sys

sys.modules["_ssl"] = sys.modules["ssl"] = None  # as in a Python that was built without it
from pretrained_cnn import Classifier

clf = Classifier.load(sys.argv[1])
print(json.dumps([len(clf.predict("examples/images/clock.png")), *(str(result.error) for result in clf.predict_batch(
    ["https://127.0.0.1:9/a.png", "http://127.0.0.1:9/a.png"], errors="return"))]))
"""


def test_a_python_without_ssl_classifies_files(tmp_path: Path) -> None:
    Classifier(SPEC).save(tmp_path / "b", format="litert")
    named, https, http = program(WITHOUT_SSL, tmp_path / "b")
    assert named > 0
    assert "this Python was built without ssl, so it opens no https address" in https
    assert "Connection refused" in http


IMPORTING = """
import json, sys, threading, time

from pretrained_cnn import Classifier

bundle = sys.argv[1]
failed, made, over = [], 0, threading.Event()

def use_keras():
    try:
        import keras
    finally:
        over.set()

def make():
    global made
    try:
        Classifier("EfficientNetLite0", runtime="litert")
        from pretrained_cnn import identity
        identity.has_dtype_policy()
        Classifier.load(bundle)
        made += 1
    except Exception as error:
        failed.append(repr(error))

thread = threading.Thread(target=use_keras)
thread.start()
while not over.is_set():
    make()
    time.sleep(0.001)
thread.join()
print(json.dumps([made, failed[:3]]))
"""


@pytest.mark.slow
def test_classifiers_are_made_while_another_thread_imports_keras(tmp_path: Path) -> None:
    Classifier(SPEC).save(tmp_path / "b", format="litert")
    made, failed = program(IMPORTING, tmp_path / "b")
    assert failed == []
    assert made >= 3, "the import was over before it could matter"


@pytest.mark.slow
def test_first_uses_in_many_threads_at_once(tmp_path: Path) -> None:
    code = """
import json, threading
from pretrained_cnn import Classifier
failed, labels = [], []
def use():
    try:
        clf = Classifier("EfficientNetLite0", runtime="openvino")
        labels.append(clf.predict("examples/images/clock.png").top.label)
    except BaseException as error:
        failed.append(repr(error))
threads = [threading.Thread(target=use) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([failed, labels]))
"""
    failed, labels = program(code, PRETRAINED_CNN_CACHE=str(tmp_path))
    assert failed == []
    assert labels == ["analog_clock"] * 6


def test_a_spec_is_found_without_pillow_or_keras() -> None:
    assert get_spec("Xception").name == "Xception"


# Threads of the runtimes

COUNT = """
import json, os, sys
import numpy as np
from pathlib import Path
from pretrained_cnn import _process
from pretrained_cnn.runtimes import get_runtime

os.cpu_count = lambda: 16
_process.cores = lambda: 5  # as in a container
from pretrained_cnn.runtimes import litert, onnxruntime, openvino
litert.cores = _process.cores
name, path, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) or None
if name == "openvino":  # its pool has as many threads as the machine has cores; it says how many it uses
    _process.cores = lambda: 1
    runtime = get_runtime(name).open(path, ["scores"], threads=threads)
    print(json.dumps(runtime._requests[True]._compiled.get_property("INFERENCE_NUM_THREADS")))
    raise SystemExit
before = len(os.listdir("/proc/self/task"))
runtime = get_runtime(name).open(path, ["scores"], threads=threads)
runtime.run(np.zeros((4, 40, 24, 3), np.uint8))
print(json.dumps(len(os.listdir("/proc/self/task")) - before + 1))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.parametrize(
    ("runtime", "format", "expected"),
    [("openvino", "openvino", {0: 1, 2: 2}), ("onnxruntime", "onnx", {0: 5, 3: 3}), ("litert", "litert", {0: 5, 3: 3})],
)
def test_a_runtime_takes_the_cores_that_the_process_may_use(
    runtime: str, format: str, expected: dict[int, int], tmp_path: Path
) -> None:
    Classifier(SPEC).save(tmp_path / "b", format=format)  # type: ignore[arg-type]
    (path,) = (tmp_path / "b").glob("model.[xot]*")
    assert {threads: program(COUNT, runtime, path, threads) for threads in expected} == expected


def test_a_runtime_of_the_whole_process_takes_no_number() -> None:
    from pretrained_cnn.runtimes import get_runtime

    with pytest.raises(InvalidArgumentError, match="threads=2: runtime='keras' cannot be told how many"):
        get_runtime("keras").open(None, ["scores"], threads=2)
    for threads in (0, 10**6):
        with pytest.raises(InvalidArgumentError, match=f"threads={threads} is not a whole number from 1 to 1024"):
            get_runtime("litert").open(None, ["scores"], threads=threads)


# Conversions

STATE = """
import gc, json, locale, logging, os, random, signal, sys, threading, time, warnings
import numpy as np
import PIL.Image, PIL.ImageFile

MAY_CHANGE = {"TF_CPP_MIN_LOG_LEVEL", "ORT_DISABLE_TELEMETRY"}
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
gc.collect()
gc.freeze()
random.seed(1)
warnings.filterwarnings("error", "mine")

def state():
    found = {
        "streams": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "filters": [str(item) for item in warnings.filters], "showwarning": str(warnings.showwarning),
        "root logger": [len(logging.root.handlers), logging.root.level, logging.root.manager.disable],
        "environment": {name: value for name, value in os.environ.items() if name not in MAY_CHANGE},
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "locale": locale.setlocale(locale.LC_ALL), "hooks": [str(sys.excepthook), str(threading.excepthook)],
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 0],
        "random": hash(random.getstate()), "numpy": [str(np.geterr()), hash(np.random.get_state()[1].tobytes())],
        "pillow": [PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES],
        "places": [os.getcwd(), *sys.path],
    }
    if "tensorflow" in sys.modules:
        import tensorflow as tf, absl.logging, keras
        theirs = map(logging.getLogger, ("absl", "tensorflow"))
        found["loggers"] = [absl.logging.get_verbosity(), *((len(log.handlers), log.level) for log in theirs)]
        found["tensorflow"] = [tf.config.functions_run_eagerly(), tf.executing_eagerly(), tf.get_logger().level,
            tf.config.get_soft_device_placement(), tf.config.threading.get_intra_op_parallelism_threads()]
        found["keras"] = [keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy().name,
            keras.config.is_traceback_filtering_enabled(), keras.config.is_interactive_logging_enabled()]
    return found
"""


STEPS = """
from pretrained_cnn import Classifier

drawn, over = [], threading.Event()

def work():
    own = random.Random(3)
    while not over.wait(0.001):
        drawn.append((own.random(), sys.stdout is sys.__stdout__))

thread = threading.Thread(target=work, daemon=True)
thread.start()
CLOCK = "examples/images/clock.png"
images = np.random.RandomState(0).randint(0, 255, (8, 224, 224, 3), np.uint8)
clf = Classifier("EfficientNetLite0", runtime="keras")
train = lambda: Classifier.train(list(zip(images, "ab" * 4)), model="EfficientNetLite0")
steps = {
    "prediction": lambda: clf.predict(CLOCK), "batch": lambda: clf.predict_batch([CLOCK] * 3),
    "explanation": lambda: clf.explain(CLOCK), "evaluation": lambda: clf.evaluate([(CLOCK, "analog_clock")]),
    "conversion": lambda: Classifier("EfficientNetLite0", runtime="openvino").predict(CLOCK), "training": train,
}
changed, before = {}, states[0]
for name, step in {"import": lambda: None, **steps}.items():
    step()
    after = state()
    for kind in before:
        if before[kind] != after[kind]:
            one, other = before[kind], after[kind]
            if kind == "environment":
                other = {key: value for key, value in other.items() if one.get(key) != value}
                one = {key: value for key, value in one.items() if key not in after[kind]}
            elif kind == "filters":
                one, other = ([item for item in x if item not in y] for x, y in ((one, other), (other, one)))
            changed[f"{name}: {kind}"] = [one, other]
    before = after
over.set()
thread.join()
same = random.Random(3)
print(json.dumps([changed, all(item == (same.random(), True) for item in drawn)]))
"""

SET_BY_OTHERS = (
    "TF2_BEHAVIOR",
    "TPU_ML_",
    "ENABLE_RUNTIME_UPTIME_TELEMETRY",
    "HDF5_PLUGIN_PATH",
    "KMP_",
    "LD_LIBRARY_",
)
"""What TensorFlow, h5py and what they import set in the environment when they are imported."""


@pytest.mark.slow
def test_each_step_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    code = STATE + "states = [state()]\n" + STEPS
    changed, undisturbed = program(code, PRETRAINED_CNN_CACHE=str(tmp_path))
    gone, environment = changed.pop("prediction: environment", ({}, {}))
    assert gone == {}
    assert [name for name in environment if not name.startswith(SET_BY_OTHERS)] == []
    gone, filters = changed.pop("prediction: filters", ([], []))
    assert gone == []
    assert not any("mine" in item for item in filters), "those of other packages come on top"
    assert changed == {}
    assert undisturbed, "a thread beside it saw another stdout, or its own random numbers changed"


def test_conversions_in_one_process_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without their lock the second to come leaves last here, and restores what the first one had set."""
    second_came, first_left = threading.Event(), threading.Event()
    inside: list[str] = []

    def convert_here(name: str, **_: Any) -> list[str]:
        inside.append(name)
        assert sys.stdout is sys.stderr
        if name == "first":
            second.start()
            overlapped.append(second_came.wait(0.3))
        else:
            second_came.set()
            first_left.wait(10)
        return ["scores"]

    def run(name: str) -> None:
        graph = SimpleNamespace(output={"scores": SimpleNamespace(shape=(None, 3))})
        spec = SPEC.replace(name=name)
        convert.convert(graph, tmp_path, format=get_format("litert"), spec=spec, dtype="float32", images=None)  # type: ignore[arg-type]
        if name == "first":
            first_left.set()

    overlapped: list[bool] = []
    monkeypatch.setattr(convert, "_hand_over", lambda graph, scratch: scratch)
    monkeypatch.setattr(convert, "convert_here", convert_here)
    stdout, filters, handlers = sys.stdout, list(warnings.filters), list(logging.root.handlers)
    first, second = (threading.Thread(target=run, args=(name,)) for name in ("first", "second"))
    first.start()
    first.join()
    second.join()
    assert inside == ["first", "second"]
    assert overlapped == [False]
    assert (sys.stdout, warnings.filters, logging.root.handlers) == (stdout, filters, handlers)


HOST = """
import tensorflow, keras, absl.logging

from pretrained_cnn import Classifier
from pretrained_cnn.bundle import child, convert
from pretrained_cnn.testing import RuntimeConformance

child.allowed = sys.argv[1] == "child"
real, came, first_left = convert.convert_here, [], threading.Event()

def overlapping(**arguments):  # with no lock, the thread that came second leaves last, and restores what it found
    came.append(arguments)
    if len(came) == 1:
        end = time.monotonic() + 2
        while len(came) == 1 and time.monotonic() < end:
            time.sleep(0.01)
        try:
            return real(**arguments)
        finally:
            first_left.set()
    try:
        return real(**arguments)
    finally:
        first_left.wait()
        time.sleep(0.5)

convert.convert_here = overlapping
SPEC = RuntimeConformance.spec
classifiers = [Classifier(SPEC, runtime=name) for name in sys.argv[2:]]
if child.allowed:
    classifiers += [Classifier("EfficientNetLite0", runtime=sys.argv[2])]
[clf.keras_model for clf in classifiers]  # whatever is imported and built for that is there before
before, foreign, over = state(), [], threading.Event()

def watch():
    while not over.wait(0.001):
        foreign.append(sys.stdout is not sys.__stdout__)

def use(clf):
    clf.predict_proba(["examples/images/clock.png"])

watcher = threading.Thread(target=watch)
watcher.start()
threads = [threading.Thread(target=use, args=(clf,)) for clf in classifiers]
for thread in threads:
    thread.start()
    time.sleep(0.05)
[thread.join() for thread in threads]
over.set()
watcher.join()
after = state()
changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
print(json.dumps([changed, sum(foreign), len(foreign), "tf2onnx" in sys.modules]), file=sys.__stdout__)
"""


@pytest.mark.parametrize("where", ["child", "here"])
@pytest.mark.slow
def test_conversions_in_threads_leave_the_process_as_it_was(where: str, tmp_path: Path) -> None:
    changed, foreign, looks, converter = program(
        STATE + HOST, where, "onnxruntime", "openvino", PRETRAINED_CNN_CACHE=str(tmp_path)
    )
    assert changed == {}
    assert looks > 10
    if where == "child":
        assert not converter, "it would stay in the process for ever"
        assert foreign == 0, "other threads' prints went elsewhere"


OWN = """
import json, sys
import keras, numpy as np
from own_layer import Shift
from pretrained_cnn import BundleError, Classifier, ModelSpec
from pretrained_cnn.bundle import convert

def never():
    raise AssertionError("it is converted in this process")

convert._undone = never

def build(input_shape, layer=Shift):
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(6, 3, strides=4, activation="relu")(inputs)
    x = keras.layers.Flatten()(layer()(keras.layers.Conv2D(8, 1, groups=2)(x)))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))

def preprocess(x):
    return x / 255 - np.float32(0.5)

spec = ModelSpec(name="Own", builder=build, input_size=(32, 32), labels=["a", "b", "c"], preprocess=preprocess)
image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
differences = []
for runtime in ("openvino", "litert"):
    clf = Classifier(spec, weights=None, runtime=runtime)
    found = clf.predict_proba([image])
    differences.append(float(np.abs(found - clf.keras_model(preprocess(image[np.newaxis]))).max()))
    assert found.std() > 1e-3

class InPython(keras.Layer):
    def call(self, x):
        import tensorflow as tf
        return tf.ensure_shape(tf.py_function(lambda x: x, [x], x.dtype), x.shape)

try:
    Classifier.from_keras(build((32, 32, 3), InPython), labels=["a", "b", "c"], runtime="openvino").predict(image)
except BundleError as error:
    failure = [str(error), *error.__notes__]
print(json.dumps([differences, failure, sorted({"tf2onnx", "ai_edge_litert.schema_py_generated"} & set(sys.modules))]))
"""

OWN_LAYER = """
import keras
with open(__file__ + ".imports", "a") as file:
    file.write("once")

class Shift(keras.Layer):
    def build(self, shape):
        self.shift = self.add_weight(shape=shape[-1:], initializer="random_normal")

    def call(self, x):
        return x + self.shift
"""


@pytest.mark.slow
def test_a_network_that_exists_here_only_is_converted_elsewhere(tmp_path: Path) -> None:
    """With a layer and a preprocess function of the user's own, and random weights."""
    (tmp_path / "own_layer.py").write_text(OWN_LAYER)
    differences, failure, converters = program(OWN, PYTHONPATH=str(tmp_path), PRETRAINED_CNN_CACHE=str(tmp_path / "c"))
    assert max(differences) < 1e-5
    assert (tmp_path / "own_layer.py.imports").read_text() == "once"
    assert converters == []
    message, note = failure
    assert "cannot be written in format='openvino': " in message
    assert note.startswith("The process that failed printed last:\n")
    assert len(note.splitlines()) <= 51


def test_threads_are_a_classifiers(tmp_path: Path) -> None:
    Classifier(SPEC).save(tmp_path / "b", format="litert")
    assert Classifier.load(tmp_path / "b", threads=2).engine.threads == 2
    assert Classifier("EfficientNetLite0", runtime="litert", threads=1).engine.threads == 1
    for runtime, threads in (("keras", 2), ("litert", 0), ("litert", True)):
        with pytest.raises(InvalidArgumentError, match="threads="):
            Classifier("EfficientNetLite0", runtime=runtime, threads=threads)


@pytest.mark.slow
def test_the_command_line_takes_threads(tmp_path: Path) -> None:
    Classifier(SPEC).save(tmp_path / "b", format="litert")
    command = [sys.executable, "-m", "pretrained_cnn", "classify", "examples/images/clock.png", "--threads", "1"]
    for model in (tmp_path / "b", "EfficientNetLite0"):
        done = subprocess.run([*command, "--model", model], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("examples/images/clock.png")


@pytest.mark.slow
def test_fetch_fills_the_cache_for_a_runtime(tmp_path: Path) -> None:
    environment = os.environ | {"PRETRAINED_CNN_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "pretrained_cnn", "fetch", "EfficientNetLite0", "--runtime", "litert"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"EfficientNetLite0\t{tmp_path / 'cache' / 'converted'}\tlitert\n"
    assert "TensorFlow" not in done.stderr
    (kept,) = [path for path in (tmp_path / "cache" / "converted").iterdir() if not path.name.startswith(".")]
    assert (kept / "model.tflite").exists()
    refused = subprocess.run([*command, "--to", "stick"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "set KERAS_HOME in place of --to" in refused.stderr
