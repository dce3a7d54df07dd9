"""Images whose classes are known: a folder of class folders, a CSV file, or pairs."""

from __future__ import annotations

import codecs
import contextlib
import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pretrained_cnn.errors import DataError
from pretrained_cnn.images.skipping import Skipped, is_junk
from pretrained_cnn.images.sources import is_address, is_image, walk

WNID = re.compile(r"(?<![a-z0-9])n\d{8}(?!\d)")

FORMS = "a folder with a folder for each class, a CSV file with the columns path and label, or pairs (image, label)"


PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
"""What folders of a data set's parts are called, in any case."""


def dataset_parts(source: Any) -> dict[str, str] | None:
    """The parts of a data set by name, where ``source`` is a folder of these and of nothing else; else None.

    There is always a ``"train"``, and ``"validation"`` or ``"test"`` or both; each holds folders, one a class.
    """
    if not (isinstance(source, str | os.PathLike) and os.path.isdir(source)):
        return None
    folder = os.fspath(source)
    names = {known: part for part, every in PARTS.items() for known in every}
    found: dict[str, str] = {}
    for entry in sorted(name for name in os.listdir(folder) if not is_junk(name)):
        path = os.path.join(folder, entry)
        if os.path.isdir(path):
            part = names.get(entry.lower())
            if part is None or part in found or not _holds_only_folders(path):
                return None
            found[part] = path
    return found if "train" in found and len(found) > 1 else None


def _holds_only_folders(folder: str) -> bool:
    """Whether there are folders in a folder, and no image beside them."""
    entries = [name for name in os.listdir(folder) if not is_junk(name)]
    folders = [name for name in entries if os.path.isdir(os.path.join(folder, name))]
    return bool(folders) and not any(is_image(name) for name in entries if name not in folders)


class Labeled(NamedTuple):
    """Images, not yet decoded, and the class of each."""

    name: str
    """What errors call the source."""
    images: list[Any]
    labels: list[str]
    empty: list[str]
    """Class folders without an image."""


def labeled(source: Any, *, wnids: bool = False) -> Labeled:
    """Read a source of images with their classes; no image is opened.

    ``source`` is a folder with a folder for each class, searched by suffix as other folders are; a CSV file with a
    header and the columns ``path``, relative to the file, and ``label``; or an iterable of pairs of an image and a
    label. With ``wnids``, a WordNet id in the name of a folder or of an image is its label. Raises DataError for
    what is none of these.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if os.path.isdir(path):
            return _folder(path, wnids)
        if os.path.isfile(path) and path.lower().endswith((".csv", ".tsv")):
            return _pairs(path, _rows(path))
        raise DataError(f"{path}: this is no folder and no CSV file; give {FORMS}")
    if not isinstance(source, Iterable):
        raise DataError(f"an object of type {type(source).__name__} has no labeled images; give {FORMS}")
    return _pairs("<pairs>", source)


class LabeledSets(NamedTuple):
    """Images, not yet decoded, each with any number of labels."""

    name: str
    """What errors call the source."""
    images: list[Any]
    labels: list[tuple[str, ...]]


def labeled_sets(source: Any) -> LabeledSets:
    """Read a source of images that may have several labels, or none; no image is opened.

    ``source`` is what `labeled` takes. In a CSV file, ``label`` holds labels between commas, such as ``"cat,dog"``, and
    is empty for an image without any; in pairs, a label is a str or a collection of str. Raises DataError for what is
    none of these.

    >>> labeled_sets([("a.jpg", ["cat", "dog"]), ("b.jpg", "cat"), ("c.jpg", [])]).labels
    [('cat', 'dog'), ('cat',), ()]
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if os.path.isfile(path) and path.lower().endswith((".csv", ".tsv")):
            rows = list(_rows(path, unlabeled=True))
            texts = ([part.strip() for part in text.split(",")] for _, text in rows)
            return LabeledSets(path, [image for image, _ in rows], [tuple(filter(None, parts)) for parts in texts])
        name, images, labels, _ = labeled(source)
        return LabeledSets(name, images, [(label,) for label in labels])
    pairs = list(source) if isinstance(source, Iterable) else []
    if not pairs or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise DataError(f"<pairs>: these are no pairs of an image and its labels; give {FORMS}")
    labels_of = [as_label_set(value, f"<pairs>: number {i}") for i, (_, value) in enumerate(pairs)]
    return LabeledSets("<pairs>", [image for image, _ in pairs], labels_of)


