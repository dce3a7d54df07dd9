"""The host process: the resources that the library may use, and the state that it must not change."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import inspect
import logging
import math
import os
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrained_cnn.errors import InvalidArgumentError, PretrainedCNNWarning

__all__ = [
    "cores",
    "hush",
    "import_keras",
    "import_tensorflow",
    "is_running",
    "limit_cores",
    "limited_cores",
    "need_eager",
    "need_unforked",
    "random_kept",
    "switch_off_telemetry",
    "warn",
]

log = logging.getLogger(__name__)

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")

ORT_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""The environment variable that ONNX Runtime reads when it is imported."""


SYNCHRONIZE, WAIT_TIMEOUT, ERROR_INVALID_PARAMETER = 0x100000, 0x102, 87
"""Of Windows: the right to wait for a process, and what its functions answer."""


TENSORFLOWS_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""The environment variables that TensorFlow reads when it is first used."""

_limit: int | None = None
"""The cores that `limit_cores` leaves to this process."""

_reported: set[str] = set()
_random_states: list[tuple[Any, Any]] = []
"""The states to restore, once for each thread within `random_kept`."""

_lock = threading.Lock()


def warn(message: str, *, cause: str | None = None) -> None:
    """Issue a `PretrainedCNNWarning` at the caller's line outside of this package, once per cause or else message.

    Where a filter makes it an error, it is raised each time.
    """
    with _lock:
        if (cause or message) in _reported:
            return
        _reported.add(cause or message)
    inner = (str(Path(__file__).parent), contextlib.__file__)  # a context manager of ours is entered by contextlib
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_back is not None and frame.f_code.co_filename.startswith(inner):
        level, frame = level + 1, frame.f_back
    try:
        warnings.warn(message, PretrainedCNNWarning, stacklevel=level)
    except PretrainedCNNWarning:
        with _lock:
            _reported.discard(cause or message)
        raise


@contextlib.contextmanager
def random_kept() -> Iterator[None]:
    """Leave the states of Python's `random` and of numpy's global generator as they were.

    Keras draws a seed from the former for each layer that might need one, whether or not the weights come from a file.
    JAX, which TensorFlow imports where it is installed, draws from the latter when it is imported.
    """
    import numpy as np

    with _lock:
        if not _random_states:
            _random_states.append((random.getstate(), np.random.get_state(legacy=False)))
        else:  # another thread keeps it already; the last of them restores it
            _random_states.append(_random_states[0])
    try:
        yield
    finally:
        with _lock:
            pythons_state, numpys_state = _random_states.pop()
            if not _random_states:
                random.setstate(pythons_state)
                np.random.set_state(numpys_state)


TENSORFLOWS_LOG = "TF_CPP_MIN_LOG_LEVEL"
"""The environment variable that says which messages TensorFlow's native code prints: 0 for all, 3 for none."""

_hushed: list[contextlib.ExitStack] = []
"""What ends it, once for each block within `hush`; the last of them to end does so."""


@contextlib.contextmanager
def hush() -> Iterator[None]:
    """Discard what native code writes to stderr. What Python writes to `sys.stderr` is still shown.

    The file descriptor belongs to the whole process, so keep the block short.
    """
    with _lock:
        _hushed.append(_hushed[0] if _hushed else _without_stderr())
    try:
        yield
    finally:
        with _lock:
            end = _hushed.pop()
            if not _hushed:
                end.close()


def _without_stderr() -> contextlib.ExitStack:
    """Send file descriptor 2 to the null device until what this returns is closed."""
    with contextlib.ExitStack() as stack:
        try:
            shown = os.dup(2)
        except OSError:  # closed: nothing is written to it
            return contextlib.ExitStack()
        stack.callback(os.close, shown)
        nowhere = os.open(os.devnull, os.O_WRONLY)  # not a temporary file: a container may have no place for one
        stack.callback(os.close, nowhere)
        if _writes_to(sys.stderr, 2):
            stack.enter_context(_moved_to(shown))
        os.dup2(nowhere, 2)
        stack.callback(os.dup2, shown, 2)
        return stack.pop_all()


def _writes_to(stream: Any, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)
    except (AttributeError, OSError, ValueError):  # none, or a stream of Python's own, as in a notebook
        return False


@contextlib.contextmanager
def _moved_to(number: int) -> Iterator[None]:
    """Have `sys.stderr` write to another file descriptor."""
    python = sys.stderr
    encoding, errors = getattr(python, "encoding", None), getattr(python, "errors", None) or "backslashreplace"
    with open(os.dup(number), "w", buffering=1, encoding=encoding, errors=errors) as sys.stderr:
        try:
            yield
        finally:
            sys.stderr = python


def import_keras() -> Any:
    """Keras and its backend; TensorFlow starts without its messages, as `import_tensorflow` describes."""
    if "keras" not in sys.modules:
        with _quiet_start():
            keras = importlib.import_module("keras")
            if keras.backend.backend() == "tensorflow":
                _find_devices()
    return importlib.import_module("keras")


