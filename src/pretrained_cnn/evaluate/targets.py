"""From the labels that a user passes beside images to columns of the scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import DataError
from pretrained_cnn.images.tables import as_label_set, indicated, named_columns
from pretrained_cnn.labels import Label, class_indices

__all__ = ["columns_of", "indicators", "label_sets"]


def columns_of(labels: Any, table: Sequence[Label]) -> NDArray[np.intp]:
    """The column of each label, ``(N,)``: of a class's id, its name, or the column itself.

    ``labels`` is a list, a generator, an array or a tensor of shape ``(N,)`` or ``(N, 1)``, or one-hot ``(N, C)``; or a
    column of a pandas frame. Raises DataError, which names the label, for what is no class.

    >>> columns_of(["dog", 0], [Label("cat", "cat"), Label("dog", "dog")])
    array([1, 0])
    """
    values = _values(labels, len(table))
    names = [value for value in values if isinstance(value, str)]
    by_name = iter(class_indices(names, table, "labels"))
    columns = {name: column for column, label in enumerate(table) for name in reversed(label)}
    found = [
        next(by_name) if isinstance(value, str) else _column(value, i, columns, table) for i, value in enumerate(values)
    ]
    return np.array(found, np.intp)


def label_sets(labels: Any, table: Sequence[Label]) -> NDArray[np.bool_]:
    """Which labels each image has, ``(N, C)``: of collections of ids or names, or of an array of 0 and 1 ``(N, C)``.

    Raises DataError, which names the labels, for anything else.
    """
    if hasattr(labels, "shape"):
        array = np.asarray(labels)
        if array.ndim == 2 and named_columns(labels) is not None:
            return indicators(indicated(labels, "labels")[1], table, "labels")
        if array.ndim == 2 and array.dtype.kind in "biuf":
            if array.shape[1] != len(table) or not np.isin(array, (0, 1)).all():
                raise DataError(f"labels of shape {array.shape} are not 0 or 1 for each of {len(table)} labels")
            return array.astype(bool)
    sets = [as_label_set(value, f"labels: number {i}") for i, value in enumerate(_iterable(labels))]
    return indicators(sets, table, "labels")


def indicators(sets: Sequence[Iterable[str]], table: Sequence[Label], source: str) -> NDArray[np.bool_]:
    """Which labels are in each set, ``(N, C)``. Raises DataError, which names ``source``, for one that is no class."""
    targets = np.zeros((len(sets), len(table)), bool)
    for row, found in zip(targets, sets, strict=True):
        row[class_indices(found, table, source)] = True
    return targets


def _values(labels: Any, classes: int) -> list[Any]:
    """The labels one by one, as plain objects of Python."""
    if not hasattr(labels, "shape"):
        labels = list(_iterable(labels))
        if not any(isinstance(value, list | tuple) or getattr(value, "shape", ()) for value in labels):
            return [_plain(value) for value in labels]
    try:
        array = np.asarray(labels)
    except ValueError:
        raise DataError("labels: they are collections of different lengths; give one label for each image") from None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and (names := named_columns(labels)) is not None and _is_one_hot(array):
        return [names[place] for place in array.argmax(axis=1).tolist()]
    elif array.ndim == 2 and array.shape[1] == classes and _is_one_hot(array):
        array = array.argmax(axis=1)
    if array.ndim != 1:
        raise DataError(
            f"labels of shape {array.shape} are neither one for each image, (N,) or (N, 1), nor one-hot (N, {classes})"
        )
    return [_plain(value) for value in array]


def _iterable(labels: Any) -> Iterable[Any]:
    if not isinstance(labels, Iterable) or isinstance(labels, str | bytes | Mapping | set | frozenset):
        raise DataError(
            f"labels={labels!r} is not a sequence of labels; give a list with one for each image, in their order"
        )
    return labels


def _plain(value: Any) -> Any:
    """A number or text of NumPy's, or a tensor of one number, as Python's own."""
    return np.asarray(value).item() if hasattr(value, "shape") else value


def _is_one_hot(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf" and bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())


def _column(value: Any, place: int, columns: Mapping[str, int], table: Sequence[Label]) -> int:
    """A whole number as a column. Raises DataError if it is no class, or may also be the name of another class."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        hint = "; decode it first: label.decode()" if isinstance(value, bytes) else ""
        raise DataError(
            f"labels: number {place} is {value!r}, which is neither the name of a class nor its index{hint}"
        )
    index = int(value)
    named = columns.get(str(index))
    if named is not None and named != index:
        raise DataError(
            f"labels: {index} is the name of class number {named} and not of number {index}; give names, such as "
            f"{str(index)!r}, in place of whole numbers"
        )
    if not 0 <= index < len(table):
        raise DataError(f"labels: {index} is not the index of a class; there are {len(table)}, from 0 on")
    return index
