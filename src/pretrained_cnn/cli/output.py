"""The file of results that ``classify --output`` writes, and how a run that was cut off goes on.

Rows are written as soon as they are known. CSV and JSON lines grow at their end. Parquet cannot, so its rows are
kept as JSON lines in ``NAME.unfinished`` until the run is through. In ``NAME.settings.json`` stands what the rows
were made with, and whether the run was finished; it stays, so that the file can also be gone on with later, when
there are new images.

A process that is killed leaves at most one image's rows torn, the last. `Output` cuts these off when it goes on.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from filelock import FileLock, Timeout

from pretrained_cnn.errors import InvalidArgumentError, OutputError
from pretrained_cnn.results.names import escape
from pretrained_cnn.results.result import Result
from pretrained_cnn.results.rows import COLUMNS, import_arrow, to_arrow, to_rows

ROW_GROUP = 100_000
"""Rows that are in memory at once when a parquet file is written."""

MAX_TORN = 1024 * 1024
"""Bytes at the end of a file that may be a torn record, and are cut off. More is damage of another kind."""


class Target:
    """What rows are written to, by one process at a time: a file, or a folder of them. It knows what they depend on.

    Raises OutputError if it is in use or its folder is not there; MissingDependencyError without pyarrow for parquet.
    """

    def __init__(self, path: str, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in (".csv", ".jsonl", ".parquet"):
            raise InvalidArgumentError(f"--output {path}: the name must end in .csv, .jsonl or .parquet")
        if suffix == ".parquet":
            import_arrow()
        if not self.path.parent.is_dir():
            raise OutputError(f"{path}: the folder {self.path.parent} does not exist; make it first")
        self.images = self.failed = self.uncertain = 0
        """How many images have their rows, how many of them failed, and how many are marked as uncertain."""
        self._settings = dict(settings)
        self._beside = self.path.with_name(f"{self.path.name}.settings.json")
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        with self._explained():
            self._lock.acquire(timeout=0)

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

    def _count(self, first: Mapping[str, Any]) -> None:
        """Count an image by the first of its rows."""
        self.images += 1
        self.failed += first["status"] == "failed"
        self.uncertain += first["status"] == "uncertain"

    def _note(self, *, finished: bool) -> None:
        text = json.dumps({"finished": finished, "settings": self._settings}, indent=2)
        replace(self._beside, lambda file: file.write(text.encode()))

    def _check_settings(self) -> bool:
        """Raise OutputError unless the file was made with these settings. Returns whether its run was finished."""
        ways = "replace it by --overwrite, or choose another name"
        try:
            noted = json.loads(self._beside.read_bytes())
            before, finished = dict(noted["settings"]), bool(noted["finished"])
        except (OSError, ValueError, KeyError, TypeError):
            raise OutputError(
                f"{self.path}: --resume cannot tell what it was made with, for {self._beside} cannot be read; {ways}"
            ) from None
        if before != self._settings:
            names = [name for name in {**before, **self._settings} if before.get(name) != self._settings.get(name)]
            then, now = (
                ", ".join(f"{name}={settings.get(name)}" for name in names) for settings in (before, self._settings)
            )
            raise OutputError(f"{self.path} was made with {then}, not {now}: give the same again, {ways}")
        return finished

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the system says into one sentence of ours."""
        try:
            yield
        except OutputError:
            raise
        except Timeout:
            taken = os.path.exists(self._lock.lock_file)
            reason = "another process is writing to it" if taken else "its folder takes no files"
            raise OutputError(f"{self.path}: {reason}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            kept = "; what is in it stays, and --resume goes on from there" if self.images else ""
            raise OutputError(f"{self.path}: it cannot be written: {reason}{kept}") from error


class Output(Target):
    """A file of results in the format that its suffix names.

    Raises OutputError if it cannot be written, if there is one already and neither ``resume`` nor ``overwrite`` is
    said, or if it was made with other settings.
    """

    def __init__(
        self, path: str, settings: Mapping[str, Any], *, resume: bool = False, overwrite: bool = False
    ) -> None:
        super().__init__(path, settings)
        suffix = self.path.suffix.lower()
        self._done: Counter[str] = Counter()
        self._csv, self._parquet = suffix == ".csv", suffix == ".parquet"
        self._rows = self.path.with_name(f"{self.path.name}.unfinished") if self._parquet else self.path
        try:
            with self._explained():
                self._file = self._open(resume, overwrite)
        except BaseException:
            super().close()
            raise

    def write(self, result: Result) -> None:
        """Write an image's rows, all or, if the process is killed meanwhile, some that will be cut off again."""
        encode = _csv_line if self._csv else _json_line
        found = to_rows(result)
        self._append(b"".join(map(encode, found)))
        self._count(found[0])

    def without_done(self, images: Iterable[Any]) -> Iterator[Any]:
        """The images, as `expand` gives them, that have no rows yet."""
        for image in images:
            name = escape(image if isinstance(image, str) else image[0])
            if self._done[name]:
                self._done[name] -= 1
            else:
                yield image

    def finish(self) -> None:
        """Say that all images have their rows. Only now a parquet file appears."""
        with self._explained():
            if self._parquet:
                self._write_parquet()
                self._file.close()
                self._rows.unlink()
            self._note(finished=True)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        super().close()

    def _open(self, resume: bool, overwrite: bool) -> BinaryIO:
        if os.path.lexists(self.path) or os.path.lexists(self._rows):
            if resume:
                return self._reopen()
            if not overwrite:
                raise OutputError(
                    f"{self.path}: there is such a file already; go on with it by --resume, replace it by --overwrite, "
                    "or choose another name"
                )
        for path in (self._beside, self.path, self._rows):  # so that new settings never stand beside old rows
            path.unlink(missing_ok=True)
        self._note(finished=False)
        self._rows.touch()
        return self._grow(0)

    def _reopen(self) -> BinaryIO:
        finished = self._check_settings()
        if not self._rows.exists():
            self._unpack_parquet()
        with open(self._rows, "rb") as file:
            end = self._scan(file, finished)
        self._note(finished=False)
        return self._grow(end)

    def _grow(self, end: int) -> BinaryIO:
        """Open the rows to write behind the first ``end`` bytes; nothing follows these then."""
        file = self._rows.open("r+b", buffering=0)  # no buffer: what is written, a SIGKILL cannot take back
        try:
            file.truncate(end)
            file.seek(end)
            if self._csv and end == 0:
                file.write(HEADER)
        except BaseException:
            file.close()
            raise
        return file

    def _append(self, data: bytes) -> None:
        with self._explained():
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]

    def _scan(self, file: BinaryIO, finished: bool) -> int:
        """Count what is done, and return where it ends: behind the last image that has all of its rows."""
        position = end = 0
        begun: dict[str, Any] | None = None
        for number, record in enumerate(_csv_records(file) if self._csv else file):
            position += len(record)
            if not record.endswith(b"\n"):
                if len(record) > MAX_TORN:
                    raise OutputError(f"{self.path}: it ends in {len(record):,} bytes that are no record of ours")
                return end
            if self._csv and number == 0:
                if record != HEADER:
                    raise OutputError(f"{self.path}: it does not begin with {HEADER.decode().strip()}: it is not ours")
                end = position
                continue
            try:
                row = _read_csv(record) if self._csv else json.loads(record)
                rank = (row["source"], row["error"], row["rank"])[-1]
            except (ValueError, KeyError, TypeError, csv.Error):
                raise OutputError(f"{self.path}: its record {number + 1} is not one of ours") from None
            if begun is not None and rank in (None, 1):  # the next image: the one before has all that it will have
                self._have(begun)
                end = position - len(record)
            begun = row if rank in (None, 1) else begun
            if begun is not None and rank in (None, self._settings["top"]):
                self._have(begun)
                end, begun = position, None
        if begun is not None and finished:
            self._have(begun)
            end = position
        return end

    def _have(self, first: Mapping[str, Any]) -> None:
        self._done[first["source"]] += 1
        self._count(first)

    def _unpack_parquet(self) -> None:
        """Turn the finished parquet file into rows that can grow again."""
        arrow = import_arrow()

        def unpack(file: BinaryIO) -> None:
            with arrow.parquet.ParquetFile(self.path) as table:
                for batch in table.iter_batches():
                    file.writelines(map(_json_line, batch.to_pylist()))

        try:
            replace(self._rows, unpack)
        except arrow.ArrowException as error:
            raise OutputError(f"{self.path}: it cannot be read: {error}") from None

    def _write_parquet(self) -> None:
        arrow = import_arrow()

        def pack(file: BinaryIO) -> None:
            with arrow.parquet.ParquetWriter(file, to_arrow([]).schema) as writer, open(self._rows, "rb") as lines:
                while some := list(itertools.islice(lines, ROW_GROUP)):
                    writer.write_table(to_arrow(map(json.loads, some)))

        replace(self.path, pack)


