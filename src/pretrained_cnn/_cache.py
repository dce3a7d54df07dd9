"""The cache of computed results: its folders, its size limit, and its locks between processes."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pretrained_cnn._check import choice
from pretrained_cnn._settings import cache_bytes, cache_home
from pretrained_cnn.errors import import_package

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = [
    "KINDS",
    "CacheEntry",
    "cache_entries",
    "cache_folder",
    "cache_home",
    "evict",
    "exclusive_lock",
    "file_lock",
    "mark_used",
    "remove",
    "size",
]

log = logging.getLogger(__name__)

KINDS = ("converted", "embeddings", "runtimes", "training")
"""The folders of the cache: converted models, embeddings of images, which runtime is the fastest for a network, and
states of interrupted training."""


class CacheEntry(NamedTuple):
    """One thing that was computed once: a folder or a file of the cache."""

    kind: str
    """One of `KINDS`."""
    path: Path
    size: int
    """Bytes."""
    used: float
    """When it was last used, in seconds since the epoch."""


def cache_folder(kind: str) -> Path:
    """Where the entries of a kind are."""
    return cache_home() / choice("kind", kind, KINDS)


def cache_entries(kinds: Iterable[str] = KINDS) -> list[CacheEntry]:
    """What is in the cache, used last first."""
    found = []
    for kind in kinds:
        with contextlib.suppress(OSError):  # there is no folder of that kind yet
            for path in cache_folder(kind).iterdir():
                if not path.name.startswith("."):  # a lock, or something that is being written or removed
                    with contextlib.suppress(OSError):  # removed meanwhile
                        found.append(CacheEntry(kind, path, size(path), path.stat().st_mtime))
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def mark_used(path: Path) -> None:
    """Count an entry as used just now."""
    with contextlib.suppress(OSError):  # a read-only cache also works
        os.utime(path)


def evict(keep: Path) -> None:
    """Remove what was not used for longest, of any kind, until the cache is within its bound. ``keep`` stays."""
    left = cache_bytes() - size(keep)
    for entry in cache_entries():
        if entry.path != keep:
            left -= entry.size
            if left < 0:
                log.info("the cache is full: %s is removed", entry.path)
                remove(entry.path)


def remove(path: Path) -> bool:
    """Take an entry out of the cache, at once for every process that looks for it. False if it is gone already."""
    gone = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.gone")
    try:
        path.rename(gone)
    except OSError:
        return False
    if gone.is_dir() and not gone.is_symlink():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink(missing_ok=True)
    return True


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def file_lock(path: str | os.PathLike[str]) -> FileLock:
    """A lock that is a file. Raises MissingDependencyError without the package filelock, as in a lean installation."""
    lock: FileLock = import_package("filelock", extra=None).FileLock(path)
    return lock


@contextlib.contextmanager
def exclusive_lock(path: Path, doing: str) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` across threads and processes. A waiter logs what the holder is ``doing``.

    The holder deletes the lock's file before it releases the lock. A waiter that had it open notices and tries again:
    filelock does this.
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
