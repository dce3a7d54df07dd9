"""A function in a process of its own: what goes over, what comes back, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pretrained_cnn import BundleError, InvalidArgumentError, MissingDependencyError
from pretrained_cnn.bundle import child

pytestmark = pytest.mark.child


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module for the child to call, on the parent's search path."""
    (tmp_path / "functions.py").write_text(FUNCTIONS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)


FUNCTIONS = """
import os, signal, subprocess, sys, time
from pretrained_cnn.errors import BundleError, InvalidArgumentError, MissingDependencyError

def add(a, b):
    print("a converter's chatter")
    subprocess.run(["echo", "of native code"])
    return {"sum": a + b}

def look():
    return {"path": sys.path, "cwd": os.getcwd(), "keras": os.environ["KERAS_BACKEND"], "optimize": sys.flags.optimize,
            "heavy": sorted({"tensorflow", "keras"} & set(sys.modules)), "main": "__main__" in sys.modules}

def fail(kind):
    print("before it failed", file=sys.stderr)
    raise {"argument": InvalidArgumentError("x=3 is wrong"), "bundle": BundleError("it cannot be written"),
           "missing": MissingDependencyError("scipy", extra="openvino"), "value": ValueError("a value"),
           "unicode": UnicodeDecodeError("utf-8", b"\\xff", 0, 1, "no"), "exit": SystemExit(3)}[kind]

def kill(number):
    os.kill(os.getpid(), number)
    time.sleep(60)

def wait(path):
    open(path, "w").write(str(os.getpid()))
    time.sleep(120)
"""


def test_a_result_comes_back_whatever_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert child.call("functions:add", {"a": 1, "b": 2}, purpose="testing") == {"sum": 3}
    assert capfd.readouterr() == ("", "")


def test_the_child_finds_the_parents_modules_and_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "json.py").write_text("raise SystemExit('a file of the user, by the name of a module')")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    seen = child.call("functions:look", {}, purpose="testing")
    assert str(tmp_path) in seen["path"]
    assert not {"", str(folder)} & set(seen["path"])
    assert (seen["keras"], seen["optimize"], seen["heavy"]) == ("tensorflow", 0, [])


@pytest.mark.parametrize(
    ("kind", "expected", "message"),
    [
        ("argument", InvalidArgumentError, "x=3 is wrong"),
        ("bundle", BundleError, "it cannot be written"),
        ("missing", MissingDependencyError, 'this needs the package scipy: pip install "pretrained-cnn[openvino]"'),
        ("value", ValueError, "a value"),
        ("unicode", BundleError, "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: no"),
        ("exit", BundleError, "SystemExit: 3"),
    ],
)
def test_an_exception_is_raised_here_again(
    kind: str, expected: type[Exception], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pretrained_cnn")
    with pytest.raises(expected) as caught:
        child.call("functions:fail", {"kind": kind}, purpose="testing")
    assert str(caught.value) == message
    (note,) = caught.value.__notes__
    assert "before it failed" in note
    assert len(note.splitlines()) <= child.KEPT_LINES + 1
    assert "before it failed" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_signal_is_named() -> None:
    with pytest.raises(BundleError, match="testing: its process was ended by SIGKILL, perhaps for lack of memory"):
        child.call("functions:kill", {"number": int(signal.SIGKILL)}, purpose="testing")


@pytest.mark.parametrize(
    ("name", "value"),
    [("executable", "/no/python"), ("executable", "/usr/bin/uwsgi"), ("executable", ""), ("frozen", True)],
)
def test_where_no_child_can_be_started(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(child.NoChildError):
        child.call("functions:add", {"a": 1, "b": 2}, purpose="testing")


def test_a_child_that_dies_before_its_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("raise SystemExit('no')", "print('hello')", ""):
        monkeypatch.setattr(child, "PROGRAM", program)
        with pytest.raises(child.NoChildError, match="did not start"):
            child.call("functions:add", {"a": 1, "b": 2}, purpose="testing")


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_child_does_not_outlive_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from pretrained_cnn.bundle import child
child.call("functions:wait", {json.dumps({"path": str(tmp_path / "pid")})}, purpose="testing")
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    process = int((tmp_path / "pid").read_text())
    assert alive(process)
    parent.send_signal(number)
    parent.wait(timeout=30)
    while alive(process):
        assert time.monotonic() < end
        time.sleep(0.05)


SCRIPT = """
print("once")
from pretrained_cnn.bundle import child
print(child.call("functions:add", {"a": 1, "b": 1}, purpose="testing"))
"""


def test_the_host_script_is_not_run_again(tmp_path: Path) -> None:
    """A script without a ``__main__`` guard, which multiprocessing would run once more in the child."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "once\n{'sum': 2}\n"
