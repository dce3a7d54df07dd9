"""Embeddings, computed once: kept on disk by the content of the image and by everything that made them."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._cache import cache_home
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import ImageError
from pretrained_cnn.transfer.data import Images

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0
"""How often the log says how far the embedding is."""


def embed(engine: Engine, images: Images, store: Store) -> tuple[NDArray[np.float32], list[bool], list[ImageError]]:
    """The embedding ``(n, D)`` of each image that can be used; which images those are; the errors of the others."""
    known = store.get(images.digests)
    vectors = [None if digest is None else known.get(digest) for digest in images.digests]
    missing = [i for i, vector in enumerate(vectors) if vector is None]
    errors: list[ImageError] = []
    done, last_logged = 0, time.monotonic()
    batches = engine.batches_of(images.items[i] for i in missing)
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
            if time.monotonic() - last_logged > PROGRESS_SECONDS:
                last_logged = time.monotonic()
                log.info("%s: %d of %d images are embedded", images.name, done, len(missing))
    kept = [vector for vector in vectors if vector is not None]
    usable = [vector is not None for vector in vectors]
    return np.stack(kept) if kept else np.empty((0, 0), np.float32), usable, errors


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
