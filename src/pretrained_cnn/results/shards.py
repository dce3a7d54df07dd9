"""A folder of files of results, each with the rows of the same number of images, for runs on a cluster.

The folder is a data set to whatever reads such: each file appears at once and whole. The list of images is written
first, in the file ``_sources``, so that continuing means to make the files that do not exist yet, whatever has
changed among the images meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pretrained_cnn._files import atomic_write
from pretrained_cnn.errors import ImageError, InvalidArgumentError, OutputError
from pretrained_cnn.results.failures import IN_A_ROW, has_files, is_missing, may_pass
from pretrained_cnn.results.file import Destination, RunInfo, Settings, by_image, status_of_row
from pretrained_cnn.results.result import Result
from pretrained_cnn.results.rows import RESULTS, Row, to_rows
from pretrained_cnn.results.stream import Found

__all__ = ["SHARD", "Entry", "Shards"]

SHARD = 10_000
"""Images in a file, unless said otherwise: what is done again at most after the run was cut off."""


class Entry(NamedTuple):
    """One image of the list."""

    name: str
    """Its path or address; for what could not be listed, its name."""
    listed: bool
    """Whether the library found it in a folder or by a pattern."""
    reason: str | None
    """What was wrong, for what could not be listed."""

    @property
    def error(self) -> ImageError | None:
        """The error of what could not be listed."""
        return None if self.reason is None else ImageError(self.name, self.reason)


@dataclass
class _Shard:
    """A file that a run must make."""

    number: int
    size: int
    """How many of its images must be classified."""
    old: list[list[Row]] | None
    """The rows of each of its images, if only those that failed are tried again."""


class Shards(Destination):
    """A folder of files, each with the rows of ``size`` images, the last with those that are left.

    Raises OutputError if it cannot be written, if it exists and neither ``resume`` nor ``overwrite`` is given, or if it
    was made with other settings; InvalidArgumentError for an image in an archive.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Settings,
        images: Iterable[Found],
        *,
        size: int = SHARD,
        run: RunInfo | None = None,
        resume: bool = False,
        overwrite: bool = False,
        retry_failed: bool = False,
    ) -> None:
        def all_settings() -> Mapping[str, Any]:
            return {**(settings() if callable(settings) else settings), "shard": size}

        super().__init__(path, all_settings, RESULTS, run or RunInfo.of())
        self._size = size
        self._sources = self.path / "_sources"
        self._ready: list[Result] = []
        self._held: list[_Shard] = []
        self._in_a_row = 0
        self._round = 1
        self._missing: list[_Shard] = []
        self._passing: Result | None = None
        self.total = 0
        """How many images there are."""
        try:
            with self._explained():
                self._open(images, resume, overwrite)
                self._look(retry_failed)
        except BaseException:  # Ctrl-C included: nobody else will let go of the lock
            self.close()
            raise
        self.before = self.images

    @property
    def is_retrying(self) -> bool:
        """Whether images are tried again that have rows."""
        return any(shard.old is not None for shard in self._missing)

    def entries(self) -> Iterator[Entry]:
        """What has no rows yet, in the order in which `write` takes its results."""
        missing = {shard.number: shard for shard in self._missing}
        with open(self._sources, "rb") as lines:
            for place, line in enumerate(lines):
                shard = missing.get(place // self._size)
                if shard is not None and (shard.old is None or _failed(shard.old[place % self._size])):
                    yield Entry(*json.loads(line))

    def write(self, result: Result, *, listed: bool = False) -> None:
        """Take the next result; with the last of its file, the file is written.

        A file with temporary failures is not written before `again`. Raises OutputError if `IN_A_ROW` of them
        follow each other.
        """
        passing = may_pass(result.error, listed=listed) and not _is_gone(result, self.run.folder)
        self._in_a_row = self._in_a_row + 1 if passing else 0
        if self._in_a_row >= IN_A_ROW:
            raise OutputError(self._sentence(result))
        self._ready.append(result)
        shard = self._missing[0]
        if passing and self._passing is None:
            self._passing = result
        if len(self._ready) < shard.size:
            return
        results, self._ready, passed, self._passing = self._ready, [], self._passing, None
        self._missing.pop(0)
        readable = self._round > 1 and any(each.error is None for each in results)
        if passed is not None and not readable:
            self._held.append(shard)
            self._last = passed
        else:
            self._write(shard, results)

    def again(self) -> bool:
        """Whether some files wait for another try; `entries` then gives what is in them."""
        self._missing, self._held = self._held, []
        self._round += 1
        if self._missing and self._round > 2:
            raise OutputError(self._sentence(self._last))
        return bool(self._missing)

    def finish(self) -> None:
        """Say that all images have their rows."""
        with self._explained():
            self._note(finished=True)

    def discard(self) -> None:
        """Leave nothing behind of a folder in which there are no rows yet."""
        if self.images == 0 and self._is_new:
            with contextlib.suppress(OSError):
                self._sources.unlink()
                self.path.rmdir()
                self._beside.unlink()

    def _write(self, shard: _Shard, results: list[Result]) -> None:
        fresh = iter(results)
        old: Sequence[list[Row] | None] = [None] * shard.size if shard.old is None else shard.old
        images = [to_rows(next(fresh)) if rows is None or _failed(rows) else rows for rows in old]
        with self._explained():
            self.format.write(self._file(shard.number), (row for rows in images for row in rows))
        for rows in shard.old or ():
            self._count(rows[0], by=-1)
        for rows in images:
            self._count(rows[0])

    def _sentence(self, result: Result) -> str:
        reason = "" if result.error is None else result.error.reason
        return (
            f"{self.path}: images could not be read for a temporary reason, such as {result.source}: {reason}; "
            f"their files were not written. {self.images:,} images have their rows; solve the problem, then continue "
            "with resume=True"
        )

    def _open(self, images: Iterable[Found], resume: bool, overwrite: bool) -> None:
        self._is_new = not (os.path.lexists(self.path) and resume)
        if os.path.lexists(self.path):
            if resume:
                self._check_settings()
            elif overwrite:
                self._remove()
            else:
                raise self._exists()
        self._note(finished=False)
        self.path.mkdir(exist_ok=True)
        if not self._sources.exists():
            try:
                with atomic_write(self._sources) as file:
                    _list(images, file)
            except BaseException:  # Ctrl-C included: a folder without its list could not be continued
                with contextlib.suppress(OSError):
                    self.path.rmdir()
                raise

    def _look(self, retry_failed: bool) -> None:
        """Find out which files the run must make, and count the images in the others."""
        with open(self._sources, "rb") as lines:
            self.total = sum(1 for _ in lines)
        for number in range(-(-self.total // self._size)):
            if not self._file(number).exists():
                self._missing.append(_Shard(number, min(self._size, self.total - number * self._size), None))
                continue
            failed = 0
            for rows in by_image(self.format.read(self._file(number))):
                self._count(rows[0])
                failed += _failed(rows)
            if failed and retry_failed:
                self._missing.append(_Shard(number, failed, list(by_image(self.format.read(self._file(number))))))

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06}{self.path.suffix}"

    def _remove(self) -> None:
        """Remove what is ours, and nothing else; the list goes last, so that no new one lies beside old rows."""
        if not self.path.is_dir() or self.path.is_symlink():
            self.path.unlink()
            return
        for path in self.path.iterdir():
            if re.fullmatch(rf"\d{{6}}{re.escape(self.path.suffix)}", path.name):
                path.unlink()
        self._sources.unlink(missing_ok=True)


def _failed(rows: list[Row]) -> bool:
    return status_of_row(rows[0]) == "failed"


def _is_gone(result: Result, folder: str) -> bool:
    """Whether a file that was listed is missing, while its folder is there: then that is the image's own error."""
    if result.error is None or not is_missing(result.error) or "://" in result.source:
        return False
    path = os.path.join(folder, result.source)
    return not os.path.lexists(path) and has_files(os.path.dirname(path))


def _list(images: Iterable[Found], file: BinaryIO) -> None:
    for item, listed in images:
        if isinstance(item.image, ImageError):
            entry = Entry(item.name, listed, item.image.reason)
        elif isinstance(item.image, str):
            entry = Entry(item.image, listed, None)
        else:
            raise InvalidArgumentError(
                f"{item.name}: a cluster takes no archives, which only one process can read; unpack it, or classify "
                "it on this machine"
            )
        file.write(json.dumps(entry).encode() + b"\n")
