"""No runtime, conversion, training or command opens a connection that it does not need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="seccomp")


def sealed(code: str, *arguments: object, **environment: str) -> Any:
    """A program that cannot connect to anything."""
    return subprocess.run(
        [sys.executable, "-c", f"import sealed\nsealed.seal()\n{code}", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")} | environment,
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.create_connection(('::1', 9))",
        "import socket; socket.getaddrinfo('example.org', 443)",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
        "import socket, threading; threading.Thread(target=socket.create_connection, args=(('127.0.0.1', 9),)).start()",
        "import os, subprocess, sys; done = subprocess.run([sys.executable, '-c', 'import socket; "
        'socket.create_connection(("127.0.0.1", 9))\']); os.kill(os.getpid(), -done.returncode)',
    ],
)
def test_a_connection_would_be_seen(code: str) -> None:
    assert sealed(code).returncode == -signal.SIGSYS


def test_what_stays_on_the_machine_is_none(tmp_path: Path) -> None:
    code = "import socket; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = sealed(f"import sys; {code}", tmp_path / "s")
    assert "FileNotFoundError" in done.stderr


WORK = """
import sys, time
from pathlib import Path
import numpy as np
from pretrained_cnn import Classifier, cli

folder, end = Path(sys.argv[1]), time.monotonic() + 20
clock, images = "examples/images/clock.png", "examples/images"
(folder / "train.csv").write_text(f"path,label\\n{Path(clock).resolve()},a\\n{Path(images).resolve()}/candle.png,b\\n")
train, own = str(folder / "train.csv"), str(folder / "own.bundle")

def run(*words):
    assert cli.main([str(word) for word in words]) == 0, words

run("fetch", "EfficientNetLite0", "--runtime", "onnxruntime")
run("classify", images, "--model", "EfficientNetLite0", "--runtime", "onnxruntime")
run("train", train, "--model", "patterns:SMALL", "--validation", train, "--output", own)
for format in ("openvino", "onnx", "litert"):
    run("export", "--model", own, "--format", format, "--output", folder / format)
    run("check", folder / format)
loaded = [Classifier.load(folder / format) for format in ("openvino", "onnx", "litert")]
run("classify", images, "--model", own, "--output", folder / "rows.csv")
run("embed", images, "--model", own, "--output", folder / "rows.npy")
run("evaluate", train, "--model", own)
run("compare", own, folder / "onnx", train)
run("report", images, "--model", own, "--output", folder / "page.html")
for words in ("fetch EfficientNetLite0", "cache", "models", "models --offline", "runtimes"):
    run(*words.split())
while time.monotonic() < end:  # what reports does so after some seconds, in a thread of its own
    for clf in loaded:
        clf.predict(clock)
    time.sleep(0.5)
"""


@pytest.mark.slow
@pytest.mark.child
def test_nothing_is_sent(tmp_path: Path) -> None:
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    places = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "PRETRAINED_CNN_CACHE": str(tmp_path / "cache")}
    done = sealed(WORK, tmp_path / "work", **places)
    assert done.returncode == 0, done.stderr[-2000:]
    files = [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [name for name in files if not name.startswith(("keras.json", "fontlist-"))] == [], "such as a device's id"
