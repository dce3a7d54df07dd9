"""Serving graphs converted for a runtime, kept as bundles in a cache, so that a backbone is converted once."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pretrained_cnn._cache import cache_folder, evict, exclusive_lock, mark_used, remove
from pretrained_cnn._process import warn
from pretrained_cnn._settings import CACHE
from pretrained_cnn.bundle.store import Bundle, open_bundle, scratch_beside
from pretrained_cnn.errors import BundleError

log = logging.getLogger(__name__)

NOT_KEPT = "converted models are not kept"
"""How the warning begins where the cache cannot be written."""

NEEDED_BYTES = 2**30
"""With less free space than this, a conversion that fails in the cache is tried again in a temporary folder."""


def folder() -> Path:
    """Where the converted graphs are, a bundle each."""
    return cache_folder("converted")


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
            log.warning("a converted model is broken and will be made again: %s", error)
            remove(path)
        return None
    mark_used(path)
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
            warn(f"{NOT_KEPT} in {folder()}: {error}; set {CACHE} to a folder that can be written")
        else:
            evict(keep=bundle.path)
            yield bundle
            return
    # Windows removes no file that a runtime has mapped: what stays, the next process removes.
    with scratch_beside(Path(tempfile.gettempdir(), "pretrained_cnn"), mode=0o700) as scratch:
        path = scratch / "bundle"
        write(path)
        yield open_bundle(path)


class _UnusableError(Exception):
    """The cache cannot be written."""


def _keep(key: str, write: Callable[[Path], None], name: str) -> Bundle:
    path = folder() / key
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive_lock(path, "converting the same model"))
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
