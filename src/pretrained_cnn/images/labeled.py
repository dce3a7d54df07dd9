"""Images whose classes are known: folders, archives, tables, arrays, data sets and pairs, read in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pretrained_cnn._process import warn
from pretrained_cnn.errors import DataError, ImageError
from pretrained_cnn.images.archives import is_archive, members
from pretrained_cnn.images.datasets import Dataset, as_dataset, label_values, read_pairs
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.skipping import Skipped, has_junk, is_junk
from pretrained_cnn.images.sources import is_image, iter_items, walk
from pretrained_cnn.images.tables import Columns, Table, as_label_set, as_table, indicated, is_table_file, read_table

__all__ = [
    "FORMS",
    "WNID",
    "Labeled",
    "LabeledSets",
    "columns_of_each",
    "dataset_parts",
    "labeled",
    "labeled_sets",
]

WNID = re.compile(r"(?<![a-z0-9])n\d{8}(?!\d)")

FORMS = (
    "a folder with a folder for each class, its zip or tar archive, a CSV file with the columns path and label, a data "
    "frame, arrays (X, y), a TensorFlow, PyTorch or Hugging Face data set, or pairs (image, label)"
)

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "validate", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
"""The names of the folders with the parts of a data set, in any case."""


def dataset_parts(source: Any) -> dict[str, Any] | None:
    """The parts of a data set by name, where ``source`` consists of these and of nothing else; else None.

    It is a folder or an archive whose folders are the parts, each with folders, one a class; or a mapping of parts, as
    Hugging Face's ``DatasetDict``. There is always a ``"train"``, and ``"validation"`` or ``"test"`` or both.
    """
    if isinstance(source, Mapping):
        return _parts({key: source[key] for key in source if isinstance(key, str)}, lambda _: True) or None
    if not isinstance(source, str | os.PathLike):
        return None
    path = os.fspath(source)
    if os.path.isdir(path):
        folders = {name: os.path.join(path, name) for name in os.listdir(path) if not is_junk(name)}
        folders = {name: inner for name, inner in folders.items() if os.path.isdir(inner)}
        return _parts(folders, lambda name: _holds_only_folders(folders[name])) or None
    if (found := _in_archive(path)) is None:
        return None
    archive, folder = found
    names: list[Parts] = []

    def note(name: str) -> bool:
        names.extend([_split(name)] if is_image(name) and not has_junk(name) else [])
        return False

    if any(members(archive, 0, note)):
        return None  # it is broken; anyone who reads it says so
    return _parts_within(archive, *_rooted(archive, folder, names)) or None


def _parts(folders: Mapping[str, Any], holds_classes: Callable[[str], bool]) -> dict[str, Any]:
    """What stands for each part; empty unless all are parts, and train is one of several."""
    names = {known: part for part, every in PARTS.items() for known in every}
    found: dict[str, Any] = {}
    for name in sorted(folders):
        part = names.get(name.lower())
        if part is None or part in found or not holds_classes(name):
            return {}
        found[part] = folders[name]
    return found if "train" in found and len(found) > 1 else {}


def _holds_only_folders(folder: str) -> bool:
    """Whether there are folders in a folder, and no image beside them."""
    entries = [name for name in os.listdir(folder) if not is_junk(name)]
    folders = [name for name in entries if os.path.isdir(os.path.join(folder, name))]
    return bool(folders) and not any(is_image(name) for name in entries if name not in folders)


@dataclass
class Labeled:
    """Images, not yet decoded, and the class of each."""

    name: str
    """The name of the source in error messages."""
    images: list[Any]
    labels: list[str]
    classes: tuple[str, ...]
    """The classes that have images, in the order of the source if it has one, else sorted."""
    empty: list[str] = field(default_factory=list)
    """Class folders without an image."""
    numbers: list[int] | None = None
    """The labels, where they are whole numbers without names."""
    weights: list[float] | None = None
    """The weight of each image, if the source has weights."""
    groups: list[str] | None = None
    """The thing that each image is of, where a column of groups is chosen."""


def labeled(
    source: Any, columns: Columns = Columns(), *, wnids: bool = False, policy: ImagePolicy = ImagePolicy()
) -> Labeled:
    """Read a source of images with their classes; no image is decoded.

    ``source`` is one of these:

    - a folder with a folder for each class, searched by suffix as other folders are, or a zip or tar archive of one;
      ``archive.zip/folder`` is a folder within an archive
    - a CSV or TSV file, see `read_table`, or a frame or a mapping, see `as_table`, with ``columns``
    - a tuple ``(X, y)``: images as other sources have them, such as an array ``(N, h, w, c)``, and a label for each
    - a data set, see `as_dataset`
    - an iterable of pairs of an image and a label, or of batches of them

    A label is text or a whole number; where labels are arrays ``(N, C)`` with one 1 in each row, its place. Images of
    an archive or a data set are in memory, encoded if they are there. With ``wnids``, a WordNet id in the name of a
    folder or of an image is its label. Raises DataError for what is none of these.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if os.path.isfile(path) and is_table_file(path):
            return _of_table(read_table(path), columns)
        found = _in_archive(path)
        if found is None and not os.path.isdir(path):
            reason = "this is no folder, archive or CSV file" if os.path.lexists(path) else "it does not exist"
            raise DataError(f"{path}: {reason}; give {FORMS}")
        _refuse_columns(path, columns)
        return _folder(path, wnids) if found is None else _archive(*found, wnids, policy)
    name = f"<{type(source).__name__}>"
    if (parts := dataset_parts(source)) is not None:
        raise DataError(f"{name}: this holds the parts of a data set, {_listed(parts)}; give one of them")
    if (table := as_table(source)) is not None:
        return _of_table(table, columns)
    if not hasattr(source, "column_names"):
        _refuse_columns(name, columns)
    if type(source) is tuple and len(source) == 2:
        return _arrays(*source, policy)
    if (dataset := as_dataset(source, columns)) is not None:
        return _of_pairs(dataset)
    if not isinstance(source, Iterable) or isinstance(source, Mapping | str | bytes):
        raise DataError(f"an object of type {type(source).__name__} has no labeled images; give {FORMS}")
    return _of_pairs(read_pairs("<pairs>", source))


