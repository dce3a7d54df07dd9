"""stdout, stderr and signals: results go to stdout, everything else to stderr, and no console ends a run."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

from typing_extensions import override

from pretrained_cnn._process import TENSORFLOWS_LOG, hush
from pretrained_cnn.errors import ImageError, OutputError, PretrainedCNNWarning

__all__ = [
    "Terminated",
    "complain",
    "flush",
    "kept",
    "log_to_stderr",
    "open_console",
    "quiet",
    "say",
    "terminable",
    "warnings_to_stderr",
]


def say(text: object = "") -> None:
    """Print a line of results to stdout, at once.

    Raises OutputError if stdout cannot be written, and BrokenPipeError if its reader went away.
    """
    with _stdout():
        print(text, flush=True)


def escaped(text: str) -> str:
    """The text in one line that no terminal obeys: control characters, tabs and newlines as in a Python string.

    >>> print(escaped("a\\tb\\x1b[2J.jpg"))
    a\\tb\\x1b[2J.jpg
    """
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter
        for letter in text
    )


def complain(message: object) -> None:
    """Print a line to stderr, with the program's name. A closed or full stderr takes nothing, without an error."""
    if isinstance(message, ImageError):  # its name may be anything
        message = escaped(str(message))
    if sys.stderr is None:  # print() would take stdout instead
        return
    try:
        print(f"pretrained-cnn: {message}", file=sys.stderr, flush=True)
    except OSError:
        _abandon(sys.stderr)


def flush() -> None:
    """Write what stdout still holds. Raises as `say` does."""
    with _stdout():
        if sys.stdout is not None:
            sys.stdout.flush()


@contextlib.contextmanager
def _stdout() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _abandon(sys.stdout)
        if isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL:  # as Windows says it
            raise BrokenPipeError from error
        raise OutputError(f"stdout cannot be written: {error.strerror or error}") from error


def _abandon(stream: TextIO) -> None:
    """Send the rest of a stream to the null device: Python flushes it once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def open_console() -> None:
    """Make the three standard streams safe to use.

    - A stream that the parent process closed takes its place on the null device again. Otherwise the next file to be
      opened would get its number, and native code's messages with it. Using such a stdin or stdout still fails.
    - Characters that stdout's encoding lacks are escaped. A file name's bytes that are not text are written as is.
    """
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if name in closed:
            _open_null(number)
    if "stdin" in closed:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_Closed("stdin")))
    if "stdout" in closed:
        sys.stdout = io.TextIOWrapper(_Closed("stdout"), write_through=True)
    if "stderr" in closed:
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPE)


def _open_null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


class _Closed(io.RawIOBase):
    """What stands for a closed stream: each use of it says so."""

    def __init__(self, name: str) -> None:
        self.name = name

    @override
    def readable(self) -> bool:
        return True

    @override
    def writable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: object) -> int:
        raise OSError(errno.EBADF, "it is closed", self.name)

    @override
    def write(self, data: object) -> int:
        raise OSError(errno.EBADF, "it is closed", self.name)


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode what an encoding lacks: the bytes that `os.fsdecode` kept as surrogates, else ``\\u`` escapes.

    >>> "caf\\u00e9 \\udcff".encode("ascii", "pretrained_cnn.escape")
    b'caf\\\\xe9 \\xff'
    """
    assert isinstance(error, UnicodeEncodeError)
    start = error.start
    if "\udc80" <= error.object[start] <= "\udcff":
        return bytes([ord(error.object[start]) - 0xDC00]), start + 1
    one = UnicodeEncodeError(error.encoding, error.object, start, start + 1, error.reason)
    return codecs.backslashreplace_errors(one)


_ESCAPE = "pretrained_cnn.escape"
codecs.register_error(_ESCAPE, _escape)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: everything ends as it does after Ctrl-C."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated on SIGTERM, so that files are closed and temporary ones removed. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


KEPT = "what the run leaves behind was said"
"""The note of an interruption that `kept` reported."""


@contextlib.contextmanager
def kept(what: Callable[[], str]) -> Iterator[None]:
    """If the run is interrupted inside, say what it leaves behind, and how to continue."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        complain(f"interrupted; {what()}")
        interruption.add_note(KEPT)
        raise


class _ToStderr(logging.StreamHandler[Any]):
    """Writes to whatever ``sys.stderr`` is at the moment."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        complain(record.getMessage())


def log_to_stderr() -> None:
    """Show the library's messages from INFO on, and those of other libraries from WARNING on."""
    logging.basicConfig(handlers=[_ToStderr()])
    logging.getLogger("pretrained_cnn").setLevel(logging.INFO)


@contextlib.contextmanager
def warnings_to_stderr() -> Iterator[None]:
    """Show each warning of the library as a line, whatever the filters; others as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", PretrainedCNNWarning)
        show = warnings.showwarning

        def complain_of(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, PretrainedCNNWarning):
                complain(message)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = complain_of
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what native code writes to stderr, such as TensorFlow's chatter; Python's own output stays."""
    os.environ.setdefault(TENSORFLOWS_LOG, "3")
    with hush():
        yield
