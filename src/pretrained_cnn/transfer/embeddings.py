"""Embeddings, computed once: kept on disk by the content of the image and by everything that made them."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn import identity
from pretrained_cnn._cache import cache_home
from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.batch import batches
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.transfer.data import Images

if TYPE_CHECKING:
    from pretrained_cnn.backbones.build import Backbone

log = logging.getLogger(__name__)

BATCH_SIZE = 16
PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class Base:
    """The network to start from. Nothing of it is built before it is asked for."""

    spec: ModelSpec
    weights: str | None
    """As for `Classifier`."""
    options: Mapping[str, Any]
    """For the builder."""
    runtime: str
    image_policy: ImagePolicy
    built: bool
    """Whether the network is there already, and so may have been changed since its weights were read."""
    backbone: Callable[[], Backbone]
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    """From RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, embedding_size)``."""


def key(base: Base) -> str | None:
    """What embeddings depend on beside the image, in hexadecimal; None if that cannot be described.

    Builds the network only where no file determines its weights.
    """
    if identity.function_identity(base.spec.preprocess) is None:
        return None
    network = None if base.built else _by_file(base)
    if network is None:
        network = identity.network_by_graph(base.backbone().model)
    return identity.embedding_key(network, base.spec, base.image_policy, base.runtime)


def _by_file(base: Base) -> list[Any] | None:
    try:
        return identity.network_by_file(base.spec, base.weights, base.options)
    except OSError:  # the file is not there yet
        base.backbone()
        return identity.network_by_file(base.spec, base.weights, base.options)


def embed(base: Base, images: Images, store: Store) -> tuple[NDArray[np.float32], list[bool], list[ImageError]]:
    """The embedding ``(n, D)`` of each image that can be read; which those are; the errors of the others."""
    known = store.get(images.digests)
    missing = [i for i, digest in enumerate(images.digests) if digest is None or digest not in known]
    errors: list[ImageError] = []
    computed: dict[int, NDArray[np.float32]] = {}
    places = iter(missing)
    spec = base.spec
    stream = batches(
        (images.items[i] for i in missing),
        spec.input_size,
        spec.resize,
        base.image_policy,
        channels=spec.channels,
        batch_size=BATCH_SIZE,
    )
    said = time.monotonic()
    with contextlib.closing(stream):
        for batch in stream:
            rows = iter(base.embed(batch.pixels) if len(batch.pixels) else ())
            fresh: dict[int, NDArray[np.float32]] = {}
            for error in batch.errors:
                place = next(places)
                if error is None:
                    computed[place] = fresh[place] = next(rows)
                else:
                    errors.append(error)
            store.put([(images.digests[place], row) for place, row in fresh.items()])
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                log.info("%s: %d of %d images are embedded", images.name, len(computed), len(missing))
    vectors = [
        computed[i] if i in computed else known.get(digest) if digest else None
        for i, digest in enumerate(images.digests)
    ]
    there = [vector is not None for vector in vectors]
    found = [vector for vector in vectors if vector is not None]
    return np.stack(found) if found else np.empty((0, 0), np.float32), there, errors


class Store:
    """Vectors by digest, in one SQLite file that several processes may share; without a file it keeps nothing.

    Nor does it, and the log says so, where the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._create()
        except (OSError, sqlite3.OperationalError) as error:
            self._give_up(error)
        except sqlite3.DatabaseError:  # the file is damaged: what was in it is computed again
            log.warning("%s is damaged and is begun anew", path)
            path.unlink(missing_ok=True)
            self._create()

    def get(self, digests: Sequence[bytes | None]) -> dict[bytes, NDArray[np.float32]]:
        """The vectors that are known."""
        if self.path is None:
            return {}
        wanted = [digest for digest in digests if digest is not None]
        found = {}
        with self._connect() as connection:
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                marks = ",".join("?" * len(part))
                query = f"SELECT image, vector FROM embeddings WHERE image IN ({marks})"
                for digest, vector in connection.execute(query, part):
                    found[digest] = np.frombuffer(vector, "<f4")
        return found

    def put(self, rows: Sequence[tuple[bytes | None, NDArray[np.float32]]]) -> None:
        """Keep vectors; those without a digest are left out."""
        if self.path is None:
            return
        kept = [(digest, row.astype("<f4").tobytes()) for digest, row in rows if digest is not None]
        try:
            with self._connect() as connection:
                connection.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", kept)
        except sqlite3.OperationalError as error:  # such as a full disk
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        log.warning("embeddings are not kept in %s: %s", self.path, error)
        self.path = None

    def _create(self) -> None:
        with self._connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS embeddings (image BLOB PRIMARY KEY, vector BLOB NOT NULL)")

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        assert self.path is not None
        connection = sqlite3.connect(self.path, timeout=60)
        try:
            with connection:  # one transaction
                yield connection
        finally:
            connection.close()


def open_store(key: str | None) -> Store:
    """The store of a `key`."""
    return Store(None if key is None else cache_home() / "embeddings" / f"{key}.sqlite")
