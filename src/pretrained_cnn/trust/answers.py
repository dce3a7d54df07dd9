"""What two classifiers, or two files of results, say of the same labeled images."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from pretrained_cnn._process import warn
from pretrained_cnn._types import LabeledImages
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import DataError, ImageError, InvalidArgumentError, OutputError
from pretrained_cnn.evaluate import MultiLabelEvaluation, check_labeled, evaluate
from pretrained_cnn.images.labeled import WNID, labeled, labeled_sets
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.labels import Label, class_indices
from pretrained_cnn.results.file import by_image, noted_settings, status_of_row
from pretrained_cnn.results.formats import FORMATS, find_format
from pretrained_cnn.results.names import absolute, unescape
from pretrained_cnn.results.result import Status
from pretrained_cnn.results.rows import RESULTS, Row
from pretrained_cnn.results.settings import labels_setting

__all__ = ["Answers", "Competitor", "ask_both", "is_results_file"]

Key = tuple[str, int]
"""An image by its absolute name, and how many images of that name come before it."""

Competitor = Engine | Path
"""A network, or a file of results."""


class Answers(NamedTuple):
    """What both say of each image that both have named."""

    sources: list[str]
    truth: list[str]
    a: list[str]
    b: list[str]
    failed: list[ImageError]
    """The images that one of them could not read."""
    images: list[Any]
    """What shows each image again that exactly one of the two classifies correctly; None for all others."""


class _File(NamedTuple):
    """What a file of results holds."""

    rows: Mapping[str, Row]
    """The first row of each image, by the absolute name of the image."""
    classes: list[Label]
    """The classes in all rows, not only in the first row of each image."""
    labels: str | None
    """What its settings say of the labels of its classifier, as `labels_setting` does; None without settings."""
    multi_label: bool
    """Whether its classifier gives several labels to an image, as far as its settings say it."""


class _Answered(NamedTuple):
    """What one of the two says of each image."""

    sources: Mapping[Key, str]
    truth: Mapping[Key, str]
    given: Mapping[Key, str]
    failed: Mapping[Key, ImageError]


def ask_both(
    a: Competitor,
    b: Competitor,
    source: LabeledImages,
    labels: Any = None,
    columns: Columns = Columns(),
    *,
    batch_size: int | None = None,
) -> Answers:
    """What both say of the same images; the arguments are those of `Classifier.compare`.

    A class is named by its id, several labels by their ids between commas.
    """
    several = {each.spec.multi_label for each in (a, b) if isinstance(each, Engine)}
    files = {each: _read(each) for each in (a, b) if isinstance(each, Path)}
    if len(several) > 1:
        raise InvalidArgumentError(
            "one of the two has multi_label=True and the other has not; only classifiers of the same kind of classes "
            "can be compared"
        )
    if files and (True in several or any(file.multi_label for file in files.values())):
        raise InvalidArgumentError(
            "a file of results does not say which labels were given to an image that may have several; compare the "
            "classifiers instead"
        )
    if not isinstance(source, str | os.PathLike):  # it is gone through twice, and may give another order then
        source, columns = _kept(source, labels, columns, True in several)
    if labels is not None and not hasattr(labels, "shape"):
        labels = list(labels)
    for each in (a, b):  # both, before one of them runs
        if isinstance(each, Engine):
            check_labeled(each, source, labels, columns)
    tables = [each.spec.labels if isinstance(each, Engine) else files[each].classes for each in (a, b)]
    found = [
        _from_file(each, files[each], tables, source, labels, columns)
        if isinstance(each, Path)
        else _from_engine(each, source, labels, columns, batch_size)
        for each in (a, b)
    ]
    first, second = found
    both = [key for key in first.given if key in second.given]
    for key in both:
        if first.truth[key] != second.truth[key]:
            raise DataError(
                f"{first.sources[key]}: its class is {first.truth[key]!r} for A and {second.truth[key]!r} for B; give "
                "both classifiers the same ids for the same classes, and labels as ids in place of indices"
            )
    truth, given, others = ([each[key] for key in both] for each in (first.truth, first.given, second.given))
    differ = [(x == z) != (y == z) for x, y, z in zip(given, others, truth, strict=True)]
    images = _images(source, labels, columns, several=True in several) if any(differ) else {}
    return Answers(
        sources=[first.sources[key] for key in both],
        truth=truth,
        a=given,
        b=others,
        failed=list({**second.failed, **first.failed}.values()),
        images=[images.get(key) if shown else None for key, shown in zip(both, differ, strict=True)],
    )


def is_results_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a file of results, by its suffix."""
    return Path(path).suffix.lower() in FORMATS and not os.path.isdir(path)