def write_file(path: Path, results: Iterable[Result]) -> None:
    """Write results to a file in the format that its suffix names, which is there when it is whole."""
    found = [row for result in results for row in to_rows(result)]

    def write(file: BinaryIO) -> None:
        if path.suffix.lower() == ".parquet":
            import_arrow().parquet.write_table(to_arrow(found), file)
        elif path.suffix.lower() == ".csv":
            file.writelines([HEADER, *map(_csv_line, found)])
        else:
            file.writelines(map(_json_line, found))

    replace(path, write)


def read_file(path: Path) -> Iterator[dict[str, Any]]:
    """The rows that `write_file` wrote. Raises OutputError if it did not."""
    try:
        if path.suffix.lower() == ".parquet":
            yield from import_arrow().parquet.read_table(path).to_pylist()
        else:
            with open(path, "rb") as file:
                if path.suffix.lower() == ".csv":
                    yield from map(_read_csv, itertools.islice(_csv_records(file), 1, None))
                else:
                    yield from map(json.loads, file)
    except (ValueError, csv.Error) as error:
        raise OutputError(f"{path}: it is not one of ours: {error}") from None


HEADER = ",".join(COLUMNS).encode() + b"\n"


def _csv_line(row: Mapping[str, Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(row.values())
    # The writer quotes only line ends that occur in its own, which is both of them; a plain one is what tools like.
    return (text.getvalue().removesuffix("\r\n") + "\n").encode()


def _csv_records(file: Iterable[bytes]) -> Iterator[bytes]:
    """The records, torn last one included; a line end in quotes does not end one."""
    record: list[bytes] = []
    quotes = 0
    for line in file:
        record.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            yield b"".join(record)
            record.clear()
    if record:
        yield b"".join(record).removesuffix(b"\n")


def _read_csv(record: bytes) -> dict[str, Any]:
    (values,) = csv.reader([record.decode()])
    row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    kinds = {"Int64": int, "Float64": float, "string": str}
    return {name: kinds[kind](row[name]) if row[name] else None for name, kind in COLUMNS.items()}


def _json_line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Have ``write`` fill the file at ``path``, which takes the old one's place only when it is whole and on disk."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
