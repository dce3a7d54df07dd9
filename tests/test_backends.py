"""The Keras runtime on Keras's other backends: the same small tests in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from paths import ROOT

TESTS = ["tests/test_runtimes.py::TestKeras", "tests/test_golden.py", "tests/test_explain.py"]


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
