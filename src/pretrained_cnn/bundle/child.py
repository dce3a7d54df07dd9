"""Run a function of this library in a process of its own, which takes with it whatever it imported and changed.

Converters import gigabytes, redirect streams and set global options. In the program that asks for a conversion all that
would stay for its whole life, and other threads would notice. The child gets its request as one line of JSON on stdin
and answers with two lines on stdout: one when it has started, one with the result. It ends when its stdin closes, so
that it does not outlive the program.
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping
from os import _exit as exit_at_once
from pathlib import Path
from typing import IO, Any, NoReturn

from pretrained_cnn import errors
from pretrained_cnn._lazy import Reference
from pretrained_cnn.errors import BundleError, MissingDependencyError, PretrainedCNNError

__all__ = ["NoChildError", "call", "serve"]

log = logging.getLogger(__name__)

PROGRAM = """
import json, sys
request = json.loads(sys.stdin.buffer.readline())
sys.path[:] = request["path"]
from pretrained_cnn.bundle.child import serve
serve(request)
"""

READY = "ready"
KEPT_LINES = 50
"""How many of the last lines of a child's output are kept, to be shown if it fails."""


allowed = True
"""Whether `call` may start a process. A child has no children, and most tests of other things need none."""


class NoChildError(PretrainedCNNError):
    """No child process can be started here, or none gets as far as its first word."""


def call(function: str, arguments: Mapping[str, Any], *, purpose: str, seconds: float | None = None) -> Any:
    """Call ``function``, ``"module:attr"``, with ``arguments`` in a child process, and return its result.

    ``purpose`` begins the message where a signal ends the child: "converting X to onnx".

    Arguments and result are plain data, as JSON has them. An exception is raised here again, of the same class and with
    the same message; the last lines that the child printed are its note. Raises NoChildError if no child can be
    started, BundleError if a signal ended it, or if it takes longer than ``seconds``.
    """
    request = {"path": _search_path(), "function": function, "arguments": dict(arguments)}
    process = _start()
    printed: deque[str] = deque(maxlen=KEPT_LINES)
    reader = threading.Thread(target=_read_lines, args=(process.stderr, printed), daemon=True)
    reader.start()
    clock = None if seconds is None else threading.Timer(seconds, process.kill)
    if clock is not None:
        clock.daemon = True
        clock.start()
    try:
        ready, answer = _exchange(process, request)
    except BaseException:  # such as Ctrl-C
        process.kill()
        raise
    finally:
        process.wait()
        late = clock is not None and not clock.is_alive()
        if clock is not None:
            clock.cancel()
        reader.join(timeout=10)  # it ends with the pipe, which a grandchild might hold
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
    output = "\n".join(printed)
    log.debug("the child process for %s ended with status %d; it printed:\n%s", function, process.returncode, output)
    if not ready and not late:
        raise NoChildError(f"{sys.executable} did not start: {output[-500:]}")
    if answer and "result" in answer:
        return answer["result"]
    end = f"it took longer than {seconds:g} seconds" if late else _end(process.returncode)
    error = _as_exception(answer["error"]) if answer else BundleError(f"{purpose}: {end}")
    if output:
        error.add_note(f"The process that failed printed last:\n{output}")
    raise error


def _start() -> subprocess.Popen[bytes]:
    program = sys.executable
    if not allowed:
        raise NoChildError("no child process is allowed here")
    if getattr(sys, "frozen", False) or "python" not in Path(program or "").name.lower():
        raise NoChildError(f"{program or 'this program'} is not a Python interpreter")
    flags = ["-P", "-W", "ignore"]  # -P: the working directory is not searched for modules
    flags += ["-E"] if sys.flags.ignore_environment else []
    flags += ["-s"] if sys.flags.no_user_site else []
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONOPTIMIZE", "PYTHONINSPECT", "PYTHONPATH")
    }
    environment |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        return subprocess.Popen(
            [program, *flags, "-c", PROGRAM],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise NoChildError(f"{program} cannot be started: {error}") from error


def _search_path() -> list[str]:
    """Where this process finds its modules, without the working directory, and with this package in any case."""
    own = str(Path(__file__).parents[2])
    found = [os.path.abspath(folder) for folder in sys.path if folder]
    return found if own in found else [own, *found]


def _exchange(process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> tuple[bool, dict[str, Any] | None]:
    """Whether the child started, and its answer, if it gave one."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    except OSError:  # it has ended already
        return False, None
    ready = process.stdout.readline().decode("ascii", "replace").strip() == READY
    answer = process.stdout.readline() if ready else b""
    if not ready:
        process.kill()  # whatever it is
    return ready, json.loads(answer) if answer.endswith(b"\n") else None


def _read_lines(pipe: IO[bytes], lines: deque[str]) -> None:
    with pipe:
        for line in pipe:
            lines.append(line.decode("utf-8", "backslashreplace").rstrip())


def _end(status: int) -> str:
    """How a child ended that gave no answer."""
    if status >= 0:
        return f"its process ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return (
        f"its process was ended by {name}, perhaps for lack of memory; give it more memory, or save a bundle on "
        "another machine and bring it here"
    )


def _as_exception(described: Mapping[str, Any]) -> Exception:
    name, message = described["class"], described["message"]
    if name == MissingDependencyError.__name__:
        return MissingDependencyError(described["package"], extra=described["extra"])
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            error = kind(message)
        except TypeError:  # it takes more than a message
            pass
        else:
            return error
    return BundleError(f"{name}: {message}")


def serve(request: Mapping[str, Any]) -> NoReturn:
    """The child's side of `call`."""
    global allowed
    allowed = False
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and that ends this process
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a converter prints is no answer
    sys.stdout = sys.stderr
    print(READY, file=answers, flush=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        reply = {"result": Reference(request["function"])(**request["arguments"])}
    except BaseException as error:  # SystemExit of a converter included: the parent waits for an answer
        traceback.print_exc()
        described: dict[str, Any] = {"class": type(error).__name__, "message": str(error)}
        if isinstance(error, MissingDependencyError):
            described |= {"package": error.package, "extra": error.extra}
        reply = {"error": described}
    sys.stderr.flush()
    print(json.dumps(reply), file=answers, flush=True)
    exit_at_once(0)  # nothing of this process is needed anymore, and TensorFlow takes its time to end


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    exit_at_once(1)
