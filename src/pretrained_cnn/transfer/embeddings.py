"""Embeddings, computed once: kept on disk by the content of the image and by everything that made them."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._cache import cache_folder, evict, mark_used, remove
from pretrained_cnn._process import warn
from pretrained_cnn._progress import report
from pretrained_cnn._settings import CACHE
from pretrained_cnn.engine import Engine, check_speed
from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.sources import Item
from pretrained_cnn.transfer.data import Images, find_digests

T = TypeVar("T")

log = logging.getLogger(__name__)

DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
"""SQLite's names of errors that tell of a damaged file; the last one, that a table or a column is missing."""

PROGRESS_SECONDS = 10.0
"""How often the log says how far the embedding is."""


def embed_cached(engine: Engine, items: Sequence[Item], *, batch_size: int | None = None) -> NDArray[np.float32]:
    """The embedding of each image, float32 ``(N, D)``; what is in the engine's store is not computed again.

    Raises the ImageError of the first bad image.
    """
    check_speed(batch_size, None, None)
    digests = find_digests(items, engine.image_policy)
    count = len(items)
    images = Images("images", list(items), np.zeros(count, np.intp), digests, np.ones(count))
    vectors, _, errors = embed(engine, images, open_store(engine.identity()), batch_size=batch_size)
    if errors:
        raise errors[0]
    return vectors


def embed(
    engine: Engine, images: Images, store: Store, *, batch_size: int | None = None
) -> tuple[NDArray[np.float32], list[bool], list[ImageError]]:
    """The embedding ``(n, D)`` of each image that can be used; which images those are; the errors of the others."""
    known = store.get(images.digests)
    vectors = [None if digest is None else known.get(digest) for digest in images.digests]
    missing = [i for i, vector in enumerate(vectors) if vector is None]
    errors: list[ImageError] = []
    done, last_logged = 0, time.monotonic()
    report("embed", 0, len(missing))
    batches = engine.batches_of((images.items[i] for i in missing), batch_size=batch_size)
    with contextlib.closing(engine.rows(batches, ("embedding",))) as stream:
        for rows in stream:
            computed = iter(rows.outputs[0])
            fresh: list[tuple[bytes | None, NDArray[np.float32]]] = []
            for i, error in zip(missing[done : done + len(rows.names)], rows.errors, strict=True):
                if error is None:
                    vectors[i] = vector = next(computed)
                    fresh.append((images.digests[i], vector))
                else:
                    errors.append(error)
            store.put(fresh)
            done += len(rows.names)
            report("embed", done, len(missing))
            if time.monotonic() - last_logged > PROGRESS_SECONDS:
                last_logged = time.monotonic()
                log.info("%s: %d of %d images are embedded", images.name, done, len(missing))
    if store.path is not None:
        evict(keep=store.path)
    kept = [vector for vector in vectors if vector is not None]
    usable = [vector is not None for vector in vectors]
    return np.stack(kept) if kept else np.empty((0, 0), np.float32), usable, errors


class Store:
    """Vectors by digest, in one SQLite file that several processes may share; without a file it keeps nothing.

    If the file cannot be written, nothing is stored and a `PretrainedCNNWarning` says so. A damaged file is noticed
    whenever it is used: it is started again, a warning is logged, and what was in it is computed again. A vector whose
    checksum is wrong counts as missing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._give_up(error)
        else:
            self._do(self._create)
        if self.path is not None:
            mark_used(self.path)

    def get(self, digests: Sequence[bytes | None]) -> dict[bytes, NDArray[np.float32]]:
        """The vectors that are known."""
        wanted = [digest for digest in digests if digest is not None]
        return self._do(lambda connection: _select(connection, wanted)) or {}

    def put(self, rows: Sequence[tuple[bytes | None, NDArray[np.float32]]]) -> None:
        """Keep vectors; those without a digest are left out."""
        kept = [(digest, row.astype("<f4").tobytes()) for digest, row in rows if digest is not None]
        checked = [(digest, vector, _checksum(digest, vector)) for digest, vector in kept]
        self._do(lambda connection: connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", checked))

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do ``work`` in one transaction. None if the file cannot be used, or had to be started again."""
        if self.path is None:
            return None
        try:
            return self._transact(work)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname not in DAMAGED:  # such as a full disk
                self._give_up(error)
                return None
        log.warning("%s is damaged and is started again", self.path)
        remove(self.path)
        try:
            self._transact(self._create)
        except sqlite3.DatabaseError as error:
            self._give_up(error)
        return None

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        assert self.path is not None
        with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
            return work(connection)

    def _give_up(self, error: Exception) -> None:
        warn(f"embeddings are not kept in {self.path}: {error}; set {CACHE} to a folder that can be written")
        self.path = None

    @staticmethod
    def _create(connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS vectors (image BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INT NOT NULL)"
        )


def _select(connection: sqlite3.Connection, wanted: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
    found = {}
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        query = f"SELECT image, vector, checksum FROM vectors WHERE image IN ({','.join('?' * len(part))})"
        for digest, vector, checksum in connection.execute(query, part):
            if isinstance(vector, bytes) and _checksum(digest, vector) == checksum:
                found[digest] = np.frombuffer(vector, "<f4")
    return found


def _checksum(digest: bytes, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(digest))


def open_store(key: str | None) -> Store:
    """The store of a `key`."""
    return Store(None if key is None else cache_folder("embeddings") / f"{key}.sqlite")
