"""Files of results, and how a run that was cut off continues.

Rows are written as soon as they are known. A file whose format can grow does so at its end. Any other format cannot,
so its rows are kept as JSON lines in ``NAME.unfinished`` until the run is through. ``NAME.settings.json`` says what
the rows were made with, in which folder the run began, and whether it was finished. That file stays, so that the run
can continue later, when there are new images.

A process that is killed leaves at most one image's rows torn, the last. The next run cuts them off.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from typing_extensions import override

from pretrained_cnn._cache import file_lock
from pretrained_cnn._files import atomic_write, open_regular
from pretrained_cnn._process import warn
from pretrained_cnn._version import __version__
from pretrained_cnn.errors import OutputError
from pretrained_cnn.results.formats import JsonLines, LineFormat, find_format
from pretrained_cnn.results.names import absolute, unescape
from pretrained_cnn.results.result import Result
from pretrained_cnn.results.rows import RESULTS, Row, Schema, to_result
from pretrained_cnn.results.stream import Done

__all__ = ["Destination", "ResultsFile", "RunInfo", "by_image", "noted_settings", "status_of_row"]


MAX_TORN = 64 * 1024 * 1024
"""Bytes at the end of a file that may be a torn record, and are cut off. More is damage of another kind."""


Settings = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What rows depend on; or what finds it out, once it is certain that they can be written."""


@dataclass(frozen=True)
class RunInfo:
    """Where a run began. Noted beside its settings, but not compared."""

    folder: str
    """The working directory, which relative names are relative to."""
    sources: tuple[str, ...]
    """The sources, as they were written."""
    version: str
    """The version of this library."""

    @classmethod
    def of(cls, sources: Iterable[str] = ()) -> Self:
        """That of a run that begins now."""
        return cls(os.getcwd(), tuple(sources), __version__)


