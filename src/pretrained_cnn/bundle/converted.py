"""Serving graphs converted for a runtime, kept as bundles in a cache, so that a backbone is converted once."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._cache import alone, cache_home
from pretrained_cnn.bundle.manifest import NAME
from pretrained_cnn.bundle.store import Bundle, open_bundle, write_bundle
from pretrained_cnn.errors import BundleError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.spec import ModelSpec

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

MAX_BYTES = "PRETRAINED_CNN_CACHE_BYTES"
"""The environment variable that bounds the cache; what was not used for longest goes first."""

DEFAULT_MAX_BYTES = 10 * 2**30


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
        os.utime(path / NAME)  # so that it counts as used just now
    except (BundleError, OSError) as error:
        log.warning("a converted model is broken and will be made anew: %s", error)
        _remove(path)
        return None
    return bundle


@contextlib.contextmanager
def convert(
    graph: keras.Model, spec: ModelSpec, format: str, key: str | None, images: NDArray[np.uint8] | None = None
) -> Iterator[Bundle]:
    """``graph`` as a bundle: in the cache under that key or, without a key, for as long as the context lasts.

    With ``images``, uint8 ``(N, H, W, C)``, it is quantized to int8. Another process that converts the same graph is
    waited for, and its bundle taken.
    """
    if key is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            yield _write(Path(scratch, "bundle"), graph, spec, format, images)
        return
    path = folder() / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path, "converting the same model"):
        found = find(key)
        if found is None:
            for leavings in path.parent.glob(f".{key}.*/"):  # of a process that was killed
                shutil.rmtree(leavings, ignore_errors=True)
            log.info("converting %s for format %s, once; the result is kept in %s", spec.name, format, path.parent)
            found = _write(path, graph, spec, format, images)
    _evict(but=path)
    yield found


def _write(path: Path, graph: keras.Model, spec: ModelSpec, format: str, images: NDArray[np.uint8] | None) -> Bundle:
    width = max(output.shape[1] for output in graph.output.values())
    labeled = spec if spec.labels else spec.replace(labels=[str(i) for i in range(width)])
    write_bundle(
        path, graph, labeled, ImagePolicy(), format=format, dtype="float32" if images is None else "int8", images=images
    )
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