def columns_of_each(columns: Columns, *sources: Any) -> list[Columns]:
    """The columns for each source: where some are tables, the others need none."""
    tables = [_is_table(source) for source in sources]
    return [columns if table or not any(tables) else Columns() for table in tables]


def _is_table(source: Any) -> bool:
    if isinstance(source, str | os.PathLike):
        return is_table_file(os.fspath(source))
    return hasattr(source, "column_names") or as_table(source) is not None


@dataclass
class LabeledSets:
    """Images, not yet decoded, each with any number of labels."""

    name: str
    """The name of the source in error messages."""
    images: list[Any]
    labels: list[tuple[str, ...]]
    weights: list[float] | None = None
    """The weight of each image, if the source has weights."""
    groups: list[str] | None = None
    """The thing that each image is of, where a column of groups is chosen."""
    columns: Sequence[str] = ()
    """The labels that have a column of their own; an image need not have one of them."""


def labeled_sets(source: Any, columns: Columns = Columns(), *, policy: ImagePolicy = ImagePolicy()) -> LabeledSets:
    """Read a source of images that may have several labels, or none; no image is opened.

    ``source`` is what `labeled` takes. In a CSV file, ``label`` holds labels between commas, such as ``"cat,dog"``, and
    is empty for an image without any; in pairs, a label is a str or a collection of str. In ``(X, Y)``, Y is such
    labels, or ``(N, C)`` of 0 and 1, whose labels are the names or else the numbers of its columns. Raises DataError
    for what is none of these.

    >>> labeled_sets([("a.jpg", ["cat", "dog"]), ("b.jpg", "cat"), ("c.jpg", [])]).labels
    [('cat', 'dog'), ('cat',), ()]
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if os.path.isfile(path) and is_table_file(path):
            return _sets_of_table(read_table(path), columns)
        found = labeled(source, columns, policy=policy)
        return LabeledSets(found.name, found.images, [(label,) for label in found.labels])
    if (table := as_table(source)) is not None:
        return _sets_of_table(table, columns)
    _refuse_columns("<pairs>", columns)
    if type(source) is tuple and len(source) == 2:
        return _arrays_of_sets(*source, policy)
    pairs = list(source) if isinstance(source, Iterable) else []
    if not pairs or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise DataError(
            f"<{type(source).__name__}>: these are no pairs of an image and its labels; where an image may have "
            "several labels, give a table, (X, Y), or pairs (image, labels)"
        )
    labels_of = [as_label_set(value, f"<pairs>: number {i}") for i, (_, value) in enumerate(pairs)]
    return LabeledSets("<pairs>", [image for image, _ in pairs], labels_of)


def _sets_of_table(table: Table, columns: Columns) -> LabeledSets:
    images, labels = table.images(columns), table.label_sets(columns)
    return LabeledSets(table.name, images, labels, table.weights(), table.groups(columns), table.indicators(columns))


def _arrays_of_sets(x: Any, y: Any, policy: ImagePolicy) -> LabeledSets:
    """Images, and the labels of each, or for each label whether an image has it."""
    images = _images_of(x, y, policy)
    if len(getattr(y, "shape", ())) != 2:
        labels = [as_label_set(value, f"{ARRAYS}: number {i}") for i, value in enumerate(y)]
        columns: list[str] = []
    else:
        columns, labels = indicated(y, f"{ARRAYS}: Y")
    if len(images) != len(labels):
        raise DataError(f"{ARRAYS}: {len(images)} images do not fit {len(labels)} sets of labels")
    return LabeledSets(ARRAYS, images, labels, columns=columns)


def _refuse_columns(name: str, columns: Columns) -> None:
    if columns.given:
        raise DataError(f"{name}: this is no table, and has no column {columns.given[0]!r}; leave its name out")


def _labeled(name: str, images: list[Any], labels: list[str | int], order: Iterable[str] = (), **more: Any) -> Labeled:
    """The images, with the classes in the order given, else sorted: numbers by their value, and text as text."""
    if not images:
        raise DataError(f"{name}: there is no image; give {FORMS}")
    numbers = [label for label in labels if isinstance(label, int)]
    if numbers and len(numbers) < len(labels):
        text = next(label for label in labels if isinstance(label, str))
        raise DataError(f"{name}: some labels are text, such as {text!r}, and some numbers, such as {numbers[0]}")
    names = [str(label).strip() for label in labels]
    used = set(names)
    if len(used) < len(set(labels)):
        blank = next(label for label in labels if isinstance(label, str) and label != label.strip())
        warn(f"{name}: blanks around labels do not count, so {blank!r} and {blank.strip()!r} are one class")
    ordered = dict.fromkeys(each.strip() for each in order if each.strip() in used)
    classes = tuple(ordered) or (tuple(map(str, sorted(set(numbers)))) if numbers else tuple(sorted(used)))
    return Labeled(name, images, names, classes, numbers=numbers or None, **more)


def _of_table(table: Table, columns: Columns) -> Labeled:
    images, labels = table.images(columns), table.labels(columns)
    return _labeled(table.name, images, labels, weights=table.weights(), groups=table.groups(columns))


def _of_pairs(data: Dataset) -> Labeled:
    return _labeled(data.name, data.images, data.labels, data.classes or (), weights=data.weights)


ARRAYS = "(X, y)"
"""The name of images and labels in error messages."""


def _arrays(x: Any, y: Any, policy: ImagePolicy) -> Labeled:
    """Images, and a label for each."""
    y = list(y) if isinstance(y, Iterator) else y
    images = _images_of(x, y, policy)
    labels = label_values(y, ARRAYS)
    if len(images) != len(labels):
        raise DataError(f"{ARRAYS}: {len(images)} images do not fit {len(labels)} labels")
    return _labeled(ARRAYS, images, labels)


def _images_of(x: Any, y: Any, policy: ImagePolicy) -> list[Any]:
    """The images of ``(X, y)``. Raises DataError unless both can be that."""
    name = ARRAYS
    shape = getattr(x, "shape", None)
    if isinstance(x, tuple) and isinstance(y, tuple) and len(x) == len(y) == 2:
        raise DataError(
            f"{name}: two tuples of two are pairs, or images and labels, or parts of a data set; give pairs in a list, "
            "and images and labels as lists or arrays: (X, y)"
        )
    if isinstance(y, str | bytes) or not hasattr(y, "__len__"):
        raise DataError(f"{name}: one pair of an image and a label is no data; give a list of pairs, or (X, y)")
    if isinstance(y, Mapping | Set):
        raise DataError(
            f"{name}: y is a {type(y).__name__}, which is no sequence; give a list with a label for each image"
        )
    if shape is not None and len(shape) == 2 and shape[1] == 1:  # a column
        x = np.asarray(x)[:, 0]
    elif shape is not None and len(shape) == 2:
        raise DataError(
            f"{name}: X has the shape {tuple(shape)}, and images have (N, h, w) or (N, h, w, c); give "
            "X.reshape(-1, h, w) if it holds images in rows"
        )
    if shape is not None and len(shape) == 3:
        x = list(x)  # gray images
    try:
        return [(item.name, item.image) for item in iter_items(x, policy)]
    except ImageError as error:
        raise DataError(f"{name}: {error}") from None


# Folders and archives

Parts = tuple[str, ...]
"""The names of the folders that an image is in, from the source on, and its own."""


def _folder(folder: str, wnids: bool) -> Labeled:
    found: list[tuple[Parts, Any]] = []
    empty, skipped = [], Skipped()
    if not wnids and (parts := dataset_parts(folder)):
        raise _parts_error(folder, parts)
    for entry in sorted(name for name in os.listdir(folder) if not is_junk(name)):
        path = os.path.join(folder, entry)
        if os.path.isdir(path):
            before = len(found)
            for image in walk(path, skipped):
                # What cannot be listed comes with its name; it stands where its images would.
                within = os.path.relpath(os.path.join(image[0], "?") if isinstance(image, tuple) else image, path)
                found.append(((entry, *Path(within).parts), image))
            empty += [entry] if len(found) == before else []
        elif is_image(entry):
            found.append(((entry,), path))
    skipped.report(folder)
    return _classified(folder, found, empty, wnids)


def _archive(archive: str, folder: str, wnids: bool, policy: ImagePolicy) -> Labeled:
    name = os.path.join(archive, folder) if folder else archive
    skipped = Skipped()

    def wanted(member: str) -> bool:
        if has_junk(member) or _split(member)[:-1][: len(_split(folder))] != _split(folder):
            return False
        if not is_image(member):
            skipped.add(member)
            return False
        return True

    found: dict[Parts, Any] = {}
    for member, data in members(archive, policy.max_bytes, wanted):
        if isinstance(data, ImageError) and member == archive:
            raise DataError(str(data))
        found[_split(member[len(archive) + 1 :])] = (member, data)
    skipped.report(name)
    root, within = _rooted(archive, folder, sorted(found))
    if not wnids and (parts := _parts_within(archive, root, within)):
        raise _parts_error(name, parts)
    return _classified(name, [(parts, found[(*root, *parts)]) for parts in within], [], wnids)


def _in_archive(path: str) -> tuple[str, str] | None:
    """An archive, and the folder in it that a path leads to; None if it leads into no archive."""
    inner: list[str] = []
    while path and not os.path.isdir(path):
        if is_archive(path) and os.path.isfile(path):
            return path, "/".join(reversed(inner))
        path, name = os.path.split(path)
        inner += [name] if name else []
    return None


def _split(member: str) -> Parts:
    """The parts of a member's name; programs of Windows may write backslashes."""
    return tuple(part for part in member.replace("\\", "/").split("/") if part not in ("", "."))


