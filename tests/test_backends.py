"""The Keras runtime on Keras's other backends: the same small tests in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from paths import ROOT

TESTS = ["tests/test_runtimes.py::TestKeras", "tests/test_golden.py", "tests/test_explain.py"]

CONVERTED = """
import json
import keras, numpy as np
from pretrained_cnn import BundleError, Classifier

class Own(keras.layers.ReLU):
    pass

def build(layer):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(6, 3, strides=4)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Flatten()(layer()(x))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))

def classifier(layer):
    return Classifier.from_keras(build(layer), labels=["a", "b", "c"], runtime="onnxruntime")

image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
clf = classifier(keras.layers.ReLU)
expected = keras.ops.convert_to_numpy(clf.keras_model(image[np.newaxis].astype("float32")))
found = clf.predict_proba([image])
try:
    classifier(Own).predict(image)
except BundleError as error:
    print(json.dumps([float(np.abs(found - expected).max()), float(found.max()), str(error)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_networks_of_keras_alone_are_converted_by_tensorflow(backend: str, tmp_path: Path) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend, "PRETRAINED_CNN_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", CONVERTED]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    difference, best, message = json.loads(done.stdout.splitlines()[-1])
    assert difference < 1e-5
    assert best < 0.99, "an answer so sure would hide a difference"
    assert message.endswith(
        "cannot be written in format='onnx': it has layers or functions of its own, which only TensorFlow can hand to "
        f"the converter, and Keras runs on {backend}; set KERAS_BACKEND=tensorflow"
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_on_another_backend(backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    probe = "import keras; print(keras.backend.backend())"
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTEST_ADDOPTS": ""}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    assert run("-c", probe).split() == [backend]
    assert " passed" in run("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *TESTS).splitlines()[-1]
