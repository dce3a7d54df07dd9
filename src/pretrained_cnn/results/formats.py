"""The formats of files of rows: a class for each, and `FORMATS`, the table of all.

A format that can grow at its end (`LineFormat`) holds the rows of an unfinished run itself. For any other format these
rows are kept as JSON lines beside the file until the run is through.
"""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from typing_extensions import override

from pretrained_cnn._check import listed
from pretrained_cnn._files import atomic_write
from pretrained_cnn.errors import InvalidArgumentError, OutputError
from pretrained_cnn.results.rows import Row, Schema, arrow_schema, import_arrow

__all__ = ["FORMATS", "Csv", "Format", "JsonLines", "LineFormat", "Npy", "Parquet", "find_format"]

ROW_GROUP = 100_000
"""Rows that are in memory at once when a parquet file is written, at most."""

GROUP_BYTES = 1024 * 1024
"""Bytes of vectors that are in memory at once when a parquet file is written or read, about."""


class Format(ABC):
    """How rows are kept in one kind of file."""

    SUFFIX: ClassVar[str]
    """What the names of its files end in, in lower case."""
    HOLDS: ClassVar[tuple[str, ...]] = ("results",)
    """The names of the schemas whose rows it can hold."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def require(self) -> None:  # noqa: B027 - most formats need nothing
        """Raise MissingDependencyError if a package that the format needs is not installed."""

    def files(self, path: Path) -> list[Path]:
        """The files that `write` makes: ``path``, and what lies beside it."""
        return [path]

    @abstractmethod
    def write(self, path: Path, rows: Iterable[Row]) -> None:
        """Write a file that appears at once and whole. Takes the rows one by one. Raises OSError."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Row]:
        """The rows of a whole file, one by one. Raises OutputError for a file that `write` did not make."""


class LineFormat(Format):
    """A format whose files grow at their end, record by record."""

    header: bytes = b""
    """The first record of a file, which is no row."""

    @abstractmethod
    def encode(self, row: Row) -> bytes:
        """A row as a record, which ends in a line end."""

    @abstractmethod
    def decode(self, record: bytes) -> Row:
        """The row of a record. Raises ValueError, KeyError or TypeError for a record that is not one of ours."""

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        """The records of a file, the header and a torn last one included. A torn one has no line end."""
        yield from file

    @override
    def write(self, path: Path, rows: Iterable[Row]) -> None:
        with atomic_write(path) as file:
            file.write(self.header)
            file.writelines(map(self.encode, rows))

    @override
    def read(self, path: Path) -> Iterator[Row]:
        with open(path, "rb") as file:
            records = self.records(file)
            if self.header and next(records, b"") != self.header:
                raise OutputError(f"{path}: it does not begin with {self.header.decode().strip()}: it is not ours")
            for number, record in enumerate(records, 1):
                try:
                    yield self.decode(record)
                except (ValueError, KeyError, TypeError):
                    raise OutputError(f"{path}: its row {number} is not one of ours") from None


class Csv(LineFormat):
    """Comma-separated values: a header, lines that end in ``\\n``, and quotes where a value needs them."""

    SUFFIX = ".csv"
    _FIELD: ClassVar = re.compile(r'("(?:[^"]|"")*"|[^",]*)(?:,|$)')
    _KINDS: ClassVar[Mapping[str, type]] = {"Int64": int, "Float64": float, "string": str}

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.header = ",".join(schema.columns).encode() + b"\n"

    @override
    def encode(self, row: Row) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerow(row.values())
        # The writer quotes only line ends that occur in its own, which is both of them; a plain one is what tools like.
        return (text.getvalue().removesuffix("\r\n") + "\n").encode()

    @override
    def decode(self, record: bytes) -> Row:
        values = dict(zip(self.schema.columns, self._split(record.decode()), strict=True))
        row = {
            name: self._KINDS[kind](values[name]) if values[name] else None
            for name, kind in self.schema.columns.items()
        }
        return {**row, "source": values["source"]}

    @override
    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        """As for any; a line end in quotes does not end a record."""
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

    def _split(self, record: str) -> list[str]:
        try:
            (values,) = csv.reader([record])
        except csv.Error:  # a field that is longer than the limit of the csv module
            fields = self._FIELD.findall(record.removesuffix("\n"))
            fields = fields[: len(self.schema.columns)] if fields[-1] == "" else fields
            values = [field[1:-1].replace('""', '"') if field.startswith('"') else field for field in fields]
        return values


class JsonLines(LineFormat):
    """A JSON object in each line. A vector is the base64 of its float32 values."""

    SUFFIX = ".jsonl"

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self._vectors = [name for name, kind in schema.columns.items() if kind == "vector"]

    @override
    def encode(self, row: Row) -> bytes:
        packed = {name: _pack(row[name]) for name in self._vectors}
        return json.dumps({**row, **packed}, allow_nan=False).encode() + b"\n"

    @override
    def decode(self, record: bytes) -> Row:
        found = json.loads(record)
        row = {name: found[name] for name in self.schema.columns}
        if not isinstance(row["source"], str):
            raise TypeError(row["source"])
        return {**row, **{name: _unpack(row[name]) for name in self._vectors}}