def _rooted(archive: str, folder: str, names: Iterable[Parts]) -> tuple[Parts, list[Parts]]:
    """The folder in an archive that holds the classes, and what is in it: outer folders that hold all are passed."""
    root = _split(folder)
    within = [name[len(root) :] for name in names if name[: len(root)] == root and not has_junk("/".join(name))]
    while within and all(len(parts) > 2 for parts in within) and len({parts[0] for parts in within}) == 1:
        root, within = (*root, within[0][0]), [parts[1:] for parts in within]
    return root, within


def _parts_within(archive: str, root: Parts, within: Iterable[Parts]) -> dict[str, str]:
    """The parts of a data set in an archive, by the names of its images; empty if it is none."""
    outside = {parts[0] for parts in within if len(parts) < 3}
    return _parts(
        {parts[0]: "/".join((archive, *root, parts[0])) for parts in within}, lambda name: name not in outside
    )


def _parts_error(name: str, parts: Mapping[str, str]) -> DataError:
    return DataError(
        f"{name}: its folders are the parts of a data set, and no classes; give {' or '.join(parts.values())}"
    )


def _classified(name: str, found: list[tuple[Parts, Any]], empty: list[str], wnids: bool) -> Labeled:
    """Images by the folders that they are in: the outermost one is the class, or with ``wnids`` what has an id."""
    if not found:
        raise DataError(f"{name}: no image is in its folders, one for each class; give {FORMS}")
    labels: list[str | int] = []
    with_images = {parts[0] for parts, _ in found if len(parts) == 2}
    for parts, _ in found:
        if len(parts) == 1 and not (wnids and WNID.search(parts[0])):
            raise DataError(f"{name}: {parts[0]} is in no folder of a class; move it into one, or elsewhere")
        if not wnids and parts[0] not in with_images:
            folders = [parts[0], *(each[0] for each, _ in found if each[0] not in with_images)]
            path = os.path.join(name, next((each for each in folders if "train" in each.lower()), parts[0]))
            raise DataError(
                f"{path}: the folder of a class has images, but this one has only folders; give {path} if these are "
                "the classes, or move their images up"
            )
        labels.append((_wnid(os.path.join(*parts)) if wnids else None) or parts[0])
    return _labeled(name, [image for _, image in found], labels, empty=empty)


def _wnid(path: str) -> str | None:
    """The WordNet id in a path: in its innermost folder that has one, else in the file's name."""
    *folders, file = Path(path).parts
    found = (WNID.search(part) for part in (*reversed(folders), file))
    return next((match.group() for match in found if match), None)


def _listed(names: Iterable[str]) -> str:
    return " and ".join(map(repr, names))
