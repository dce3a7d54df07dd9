"""The library is a guest in its host's process: what it changes there, and what threads may do at once."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from pretrained_cnn import Classifier, PretrainedCNNWarning, _process, get_spec
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


def test_classifiers_are_made_while_another_thread_imports_keras(tmp_path: Path) -> None:
    Classifier(SPEC).save(tmp_path / "b", format="litert")
    made, failed = program(IMPORTING, tmp_path / "b")
    assert failed == []
    assert made > 5, "the import was over before it could matter"


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