class Parquet(Format):
    """Columns with types, compressed; what is empty is null. Needs the package pyarrow."""

    SUFFIX = ".parquet"
    HOLDS = ("results", "embeddings")

    @override
    def require(self) -> None:
        import_arrow()

    @override
    def write(self, path: Path, rows: Iterable[Row]) -> None:
        arrow = import_arrow()
        width, rows = _width(self.schema, rows)
        types = arrow_schema(self.schema, width)
        size = ROW_GROUP if width is None else max(1, min(ROW_GROUP, GROUP_BYTES // (4 * width)))
        with atomic_write(path) as file, arrow.parquet.ParquetWriter(file, types) as writer:
            while group := list(itertools.islice(rows, size)):
                writer.write_table(arrow.Table.from_pylist(group, types))

    @override
    def read(self, path: Path) -> Iterator[Row]:
        arrow = import_arrow()
        vectors = [name for name, kind in self.schema.columns.items() if kind == "vector"]
        try:
            with arrow.parquet.ParquetFile(path) as table:
                missing = [name for name in self.schema.columns if name not in table.schema_arrow.names]
                if missing:
                    raise OutputError(f"{path}: it has no column {listed(missing)}: it is not ours")
                for batch in table.iter_batches(256 if vectors else 10_000, columns=list(self.schema.columns)):
                    for row in batch.to_pylist():
                        yield {**row, **{name: _as_vector(row[name]) for name in vectors}}
        except arrow.ArrowException as error:
            raise OutputError(f"{path}: it cannot be read: {error}") from None


class Npy(Format):
    """A float32 array ``(N, D)``, with NaN in the rows of failed images. ``NAME.sources.csv`` beside it says which row
    is which image's, and why an image failed."""

    SUFFIX = ".npy"
    HOLDS = ("embeddings",)

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        columns = {name: kind for name, kind in schema.columns.items() if kind != "vector"}
        self._sources = Csv(Schema(schema.name, columns, schema.rows))

    @override
    def files(self, path: Path) -> list[Path]:
        return [path, path.with_name(f"{path.name}.sources.csv")]

    @override
    def write(self, path: Path, rows: Iterable[Row]) -> None:
        import numpy as np

        width, rows = _width(self.schema, rows)
        nothing = np.full(width or 0, np.nan, "<f4").tobytes()
        count = 0
        with atomic_write(self.files(path)[1]) as sources, atomic_write(path) as file:
            sources.write(self._sources.header)
            _npy_header(file, 0, width or 0)
            for row in rows:
                vector = row.pop("embedding")
                sources.write(self._sources.encode(row))
                file.write(nothing if vector is None else vector.astype("<f4").tobytes())
                count += 1
            file.seek(0)
            _npy_header(file, count, width or 0)  # of the same length: numpy leaves room for the count to grow

    @override
    def read(self, path: Path) -> Iterator[Row]:
        import numpy as np

        with open(path, "rb") as file:
            try:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError
                (count, width), fortran, dtype = np.lib.format.read_array_header_1_0(file)
            except ValueError:
                raise OutputError(f"{path}: it is not a float32 array of ours") from None
            if fortran or dtype != np.dtype("<f4"):
                raise OutputError(f"{path}: it is not a float32 array of ours")
            found = 0
            for row in self._sources.read(self.files(path)[1]):
                vector = np.frombuffer(file.read(4 * width), "<f4")
                found += 1
                if found > count or len(vector) < width:
                    break
                yield {**row, "embedding": vector if row["error"] is None else None}
            if found != count:
                raise OutputError(
                    f"{path}: it has {count:,} rows, and {self.files(path)[1]} has another number of them"
                )


FORMATS: Mapping[str, type[Format]] = {each.SUFFIX: each for each in (Csv, JsonLines, Parquet, Npy)}
"""All formats by suffix."""


def find_format(path: Path, schema: Schema) -> Format:
    """The format that the suffix of ``path`` names. Raises InvalidArgumentError for one that cannot hold the rows."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None or schema.name not in kind.HOLDS:
        *first, last = (suffix for suffix, each in FORMATS.items() if schema.name in each.HOLDS)
        raise InvalidArgumentError(
            f"{path}: the name of a file of {schema.name} must end in {', '.join(first)} or {last}"
        )
    return kind(schema)


def _width(schema: Schema, rows: Iterable[Row]) -> tuple[int | None, Iterator[Row]]:
    """The width of the vectors in the rows, or None if there are no vectors; and all of the rows."""
    rows = iter(rows)
    name = next((name for name, kind in schema.columns.items() if kind == "vector"), None)
    if name is None:
        return None, rows
    begun: list[Row] = []
    for row in rows:
        begun.append(row)
        if row[name] is not None:
            return len(row[name]), itertools.chain(begun, rows)
    return None, iter(begun)


def _npy_header(file: BinaryIO, count: int, width: int) -> None:
    import numpy as np

    description = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(file, description)


def _pack(vector: Any) -> str | None:
    return None if vector is None else base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _unpack(text: str | None) -> Any:
    import numpy as np

    return None if text is None else np.frombuffer(base64.b64decode(text, validate=True), "<f4")


def _as_vector(values: Any) -> Any:
    import numpy as np

    return None if values is None else np.array(values, "<f4")
