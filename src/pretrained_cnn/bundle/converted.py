"""Serving graphs converted for a runtime, kept as bundles in a cache, so that a backbone is converted once."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pretrained_cnn._cache import alone, cache_folder, evict, mark_used, remove
from pretrained_cnn.bundle.store import Bundle, open_bundle, write_bundle
from pretrained_cnn.errors import BundleError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.spec import ModelSpec

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


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
        mark_used(path)
    except (BundleError, OSError) as error:
        log.warning("a converted model is broken and will be made anew: %s", error)
        remove(path)
        return None
    return bundle


@contextlib.contextmanager
def convert(graph: keras.Model, spec: ModelSpec, format: str, key: str | None) -> Iterator[Bundle]:
    """``graph`` as a bundle: in the cache under that key or, without a key, for as long as the context lasts.

    Another process that converts the same graph is waited for, and its bundle taken.
    """
    if key is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            yield _write(Path(scratch, "bundle"), graph, spec, format)
        return
    path = folder() / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path, "converting the same model"):
        found = find(key)
        if found is None:
            for leavings in path.parent.glob(f".{key}.*/"):  # of a process that was killed
                shutil.rmtree(leavings, ignore_errors=True)
            log.info("converting %s for format %s, once; the result is kept in %s", spec.name, format, path.parent)
            found = _write(path, graph, spec, format)
    evict(keep=path)
    yield found


def _write(path: Path, graph: keras.Model, spec: ModelSpec, format: str) -> Bundle:
    width = max(output.shape[1] for output in graph.output.values())
    labeled = spec if spec.labels else spec.replace(labels=[str(i) for i in range(width)])
    write_bundle(path, graph, labeled, ImagePolicy(), format=format)
    return open_bundle(path)