def import_tensorflow() -> Any:
    """TensorFlow, started without its messages about this machine, such as missing CUDA drivers.

    Some are printed before TensorFlow reads its own setting, so stderr is also held back. Where the user has set
    ``TF_CPP_MIN_LOG_LEVEL`` to less than 3, the messages are shown.
    """
    if "tensorflow" not in sys.modules:
        with _quiet_start():
            _find_devices()
    return importlib.import_module("tensorflow")


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    level = os.environ.setdefault(TENSORFLOWS_LOG, "3")
    with random_kept(), hush() if level == "3" else contextlib.nullcontext():
        yield


def _find_devices() -> None:
    """Import TensorFlow and have it look for GPUs, which it complains about when it finds none."""
    importlib.import_module("tensorflow").config.list_physical_devices()


def cores() -> int:
    """How many CPU cores this process may use: those of its affinity, within its container's quota and `limit_cores`.

    >>> cores() >= 1
    True
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *map(math.ceil, _quotas()), _limit or affinity]))


def limit_cores(count: int) -> None:
    """Let this process use no more than ``count`` cores: decoding, and each network that is opened from now on.

    For a process whose scheduler grants this number without enforcing it. TensorFlow obeys if it was not used yet.
    """
    global _limit
    _limit = count
    for name in TENSORFLOWS_THREADS:
        os.environ.setdefault(name, str(count))


def limited_cores() -> int | None:
    """`cores`, or None where nothing keeps the process from using all of the machine's.

    A runtime that chooses by itself may then leave some idle on purpose, such as the second thread of each core.
    """
    found = cores()
    return found if found < (os.cpu_count() or 1) else None


def is_running(process: int) -> bool:
    """Whether a process of that number runs on this machine; True where that cannot be found out."""
    if os.name == "nt":  # there os.kill ends a process, whatever the signal
        return _is_running_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _is_running_on_windows(process: int) -> bool:
    windows: Any = getattr(ctypes, "windll").kernel32  # noqa: B009 - unknown to type checkers elsewhere
    handle = windows.OpenProcess(SYNCHRONIZE, False, process)
    if not handle:  # no such process, or another user's
        return bool(windows.GetLastError() != ERROR_INVALID_PARAMETER)
    try:
        return bool(windows.WaitForSingleObject(handle, 0) == WAIT_TIMEOUT)
    finally:
        windows.CloseHandle(handle)


def _quotas() -> Iterator[float]:
    """How many cores' time each control group that the process is in may use (cgroups, version 1 and 2)."""
    try:
        lines = OWN_CGROUPS.read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, read = CGROUPS, _quota_2
        elif "cpu" in controllers.split(","):
            root, read = CGROUPS / controllers, _quota_1
        else:
            continue
        # In a container, the path may be the host's: then the group itself is at the root.
        inside = Path(path.lstrip("/"))
        for folder in (root / inside, *(root / parent for parent in inside.parents)):
            try:
                quota, period = read(folder)
            except (OSError, ValueError):  # no such group here, or no limit
                continue
            if quota > 0 and period > 0:
                yield quota / period


def _quota_2(folder: Path) -> tuple[int, int]:
    quota, period = (folder / "cpu.max").read_text("utf-8").split()
    return int(quota), int(period)


def _quota_1(folder: Path) -> tuple[int, int]:
    quota, period = ((folder / f"cpu.cfs_{name}_us").read_text("utf-8") for name in ("quota", "period"))
    return int(quota), int(period)


def switch_off_telemetry() -> None:
    """Keep ONNX Runtime from reporting to Microsoft what is run here. Call this before it is imported.

    From 1.32 on its Linux wheels send a device's id, the program's path and run times, unless this variable is set when
    the module is imported; its own function for that comes too late. A value that the user has set stays.
    """
    if "onnxruntime" in sys.modules and ORT_TELEMETRY not in os.environ:
        log.debug("onnxruntime was imported before; set %s=1 to keep it from sending telemetry", ORT_TELEMETRY)
    os.environ.setdefault(ORT_TELEMETRY, "1")


_tensorflow_used_in: int | None = None
"""The number of the process in which TensorFlow was used first."""


def need_unforked() -> None:
    """Raise InvalidArgumentError in a process that was forked after TensorFlow was used: its threads are not in it.

    Call this wherever TensorFlow is about to compute. It would wait forever.
    """
    global _tensorflow_used_in
    if _tensorflow_used_in is None:
        _tensorflow_used_in = os.getpid()
    elif _tensorflow_used_in != os.getpid():
        raise InvalidArgumentError(
            "this process was forked after TensorFlow was used, and TensorFlow cannot compute in it; start processes "
            'with multiprocessing.get_context("spawn"), or use runtime="openvino", "onnxruntime" or "litert", which '
            "work after a fork"
        )


def need_eager() -> None:
    """Raise InvalidArgumentError where TensorFlow, if it runs Keras, gives no numbers: in a graph, or after a fork."""
    tensorflow, keras = sys.modules.get("tensorflow"), sys.modules.get("keras")
    if keras is None or tensorflow is None or keras.backend.backend() != "tensorflow":
        return
    need_unforked()
    if not tensorflow.executing_eagerly():
        raise InvalidArgumentError(
            "TensorFlow builds a graph here (within tf.function, tf.data.Dataset.map, tf.Graph().as_default(), or "
            "after disable_eager_execution()), and a classifier needs numbers; call it outside, or through "
            "tf.py_function"
        )
