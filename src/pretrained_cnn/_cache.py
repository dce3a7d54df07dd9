"""Where the library keeps what it computed once and may need again, and how one process at a time writes there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pretrained_cnn.errors import MissingDependencyError

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["CACHE", "alone", "cache_home", "file_lock"]

log = logging.getLogger(__name__)

CACHE = "PRETRAINED_CNN_CACHE"
"""The environment variable that names the folder."""


def cache_home() -> Path:
    """The folder: ``$PRETRAINED_CNN_CACHE``, else ``pretrained_cnn`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Whatever is in it may be deleted at any time. Weights files are not: they are where Keras keeps them
    (`weights.cache_dir`).
    """
    named = os.environ.get(CACHE)
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "pretrained_cnn"


def file_lock(path: str | os.PathLike[str]) -> FileLock:
    """A lock that is a file. Raises MissingDependencyError without the package filelock, as in a lean installation."""
    try:
        from filelock import FileLock
    except ModuleNotFoundError:
        raise MissingDependencyError("filelock", extra=None) from None
    return FileLock(path)


@contextlib.contextmanager
def alone(path: Path, doing: str) -> Iterator[None]:
    """Let only one thread of one process at a time do something to ``path``. Who waits logs what for: ``doing``.

    The lock's file is removed by its holder, last of all and while it still holds it. Who had opened it
    before finds that what it has locked has no name any more, and begins anew: filelock looks after that.
    """
    name = path.with_name(f".{path.name}.lock")
    lock = file_lock(name)
    try:
        lock.acquire(timeout=0)
    except TimeoutError:  # filelock's own is one
        log.info("waiting for the process that is %s", doing)
        lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file, but the lock does so itself there
            name.unlink()
        lock.release()