def _kept(source: Any, labels: Any, columns: Columns, several: bool) -> tuple[Any, Columns]:
    """The same images and labels in memory, and the columns of the table that they still are."""
    if labels is not None:
        return (source if hasattr(source, "shape") else list(source)), columns
    if several:
        return (source if isinstance(source, Sequence) or hasattr(source, "shape") else list(source)), columns
    found = labeled(source, columns)
    return list(zip(found.images, found.labels if found.numbers is None else found.numbers, strict=True)), Columns()


def _images(source: Any, labels: Any, columns: Columns, *, several: bool) -> dict[Key, Any]:
    """The images of ``source``, as they were given."""
    if labels is None:
        source = labeled_sets(source, columns).images if several else labeled(source, columns, wnids=True).images
    items = list(iter_items(source))
    return dict(zip(_keys([item.name for item in items]), (item.image for item in items), strict=True))


def _from_engine(engine: Engine, source: Any, labels: Any, columns: Columns, batch_size: int | None) -> _Answered:
    found = evaluate(engine, source, labels, columns, batch_size=batch_size)
    ids = [label.id for label in found.labels]
    if isinstance(found, MultiLabelEvaluation):
        truth, given = _sets(found.targets, ids), _sets(found.given, ids)
    else:
        truth, given = ([ids[i] for i in column] for column in (found.targets, found.predicted))
    keys = list(_keys(found.sources))
    errors = dict(zip(_keys([error.source for error in found.failed]), found.failed, strict=True))
    sources, truths, answers = (dict(zip(keys, each, strict=True)) for each in (found.sources, truth, given))
    return _Answered(sources, truths, answers, errors)


def _sets(which: np.ndarray[Any, Any], ids: Sequence[str]) -> list[str]:
    return [",".join(ids[i] for i in np.flatnonzero(row).tolist()) for row in which]


def _from_file(
    path: Path, file: _File, tables: Sequence[Sequence[Label]], source: Any, labels: Any, columns: Columns
) -> _Answered:
    """The best class of each image of ``source``, as the rows of a file have it.

    ``tables`` are the labels of both competitors, as far as they are known.
    """
    known = list(dict.fromkeys(itertools.chain.from_iterable(tables)))
    wnids = bool(known) and all(WNID.fullmatch(label.id) for label in known)
    where, images, truth = _labeled(source, labels, columns, wnids=wnids)
    shared = Counter(label.name for label in known)
    ids = {label.name: label.id for label in known if shared[label.name] == 1} | {id_: id_ for id_, _ in known}
    # A name of several classes is refused.
    class_indices((label for label in dict.fromkeys(truth) if shared[label] > 1), known, where)
    _check_classes(path, file, tables, where, [ids.get(label, label) for label in dict.fromkeys(truth)])
    sources, truths, given, failed = {}, {}, {}, {}
    for key, name, label in zip(_keys(images), images, truth, strict=True):
        row = file.rows.get(key[0])
        if row is None:
            raise DataError(f"{path}: it has no row for {name}; classify all images of {where} into it")
        if status_of_row(row) == "failed" or row["id"] is None:
            failed[key] = ImageError(name, unescape(row["error"] or "no class was given to it"))
            continue
        sources[key], truths[key], given[key] = name, ids.get(label, label), unescape(row["id"])
    return _Answered(sources, truths, given, failed)


