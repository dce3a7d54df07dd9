"""Downloads that are complete or absent: resumed, retried, and checked before they get their final name.

A download goes to ``.NAME.part`` beside its goal. Temporary failures (status 5xx or 429, silence, a cut connection) are
retried; a 404 or a wrong hash is not.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import logging
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

from pretrained_cnn._files import open_regular
from pretrained_cnn._http import cause, declared_length, open_url

__all__ = ["download"]

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds without a byte after which an attempt fails."""

ATTEMPTS = 5
"""Number of tries before a temporary failure ends a download."""

BACKOFF = 1.0
"""Seconds to wait after the first failed attempt; twice as long after each further one."""

MAX_BYTES = 4 * 2**30
"""More than this is not written, whatever a server sends; the largest file of the catalog has 1.4 GB."""

CHUNK = 256 * 1024

Problem = Callable[[Path], str | None]
"""What is wrong with a file that came; None if nothing is."""


class _PassingError(OSError):
    """An attempt failed in a way that the next one need not."""


def download(url: str, path: Path, problem: Problem, *, resumable: bool) -> None:
    """Bring what is at ``url`` to ``path``; only for the holder of the file's lock.

    The file takes its name when ``problem`` finds nothing wrong with it. A partial download is kept for resuming unless
    it proves corrupt; without ``resumable``, nothing is kept, because nothing tells whether the rest belongs to the
    same version. Raises OSError, which says why there is no file.
    """
    part = path.with_name(f".{path.name}.part")
    if part.is_symlink() or (part.exists() and not (part.is_file() and part.stat().st_nlink == 1)):
        part.unlink()  # somebody else's, and only its name is removed
    try:
        _insist(lambda: _attempt(url, part, problem, resumable), url)
        part.replace(path)
    finally:
        if not resumable:
            part.unlink(missing_ok=True)


def _insist(attempt: Callable[[], None], url: str) -> None:
    """Call ``attempt`` until it succeeds, as long as the failures are temporary."""
    for number in itertools.count(1):
        try:
            attempt()
            return
        except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
            if number == ATTEMPTS or not _may_pass(error):
                raise OSError(_reason(error) + (f"; tried {number} times" if number > 1 else "")) from error
            wait = BACKOFF * 2 ** (number - 1)
            log.warning("%s: %s; trying again in %g s", url, _reason(error), wait)
        time.sleep(wait)  # a server that is busy gets time to recover


def _attempt(url: str, part: Path, problem: Problem, resumable: bool) -> None:
    """Ask once for the file, or for what its part lacks. On return the part is whole."""
    start = part.stat().st_size if resumable and part.exists() else 0
    start = _receive(url, part, start)
    wrong = problem(part)
    if wrong is not None:
        part.unlink()
        message = f"what came is not the file: {wrong}"
        raise _PassingError(message) if start else OSError(message)  # the part may have been of an older version


def _receive(url: str, part: Path, start: int) -> int:
    """Write what comes from ``url`` to ``part``, behind its first ``start`` bytes if the server can do that.

    Returns how many bytes of the part were kept: ``start``, or 0 if the server began again.
    """
    try:
        response = open_url(url, timeout=TIMEOUT, headers={"Range": f"bytes={start}-"} if start else {})
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            error.close()
            return start  # there is nothing behind the part: it is complete, or not of this file
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise _PassingError("the server sent another range than the one asked for")
        declared = declared_length(response)
        total = None if declared is None else start + declared
        if total is not None and total > MAX_BYTES:
            raise OSError(f"the server announces {total:,} bytes, more than any weights file has")
        _write(response, part, start, total)
    return start


def _write(response: http.client.HTTPResponse, part: Path, size: int, total: int | None) -> None:
    """Append the response's body to the first ``size`` bytes of ``part``, up to ``total`` bytes in all."""
    with open_regular(part, "ab" if size else "wb") as stream, _progress(part.stem[1:], size, total) as advance:
        while size != total and (chunk := response.read1(min(CHUNK, (total or MAX_BYTES + 1) - size))):
            size += len(chunk)
            if size > MAX_BYTES:
                part.unlink()
                raise OSError(f"more than {MAX_BYTES:,} bytes came")
            stream.write(chunk)
            advance(len(chunk))
    if total is not None and size < total:
        raise _PassingError(f"{size} of {total} bytes came")


@contextlib.contextmanager
def _progress(name: str, size: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show that ``name`` is coming: as a bar where stderr is a terminal, else as a line in the log."""
    if sys.stderr is None or not sys.stderr.isatty():
        log.info("downloading %s%s", name, f" from byte {size} on" if size else "")
        yield lambda count: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, completed=size)
        yield lambda count: bar.advance(task, count)


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429) or error.code >= 500
    passing = (
        _PassingError,
        TimeoutError,
        ConnectionResetError,
        ConnectionAbortedError,
        BrokenPipeError,
        http.client.IncompleteRead,
        http.client.BadStatusLine,
    )
    return isinstance(cause(error), passing)


def _reason(error: Exception) -> str:
    """What went wrong, in words."""
    reason = cause(error)
    if isinstance(reason, TimeoutError):
        return f"no byte came for {TIMEOUT:g} s"
    return str(reason) or type(reason).__name__