def as_label_set(value: Any, what: str) -> tuple[str, ...]:
    """One label, or a collection of labels, as a tuple. Raises DataError, which names ``what``, for anything else."""
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(isinstance(label, str) for label in found):
        raise DataError(f"{what}: {value!r} is neither a label, which is a str, nor a collection of labels")
    return found


def _folder(folder: str, wnids: bool) -> Labeled:
    paths: list[Any] = []
    labels: list[str] = []
    empty = []
    skipped = Skipped()
    if not wnids and (parts := dataset_parts(folder)):
        given = " or ".join(parts.values())
        raise DataError(f"{folder}: its folders are the parts of a data set, and no classes; give {given}")
    for entry in sorted(name for name in os.listdir(folder) if not is_junk(name)):
        path = os.path.join(folder, entry)
        if not os.path.isdir(path):
            found = [path] if is_image(entry) else []
            if found and not (wnids and WNID.search(entry)):
                raise DataError(f"{folder}: {entry} is in no folder of a class; move it into one, or elsewhere")
        else:
            found = list(walk(path, skipped))
            if not found:
                empty.append(entry)
            elif not wnids and _holds_only_folders(path):
                raise DataError(
                    f"{path}: the folder of a class has images, but this one has only folders; give {path} if these "
                    "are the classes, or move their images up"
                )
        paths += found
        names = (image[0] if isinstance(image, tuple) else image for image in found)
        labels += [_wnid(os.path.relpath(name, folder)) or entry if wnids else entry for name in names]
    skipped.report(folder)
    if not paths:
        raise DataError(f"{folder}: no image is in its folders, one for each class; give {FORMS}")
    return Labeled(folder, paths, labels, empty)


def _wnid(path: str) -> str | None:
    """The WordNet id in a path: in its innermost folder that has one, else in the file's name."""
    *folders, file = Path(path).parts
    found = (WNID.search(part) for part in (*reversed(folders), file))
    return next((match.group() for match in found if match), None)


@contextlib.contextmanager
def _as_text(path: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason}; save it as UTF-8") from None


def _rows(path: str, *, unlabeled: bool = False) -> Iterable[tuple[str, str]]:
    with open(path, "rb") as start:
        marked = start.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as Excel and PowerShell write it
    with open(path, newline="", encoding="utf-16" if marked else "utf-8-sig") as file, _as_text(path):
        reader = csv.DictReader(file, delimiter=_delimiter(file))
        columns = reader.fieldnames or ()
        if not {"path", "label"} <= set(columns):
            raise DataError(f"{path}: its first line names the columns {', '.join(columns)}; path and label are needed")
        for row in reader:
            if None in row:
                raise DataError(
                    f"{path}: line {reader.line_num} has more cells than the first line; put what holds "
                    f"{reader.reader.dialect.delimiter!r} between double quotes"
                )
            if not (row["path"] and (row["label"] or unlabeled)):
                raise DataError(f"{path}: line {reader.line_num} lacks its path or its label")
            image = row["path"]
            yield image if is_address(image) else os.path.join(os.path.dirname(path), image), row["label"] or ""


def _delimiter(file: TextIO) -> str:
    """What stands between the names of the columns in the first line; the file is left at its beginning."""
    first = file.readline()
    file.seek(0)
    return next((mark for mark in ",;\t" if mark in first), ",")


def _pairs(name: str, pairs: Iterable[Any]) -> Labeled:
    images: list[Any] = []
    labels: list[str] = []
    for pair in pairs:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[1], str)):
            raise DataError(f"{name}: number {len(labels)} is not a pair of an image and a label, which is a str")
        if not pair[1].strip():
            raise DataError(f"{name}: number {len(labels)} has an empty label; give it one, or leave it out")
        images.append(pair[0])
        labels.append(pair[1])
    if not images:
        raise DataError(f"{name}: there is no image; give {FORMS}")
    return Labeled(name, images, labels, [])
