"""Serving graphs converted for a runtime, kept as bundles in a cache, so that a backbone is converted once."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pretrained_cnn._cache import CACHE, alone, cache_home
from pretrained_cnn._process import warn
from pretrained_cnn.bundle.manifest import NAME
from pretrained_cnn.bundle.store import Bundle, open_bundle, scratch_beside
from pretrained_cnn.errors import BundleError

log = logging.getLogger(__name__)

MAX_BYTES = "PRETRAINED_CNN_CACHE_BYTES"
"""The environment variable that bounds the cache; what was not used for longest goes first."""

DEFAULT_MAX_BYTES = 10 * 2**30

NEEDED_BYTES = 2**30
"""With less free space than this, a conversion that fails in the cache is tried again in a temporary folder."""


def folder() -> Path:
    """Where the converted graphs are, a bundle each."""
    return cache_home() / "converted"


def find(key: str | None) -> Bundle | None:
    """The bundle of that key, if it is in the cache and whole. A broken one is removed, and the log says so."""
    if key is None:
        return None
    path = folder() / key
    if not path.exists():
        return None
    try:
        bundle = open_bundle(path)
    except BundleError as error:
        if not isinstance(error.__cause__, PermissionError):  # then it is another user's, who can read it
            log.warning("a converted model is broken and will be made anew: %s", error)
            _remove(path)
        return None
    with contextlib.suppress(OSError):  # the cache may be read-only
        os.utime(path / NAME)  # so that it counts as used just now
    return bundle


@contextlib.contextmanager
def kept(key: str | None, write: Callable[[Path], None], name: str) -> Iterator[Bundle]:
    """The bundle that ``write(path)`` writes: in the cache under ``key``, where it is written once.

    Another process that converts the same network is waited for, and its bundle is taken. Without a key, the bundle
    exists only as long as the context lasts; so it does where the cache cannot be written, after a warning. ``name`` is
    what the log calls the network.
    """
    if key is not None:
        try:
            bundle = find(key) or _keep(key, write, name)
        except _UnusableError as error:
            warn(f"converted models are not kept in {folder()}: {error}; set {CACHE} to a folder that can be written")
        else:
            _evict(but=bundle.path)
            yield bundle
            return
    with tempfile.TemporaryDirectory(prefix="pretrained_cnn-", ignore_cleanup_errors=True) as scratch:
        path = Path(scratch, "bundle")
        write(path)
        yield open_bundle(path)


class _UnusableError(Exception):
    """The cache cannot be written."""


def _keep(key: str, write: Callable[[Path], None], name: str) -> Bundle:
    path = folder() / key
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(alone(path, "converting the same model"))
            scratch = stack.enter_context(scratch_beside(path)) / "bundle"
        except OSError as error:
            raise _UnusableError(error.strerror or error) from error
        found = find(key)
        if found is not None:
            return found
        if path.exists():
            raise _UnusableError(f"{path} cannot be read")
        log.info("converting %s, once; the result is kept in %s", name, path.parent)
        try:
            write(scratch)
            os.rename(scratch, path)
        except OSError as error:  # a BundleError is one
            free = shutil.disk_usage(path.parent).free
            if free >= NEEDED_BYTES:
                raise
            raise _UnusableError(f"{free / 1e6:.0f} MB are free") from error
        return open_bundle(path)


def entries() -> Iterator[Path]:
    """The folders of all bundles in the cache, those used last first."""
    found = [(_used(path), path) for path in folder().glob("*/") if not path.name.startswith(".")]
    yield from (path for _, path in sorted(found, reverse=True))


def _evict(but: Path) -> None:
    """Remove what was not used for longest until the rest is within the bound."""
    limit = int(os.environ.get(MAX_BYTES) or DEFAULT_MAX_BYTES)
    left = limit - size(but)
    for path in entries():
        if path != but:
            left -= size(path)
            if left < 0:
                _remove(path)


def size(path: Path) -> int:
    """Bytes of all files of a bundle."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    """Take a bundle out of the cache, at once for those who look for it."""
    gone = path.with_name(f".{path.name}.{os.getpid()}.gone")
    try:
        path.rename(gone)
    except OSError:  # somebody else was quicker
        return
    shutil.rmtree(gone, ignore_errors=True)


def _used(path: Path) -> float:
    try:
        return (path / NAME).stat().st_mtime
    except OSError:
        return 0.0
