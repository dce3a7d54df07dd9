"""Tables of labeled images: CSV and TSV files, data frames, and mappings of columns."""

from __future__ import annotations

import codecs
import csv
import io
import math
import numbers
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pretrained_cnn._process import warn
from pretrained_cnn.errors import DataError
from pretrained_cnn.images.sources import is_address

__all__ = [
    "Columns",
    "Table",
    "as_label",
    "as_label_set",
    "as_table",
    "indicated",
    "is_missing",
    "is_table_file",
    "named_columns",
    "read_table",
]

DELIMITERS = ",;\t|"

PATHS = ("path", "filename", "file", "filepath", "file_path", "image_path", "image", "img")
LABELS = ("label", "class", "target", "category", "labels", "tags")
"""The usual names of columns, in lower case. The first name of each is taken where several are there."""

WEIGHTS = ("weight", "sample_weight")

MISSING = frozenset({"nan", "<na>", "nat"})
"""What pandas and NumPy make of a missing value where they make text of it, in lower case."""

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


INDICATORS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
"""What the cells of a label's own column say, in lower case."""

_BETWEEN_LABELS = re.compile("[,;|]")
_LIST = re.compile(r"\s*[\[({].*[\])}]\s*", re.DOTALL)
"""What Python writes for a list, a tuple, a set or an array."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table; None for those that have one of the usual names."""

    path: str | None = None
    label: str | None = None
    group: str | None = None
    """The things that images are of: images of one thing stay on one side of a split. None for no such column."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (value is None or isinstance(value, str)):
                raise DataError(f"{name}_column={value!r} is not the name of a column, which is a str")
        if self.path is not None and self.path == self.label:
            raise DataError(f"the column {self.path!r} cannot hold both the images and the labels; choose two columns")

    @property
    def given(self) -> list[str]:
        """The names that are given."""
        return [value for value in vars(self).values() if value is not None]


class Table(NamedTuple):
    """Columns of the same length, by their names."""

    name: str
    """The name in error messages."""
    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[str]
    """The name of a row in error messages, such as ``"line 2"``."""
    folder: str | None = None
    """The folder that paths are relative to; None for paths that are taken as they are."""

    def find(self, given: str | None, usual: Sequence[str], argument: str) -> str:
        """The name of a column: ``given``, or the one with a usual name. Raises DataError if that is not one."""
        if given is not None:
            if given in self.columns:
                return given
            raise DataError(f"{self.name}: it has no column {given!r}; its columns are {_names(self.columns)}")
        found = [name for name in self.columns if name.strip().lower() in usual]
        first = [name for name in found if name.strip().lower() == usual[0]]
        if len(found) == 1 or len(first) == 1:
            return (first or found)[0]
        if found:
            raise DataError(f"{self.name}: {_names(found)} may all be the {usual[0]}; choose one by {argument}=...")
        raise DataError(
            f"{self.name}: no column is named {usual[0]}; its columns are {_names(self.columns)}: choose one by "
            f"{argument}=..." + ("; the first line must name the columns" if self.folder is not None else "")
        )

    def images(self, columns: Columns) -> list[Any]:
        """The column of images. Paths of a file are relative to its folder; an empty cell is refused."""
        cells = self.columns[self.find(columns.path, PATHS, "path_column")]
        for row, cell in zip(self.rows, cells, strict=True):
            if is_missing(cell):
                raise DataError(f"{self.name}: {row} lacks its path")
        if self.folder is None:
            return list(cells)
        return [self._path(cell, row) for row, cell in zip(self.rows, cells, strict=True)]

    def label_sets(self, columns: Columns) -> list[tuple[str, ...]]:
        """Any number of labels for each row: those between commas, semicolons or bars in the column of labels.

        A cell may be empty; in a frame, it may be a collection of labels. Without such a column, each of `indicators`
        is a label, and its cells say with 1 or 0, true or false, yes or no, which rows have it. Raises DataError for
        any other cell.
        """
        if labels := self.indicators(columns):
            return self._indicated(labels)
        cells = self.columns[self.find(columns.label, LABELS, "label_column")]
        return [_label_set(cell, f"{self.name}: {row}") for row, cell in zip(self.rows, cells, strict=True)]

    def indicators(self, columns: Columns) -> list[str]:
        """The columns that are a label each: all but those of paths, weights and groups, if none holds labels."""
        if columns.label is not None or any(name.strip().lower() in LABELS for name in self.columns):
            return []
        others = {self.find(columns.path, PATHS, "path_column"), columns.group}
        return [name for name in self.columns if name not in others and name.strip().lower() not in WEIGHTS]

    def _indicated(self, labels: Sequence[str]) -> list[tuple[str, ...]]:
        sets: list[tuple[str, ...]] = []
        for i, row in enumerate(self.rows):
            said = [_indicator(self.columns[name][i]) for name in labels]
            if None in said:
                name = labels[said.index(None)]
                raise DataError(
                    f"{self.name}: {row} has {self.columns[name][i]!r} in the column {name!r}; where each label has a "
                    "column, its cells are 1 or 0; remove columns that are no labels"
                )
            sets.append(tuple(name for name, has in zip(labels, said, strict=True) if has))
        return sets

    def labels(self, columns: Columns) -> list[str | int]:
        """The column of labels. Raises DataError for an empty cell, and for what is no label."""
        cells = self.columns[self.find(columns.label, LABELS, "label_column")]
        return [as_label(cell, f"{self.name}: {row}") for row, cell in zip(self.rows, cells, strict=True)]

    def weights(self) -> list[float] | None:
        """The column ``weight``, or ``sample_weight``, as numbers; None without one. Raises DataError for several."""
        names = [name for name in self.columns if name.strip().lower() in WEIGHTS]
        if not names:
            return None
        if len(names) > 1:
            raise DataError(f"{self.name}: {_names(names)} may all be the weight; remove all but one")
        found = []
        for row, cell in zip(self.rows, self.columns[names[0]], strict=True):
            try:
                found.append(float(cell))
            except (TypeError, ValueError):
                raise DataError(f"{self.name}: {row} has the weight {cell!r}, which is not a number") from None
        return found

    def groups(self, columns: Columns) -> list[str] | None:
        """The column of groups as text; None where none is chosen. Raises DataError for an empty cell."""
        if columns.group is None:
            return None
        cells = self.columns[self.find(columns.group, (), "groups")]
        for row, cell in zip(self.rows, cells, strict=True):
            if is_missing(cell) or str(cell).strip().lower() in MISSING:
                raise DataError(f"{self.name}: {row} has no {columns.group}, to group images by")
        return [str(cell) for cell in cells]

    def _path(self, cell: str, row: str) -> str:
        """The path of a cell. Backslashes of Windows are understood elsewhere, where no file has them in its name."""
        if is_address(cell):
            return cell
        assert self.folder is not None
        path = os.path.join(self.folder, os.path.expanduser(cell))
        if os.sep == "/" and not os.path.lexists(path):
            if _DRIVE.match(cell):
                raise DataError(
                    f"{self.name}: {row} has the path {cell!r} of a Windows computer; make the paths relative to the "
                    "folder of this file"
                )
            return os.path.join(self.folder, cell.replace("\\", "/"))
        return path


def is_table_file(path: str) -> bool:
    """Whether a file of this name is read as a table."""
    return path.lower().endswith((".csv", ".tsv"))


def read_table(path: str) -> Table:
    """A CSV or TSV file with the names of its columns in the first line; every cell is text.

    The file is UTF-8, UTF-16, or else Latin-1, as Excel writes them; the cells stand between commas, semicolons, tabs
    or bars. Raises DataError for a file that is not such a table, and for rows that do not fit its first line.
    """
    text = _text(path)
    if text[:4].lower() == "sep=":  # a first line for Excel alone
        text = text.partition("\n")[2]
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    names: list[str] = []
    cells, rows = [], []
    for line, row in _lines(path, reader):
        if not names:
            names = [name.strip() for name in row]
        elif len(row) > len(names):
            raise DataError(
                f"{path}: line {line} has more cells than the first line; put what holds {delimiter!r} between double "
                "quotes"
            )
        else:
            cells.append(row + [""] * (len(names) - len(row)))
            rows.append(f"line {line}")
    if not names:
        raise DataError(f"{path}: this file is empty; its first line must name the columns, such as path,label")
    _refuse_repeated(path, names)
    columns = {name: [row[i] for row in cells] for i, name in enumerate(names) if name}
    return Table(path, columns, rows, os.path.dirname(path))


def as_table(source: Any) -> Table | None:
    """A data frame of pandas or Polars, a table of Arrow, or a mapping of columns as a table; None for anything else.

    Columns are lists in a mapping. The frame's index does not matter.
    """
    if isinstance(source, Mapping):
        names = [name for name, column in source.items() if isinstance(name, str) and _is_column(column)]
        if not names or len(names) < len(source):
            return None
    elif hasattr(source, "column_names") and hasattr(source, "to_pydict"):
        names = list(source.column_names)
    elif hasattr(source, "columns") and hasattr(source, "dtypes"):
        names = [name for name in source.columns if isinstance(name, str)]
    else:
        return None
    name = f"<{type(source).__name__}>"
    if not names:
        raise DataError(f"{name}: no column has a name that is a str; name the columns, such as path and label")
    _refuse_repeated(name, names)
    columns = {each: _cells(source[each]) for each in names}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise DataError(f"{name}: its columns have {' and '.join(map(str, sorted(lengths)))} cells; give as many each")
    return Table(name, columns, [f"row {i}" for i in range(max(lengths, default=0))])


def _refuse_repeated(name: str, columns: Sequence[str]) -> None:
    repeated = [column for column in columns if column and columns.count(column) > 1]
    if repeated:
        raise DataError(f"{name}: several columns are named {repeated[0]!r}; give each a name of its own")


def _is_column(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray) or (hasattr(value, "__len__") and hasattr(value, "dtype"))


def _cells(column: Any) -> Sequence[Any]:
    return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


def is_missing(value: Any) -> bool:
    """Whether a cell or a label is empty: None, NaN, pandas' NA and NaT, or blank text."""
    if isinstance(value, str):
        return not value.strip()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def as_label(value: Any, what: str) -> str | int:
    """A label: text, or a whole number. Raises DataError, which names ``what``, for anything else.

    >>> as_label("cat", "row 0"), as_label(np.int64(3), "row 0"), as_label(2.0, "row 0"), as_label(b"dog", "row 0")
    ('cat', 3, 2, 'dog')
    """
    if (
        not isinstance(value, str | bytes)
        and hasattr(value, "__array__")
        and getattr(value, "shape", None) in ((), (1,))
    ):
        value = np.asarray(value).reshape(())[()]
    if isinstance(value, bytes):  # as TensorFlow has text
        value = value.decode("utf-8", "replace")
    if is_missing(value):
        raise DataError(f"{what} has an empty label; give it one, or leave it out")
    if isinstance(value, str):
        if value.strip().lower() in MISSING:
            raise DataError(
                f"{what} has the label {value!r}, which stands for a missing one; give it one, or leave it out. If a "
                "class has this name, give it another"
            )
        return str(value)
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        if float(value).is_integer():
            return int(float(value))
        raise DataError(f"{what} has the label {value!r}, which is no class; expected text or a whole number")
    raise DataError(f"{what} has a label of type {type(value).__name__}; expected text or a whole number")