def noted_settings(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The settings of the run that began a file, or folder, of rows; empty where none can be read."""
    try:
        return dict(json.loads(_settings_file(Path(path)).read_bytes())["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _settings_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.settings.json")


class Destination:
    """What rows are written to, by one process at a time: a file, or a folder of them. It knows what they depend on.

    Raises OutputError if it is in use or its folder does not exist; InvalidArgumentError for a suffix of no format;
    MissingDependencyError without the packages that the format needs.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Settings, schema: Schema, run: RunInfo) -> None:
        self.path = Path(path)
        self._lock = file_lock(self.path.with_name(f".{self.path.name}.lock"))
        self.format = find_format(self.path, schema)
        self.format.require()
        if not self.path.parent.is_dir():
            raise OutputError(f"{path}: the folder {self.path.parent} does not exist; make it first")
        self.images = self.failed = self.uncertain = self.unknown = 0
        """How many images have their rows; how many of them failed, are uncertain, and are of none of the classes."""
        self.before = 0
        """How many images had their rows before this run."""
        self.run = run
        """Where the run began, which for a run that continues is not here and now."""
        self._beside = _settings_file(self.path)
        with self._explained():
            try:
                self._lock.acquire(timeout=0)
            except TimeoutError:  # filelock's own is one
                taken = os.path.exists(self._lock.lock_file)
                reason = "another process is writing to it" if taken else "its folder takes no files"
                raise OutputError(f"{self.path}: {reason}") from None
        try:
            self._settings = json.loads(json.dumps(dict(settings() if callable(settings) else settings)))
        except BaseException:  # Ctrl-C included: nobody else releases the lock
            Destination.close(self)
            raise

    def close(self) -> None:
        """Let go of it."""
        with contextlib.suppress(OSError):  # last of all, while it is still ours
            os.unlink(self._lock.lock_file)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exists(self) -> OutputError:
        ways = "continue it with resume=True, replace it with overwrite=True, or choose another name"
        return OutputError(f"{self.path} already exists; {ways}")

    def _count(self, first: Row, by: int = 1) -> None:
        """Count an image by the first of its rows."""
        status = status_of_row(first)
        self.images += by
        self.failed += by * (status == "failed")
        self.uncertain += by * (status == "uncertain")
        self.unknown += by * (status == "unknown")

    def _note(self, *, finished: bool) -> None:
        run = {"folder": self.run.folder, "sources": list(self.run.sources), "version": self.run.version}
        text = json.dumps({"finished": finished, "settings": self._settings, "run": run}, indent=2)
        with atomic_write(self._beside) as file:
            file.write(text.encode())

    def _check_settings(self) -> bool:
        """Raise OutputError unless the file was made with these settings. Returns whether its run was finished."""
        ways = "replace the file with overwrite=True, or choose another name"
        try:
            noted = json.loads(self._beside.read_bytes())
            before, finished = dict(noted["settings"]), bool(noted["finished"])
            run = RunInfo(**{**noted["run"], "sources": tuple(noted["run"]["sources"])})
        except (OSError, ValueError, KeyError, TypeError):
            raise OutputError(
                f"{self.path}: resume=True cannot tell what the file was made with: {self._beside} cannot be read; "
                f"{ways}"
            ) from None
        if before != self._settings:
            both = _flat(before), _flat(self._settings)
            names = [name for name in both[0] | both[1] if both[0].get(name) != both[1].get(name)]
            then, now = (", ".join(f"{name}={each.get(name)}" for name in names) for each in both)
            raise OutputError(f"{self.path} was made with {then}, not {now}: give the same again, {ways}")
        if run.version != self.run.version:
            warn(
                f"{self.path} was begun by version {run.version} of pretrained-cnn and is continued by version "
                f"{self.run.version}"
            )
        known = {absolute(source, run.folder) for source in run.sources}
        new = (source for source in self.run.sources if absolute(source, self.run.folder) not in known)
        sources = (*run.sources, *(new if run.folder == self.run.folder else ()))
        self.run = RunInfo(run.folder, sources, self.run.version)
        return finished

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the system says into one sentence of ours."""
        try:
            yield
        except OutputError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            kept = "; what is in it stays, and resume=True continues from there" if self.images else ""
            raise OutputError(f"{self.path}: it cannot be written: {reason}{kept}") from error


class ResultsFile(Destination):
    """A file of rows in the format that its suffix names.

    Raises OutputError if it cannot be written, if it exists and neither ``resume`` nor ``overwrite`` is given, or if it
    was made with other settings.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Settings,
        schema: Schema = RESULTS,
        *,
        run: RunInfo | None = None,
        resume: bool = False,
        overwrite: bool = False,
        retry_failed: bool = False,
    ) -> None:
        super().__init__(path, settings, schema, run or RunInfo.of())
        in_place = self.format if isinstance(self.format, LineFormat) else None
        self._lines = in_place or JsonLines(schema)
        self._rows = self.path if in_place else self.path.with_name(f"{self.path.name}.unfinished")
        self._names: list[str] = []
        self._retry: Counter[str] | None = Counter() if retry_failed else None
        """The names of the images to try again, each as often as it failed."""
        self._better: dict[str, list[list[Row]]] = {}
        """The rows of those that were tried again."""
        self._file: io.RawIOBase | None = None
        try:
            with self._explained():
                self._open(resume, overwrite)
        except BaseException:  # Ctrl-C included: nobody else releases the lock
            super().close()
            raise
        self.before = self.images
        self.done = Done(self._names, self.run.folder, self.run.sources)
        """The names of the images that have their rows; those to try again are not among them."""
        self._names = []

    def results(self) -> Iterator[Result]:
        """The results that are in the file now. Relative paths are as seen from the working directory."""
        here = os.getcwd()
        reader, path = (self._lines, self._rows) if self._rows.exists() else (self.format, self.path)
        for rows in by_image(reader.read(path)):
            name = unescape(rows[0]["source"])
            yield to_result(rows, name if here == self.run.folder else absolute(name, self.run.folder))

    def write(self, result: Any) -> None:
        """Write an image's rows, all or, if the process is killed meanwhile, some that will be cut off again."""
        found = self.format.schema.rows(result)
        with self._explained():
            if self._take_retry(found):
                return
            if self._file is None:
                self._go_on()
            self._append(b"".join(map(self._lines.encode, found)))
        self._count(found[0])

    def finish(self) -> None:
        """Say that all images have their rows. Only now a file appears whose format cannot grow."""
        with self._explained():
            if self._better:
                self._replace()
            if self._file is not None and self._rows != self.path:
                self.format.write(self.path, self._lines.read(self._rows))
                self._file.close()
                self._rows.unlink()
            self._note(finished=True)  # a process that was killed may have left a whole file without saying so

    @override
    def close(self) -> None:
        """Let go of the file. Rows of images that were tried again are kept, if the disk allows."""
        if self._better:
            with contextlib.suppress(OSError):
                self._replace()
        if self._file is not None:
            self._file.close()
        super().close()

    def _open(self, resume: bool, overwrite: bool) -> None:
        there = [path for path in (self.path, self._rows) if os.path.lexists(path)]
        if there and resume:
            self._reopen()
            return
        if there and not overwrite:
            raise self._exists()
        for path in (*self.format.files(self.path), self._rows):  # before the settings: no new ones beside old rows
            path.unlink(missing_ok=True)
        self._note(finished=False)
        self._rows.touch()
        self._grow(0)

    def _reopen(self) -> None:
        finished = self._check_settings()
        if self._rows.exists():
            with open_regular(self._rows, "rb") as file:
                end = self._scan(file, finished)
            self._note(finished=False)
            self._grow(end)
            return
        # A whole file of a format that cannot grow. The file is changed only if something must be added.
        for image in by_image(self.format.read(self.path)):
            self._have(image[0])

    def _go_on(self) -> None:
        """Turn a whole file into rows that can grow again."""
        self._note(finished=False)
        self._lines.write(self._rows, self.format.read(self.path))
        self._grow(self._rows.stat().st_size)

    def _grow(self, end: int) -> None:
        """Open the rows to write behind the first ``end`` bytes; nothing follows these then."""
        file = cast(io.BufferedRandom, open_regular(self._rows, "r+b")).detach()  # what is written, a SIGKILL leaves
        try:
            file.truncate(end)
            file.seek(end)
            if end == 0:
                file.write(self._lines.header)
        except BaseException:  # Ctrl-C included: nobody else closes the file
            file.close()
            raise
        self._file = file

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _scan(self, file: BinaryIO, finished: bool) -> int:
        """Count what is done, and return where it ends: behind the last image that has all of its rows."""
        lines, position, end = self._lines, 0, 0
        begun: Row | None = None
        for number, record in enumerate(lines.records(file)):
            position += len(record)
            if not record.endswith(b"\n"):
                if len(record) > MAX_TORN:
                    raise OutputError(f"{self.path}: it ends in {len(record):,} bytes that are no record of ours")
                return end
            if lines.header and number == 0:
                self._check_header(record)
                end = position
                continue
            try:
                row = lines.decode(record)
            except (ValueError, KeyError, TypeError):
                raise OutputError(f"{self.path}: its record {number + 1} is not one of ours") from None
            rank = row.get("rank")
            if begun is not None and rank in (None, 1):  # the next image: the one before has all that it will have
                self._have(begun)
                end = position - len(record)
            begun = row if rank in (None, 1) else begun
            if begun is not None and rank in (None, self._settings.get("top")):
                self._have(begun)
                end, begun = position, None
        if begun is not None and finished:
            self._have(begun)
            end = position
        return end

    def _check_header(self, record: bytes) -> None:
        header = self._lines.header
        if record == header:
            return
        if record.strip().removeprefix(b"\xef\xbb\xbf") == header.strip():
            raise OutputError(
                f"{self.path}: another program has saved it with other line ends or a byte order mark; save it as "
                "UTF-8 with the line ends of Unix, or choose another name"
            )
        raise OutputError(f"{self.path}: it does not begin with {header.decode().strip()}: it is not ours")

    def _have(self, first: Row) -> None:
        self._count(first)
        name = unescape(first["source"])
        if self._retry is not None and status_of_row(first) == "failed":
            self._retry[absolute(name, self.run.folder)] += 1
        else:
            self._names.append(name)

    def _take_retry(self, found: list[Row]) -> bool:
        """Keep the rows of an image that was tried again until they take the place of its old ones."""
        if self._retry is None:
            return False
        name = absolute(unescape(found[0]["source"]), self.run.folder)
        if not self._retry[name]:
            del self._retry[name]
            return False
        self._retry[name] -= 1
        self._better.setdefault(name, []).append(found)
        self._count({**found[0], "status": "failed", "error": ""}, by=-1)
        self._count(found[0])
        return True

    def _replace(self) -> None:
        """Write the rows again, beside themselves, with those of the images that were tried again in their places."""
        reader, path = (self._lines, self._rows) if self._rows.exists() else (self.format, self.path)
        if self._file is not None:
            self._file.close()
            self._file = None
        self._note(finished=False)
        renewed = map(self._renewed, by_image(reader.read(path)))
        self._lines.write(self._rows, itertools.chain.from_iterable(renewed))
        self._better = {}
        self._grow(self._rows.stat().st_size)

    def _renewed(self, image: list[Row]) -> list[Row]:
        """The rows of an image: its new ones, if it had failed and was tried again."""
        if status_of_row(image[0]) != "failed":
            return image
        name = absolute(unescape(image[0]["source"]), self.run.folder)
        better = self._better.get(name)
        return better.pop(0) if better else image


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those that are within another, such as ``image_policy.levels``, by names of their own."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = value if isinstance(value, Mapping) else None
        found |= {name: value} if inner is None else {f"{name}.{key}": each for key, each in inner.items()}
    return found


def status_of_row(first: Row) -> str:
    """The status of an image by the first of its rows."""
    return first.get("status") or ("ok" if first["error"] is None else "failed")


def by_image(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of one image at a time."""
    image: list[Row] = []
    for row in rows:
        if image and row.get("rank") in (None, 1):
            yield image
            image = []
        image.append(row)
    if image:
        yield image