def _check_classes(
    path: Path, file: _File, tables: Sequence[Sequence[Label]], where: str, truth: Sequence[str]
) -> None:
    """Raise DataError for true classes that the classifier of a file does not know: all their images would be wrong.

    A file has the classes that were given to some image. If that may not be all of them, a missing one is warned of.
    """
    given = {label.id for label in file.classes}
    way_out = "compare files that were made with a classifier of these classes"
    missing = [label for label in truth if label not in given]
    if missing and len(missing) == len(truth):
        raise DataError(
            f"{path}: none of the classes of {where}, such as {truth[0]!r}, was given to any image there; {way_out}"
        )
    whole = next((table for table in tables if labels_setting(table) == file.labels), ())
    missing = [label for label in missing if label not in {label.id for label in whole}]
    if missing and whole:
        raise DataError(
            f"{path}: its classifier has {len(whole)} classes, and {missing[0]!r} of {where} is none of them; {way_out}"
        )
    if missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        warn(
            f"{path}: no image there was given {', '.join(map(repr, missing[:5]))}{more}; if its classifier does not "
            f"know these classes, {way_out}"
        )


def _labeled(source: Any, labels: Any, columns: Columns, *, wnids: bool) -> tuple[str, list[str], list[str]]:
    """What messages call the source, the names of its images, and their labels."""
    if labels is None:
        found = labeled(source, columns, wnids=wnids)
        return found.name, [item.name for item in iter_items(found.images)], found.labels
    names = [item.name for item in iter_items(source)]
    if len(names) != len(labels):
        raise DataError(f"{len(labels)} labels do not fit {len(names)} images")
    for i, label in enumerate(labels):
        if not isinstance(label, str):
            raise DataError(f"labels: number {i} is {label!r}; a file of results has no indices, so give ids or names")
    return "the images given", names, [str(label) for label in labels]


def _read(path: Path) -> _File:
    format_ = find_format(path, RESULTS)
    format_.require()
    if not path.is_file():
        raise DataError(f"{path} does not exist; write it with `pretrained-cnn classify` or write_results")
    folder, settings = _folder_of(path), noted_settings(path)
    rows: dict[str, Row] = {}
    classes: dict[Label, int | None] = {}
    try:
        for image in by_image(format_.read(path)):
            first, name = image[0], absolute(unescape(image[0]["source"]), folder)
            if status_of_row(first) not in get_args(Status):
                raise OutputError(f"{path}: the status of {first['source']} is {first['status']!r}, which is not known")
            if (before := rows.setdefault(name, first))["id"] != first["id"]:
                raise DataError(
                    f"{path}: {first['source']} has two answers, {before['id']!r} and {first['id']!r}; classify each "
                    "image into the file once"
                )
            classes |= {_label(row): row["index"] for row in image if row["id"] is not None}
    except OutputError as error:
        reason = str(error).rstrip(".")
        raise DataError(f"{reason}; write it again with `pretrained-cnn classify` or write_results") from None
    in_order = sorted(classes, key=lambda label: classes[label] or 0)
    return _File(rows, in_order, settings.get("labels"), bool(settings.get("multi_label")))


def _label(row: Row) -> Label:
    return Label(unescape(row["id"]), unescape(row["label"]))


def _folder_of(path: Path) -> str:
    """The folder that the names in a file are relative to: where its run began, else the working directory."""
    try:
        beside = path.with_name(f"{path.name}.settings.json")
        return str(json.loads(beside.read_bytes())["run"]["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return os.getcwd()


def _keys(names: Sequence[str]) -> Iterator[Key]:
    folder = os.getcwd()
    met: Counter[str] = Counter()
    for name in names:
        name = absolute(name, folder)
        yield name, met[name]
        met[name] += 1