def as_label_set(value: Any, what: str) -> tuple[str, ...]:
    """One label, or a collection of labels, as a tuple. Raises DataError, which names ``what``, for anything else."""
    is_collection = isinstance(value, Iterable) and not isinstance(value, Mapping | bytes)
    found = (value,) if isinstance(value, str) else tuple(value) if is_collection else (None,)
    if not all(isinstance(label, str) for label in found):
        raise DataError(
            f"{what}: {value!r:.80} is neither a label, which is a str, nor a collection of labels; give the names of "
            "the labels, or (X, Y) with Y (N, C) of 0 and 1"
        )
    return tuple(str(as_label(label, what)) for label in found)


def indicated(array: Any, what: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """The labels of an array or a frame ``(N, C)`` of 0 and 1, by the names or else the numbers of its columns, and
    those of each row. Raises DataError, which names ``what``, for other values.

    >>> indicated(np.array([[1, 1], [0, 1]]), "Y")
    (['0', '1'], [('0', '1'), ('1',)])
    """
    values = np.asarray(array)
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise DataError(f"{what} of shape {values.shape} has other values than 0 and 1, for each label of each image")
    columns = [str(name) for name in getattr(array, "columns", range(values.shape[1]))]
    return columns, [tuple(columns[i] for i in np.flatnonzero(row)) for row in values]


def named_columns(array: Any) -> list[str] | None:
    """The names of a frame's columns, as text; None unless it has several, which are not just counted from 0."""
    names = list(getattr(array, "columns", ()))
    return list(map(str, names)) if len(names) > 1 and names != list(range(len(names))) else None


def _label_set(cell: Any, what: str) -> tuple[str, ...]:
    """The labels in a cell."""
    if is_missing(cell):
        return ()
    if not isinstance(cell, str):
        return as_label_set(cell, what) if isinstance(cell, Iterable) else (str(as_label(cell, what)),)
    if _LIST.fullmatch(cell):
        raise DataError(f"{what} has the labels {cell!r}, which are the text of a list; write them between commas: a,b")
    return tuple(str(as_label(label, what)) for label in map(str.strip, _BETWEEN_LABELS.split(cell)) if label)


def _indicator(cell: Any) -> bool | None:
    """What a cell says of a label; None for what says neither yes nor no."""
    text = str(cell).strip().lower()
    return INDICATORS.get(re.sub(r"\.0+$", "", text))


def _text(path: str) -> str:
    """What a file says."""
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as Excel and PowerShell write it
        encoding = "utf-16"
    elif b"\0" in data[:2]:  # the same without a mark
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise DataError(f"{path} is not {encoding}: {error.reason}; save it as UTF-8") from None
    warn(f"{path} is not UTF-8, and is read as Latin-1; if its letters come out wrong, save it as UTF-8")
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:  # which lacks five bytes
        return data.decode("latin-1")


def _lines(path: str, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with its line."""
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}: the row that begins in line {start} cannot be read: {error}; look for a double quote that is "
                "not closed"
            ) from None
        if any("\0" in cell for cell in row):
            raise DataError(f"{path}: line {reader.line_num} holds a NUL, as no text does; save the file as UTF-8")
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _delimiter(text: str) -> str:
    """What stands between the names of the columns in the first line: what parts it into most, among equals a comma."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    counts = {mark: len(next(csv.reader([first], delimiter=mark), [])) for mark in DELIMITERS}
    return max(counts, key=lambda mark: counts[mark])


def _names(names: Any) -> str:
    shown = list(names)
    text = ", ".join(map(repr, shown[:10]))
    return f"{text} and {len(shown) - 10} more" if len(shown) > 10 else text
