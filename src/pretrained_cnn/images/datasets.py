"""Data sets of TensorFlow, Keras, PyTorch and Hugging Face, known by what they offer: none of these is imported."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrained_cnn.errors import DataError
from pretrained_cnn.images.inputs import is_content
from pretrained_cnn.images.tables import LABELS, PATHS, Columns, Table, as_label, named_columns

__all__ = ["Dataset", "as_dataset", "label_values", "read_pairs"]

log = logging.getLogger(__name__)


class Dataset(NamedTuple):
    """Images with their labels, all of them in memory or by path."""

    name: str
    """The name in error messages."""
    images: list[Any]
    labels: list[str | int]
    classes: tuple[str, ...] | None = None
    """The names of the classes in the order of the data set, if it has names."""
    weights: list[float] | None = None


def as_dataset(source: Any, columns: Columns = Columns()) -> Dataset | None:
    """Read a data set; None for what is none. Raises DataError for one that cannot be read.

    - ``tf.data.Dataset`` of ``(image, label)`` or ``(image, label, weight)``, in batches or not, and the iterators and
      sequences of Keras
    - a data set of PyTorch, with ``len(data)`` and ``data[i]`` a pair of an image and a label: ``ImageFolder``, the
      data sets of torchvision, ``Subset`` and ``ConcatDataset`` of these, and those of your own
    - ``datasets.Dataset`` of Hugging Face

    Images are taken as they are before any transform wherever the data set has them so, since the library does all
    that its networks need; ``target_transform`` is applied.
    """
    if hasattr(source, "dataset") and hasattr(source, "indices"):
        return _subset(source)
    if hasattr(source, "datasets") and hasattr(source, "cumulative_sizes"):
        return _concatenation(source)
    if hasattr(source, "features") and hasattr(source, "column_names"):
        return _of_hugging_face(source, columns)
    if hasattr(source, "filepaths") and hasattr(source, "class_indices"):
        return _of_files(source, list(source.filepaths), source.classes, _sorted_names(source.class_indices))
    if (samples := _samples(source)) is not None:
        return _of_files(source, [path for path, _ in samples], [label for _, label in samples], source.classes)
    if _has_arrays(source):
        return _of_files(source, list(_array(source.data)), source.targets, getattr(source, "classes", None))
    if hasattr(source, "as_numpy_iterator") and hasattr(source, "element_spec"):
        return _of_tensorflow(source)
    indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__") and not hasattr(source, "keys")
    if indexed and not isinstance(source, Sequence):
        return read_pairs(_name(source), (source[i] for i in range(len(source))), weighted=_is_of_keras(source))
    return None


def read_pairs(name: str, pairs: Iterable[Any], *, weighted: bool = False) -> Dataset:
    """Pairs of an image and a label, or of a batch of images and one of labels; ``weighted``, with weights as a third.

    A pair may also be a row: a mapping with an image and a label. Raises DataError for what is no pair, and names its
    number.
    """
    images: list[Any] = []
    labels: list[str | int] = []
    weights: list[float] = []
    for number, given in enumerate(pairs):
        what = f"{name}: number {number}"
        pair = _of_row(given, what) if isinstance(given, Mapping) else given
        if not (isinstance(pair, tuple | list) and len(pair) in ((2, 3) if weighted else (2,))):
            raise DataError(
                f"{what} is not a pair of an image and a label, but {_described(pair)}; give pairs, or (X, y)"
            )
        image, label, *weight = pair
        if _is_batch(image, label):
            batch, found = list(image), label_values(label, what)
            if len(batch) != len(found):
                raise DataError(f"{what} is a batch of {len(batch)} images with {len(found)} labels")
            images += map(_image, batch)
            labels += found
            weights += np.ravel(weight[0]).astype(float).tolist() if weight else []
        else:
            images.append(_image(image))
            labels += [as_label(label, what)] if _is_scalar(label) else label_values([label], what)
            weights += [float(weight[0])] if weight else []
    return Dataset(name, images, labels, weights=weights if weights and len(weights) == len(images) else None)


def label_values(values: Any, what: str) -> list[str | int]:
    """Labels of several images: a list, or an array or tensor ``(n,)``, ``(n, 1)`` or, one-hot, ``(n, C)``.

    The columns of a one-hot frame are its classes, if they have names. Raises DataError, which names ``what``, for
    anything else.

    >>> label_values(np.array([[0, 1], [1, 0]]), "y"), label_values(np.array([[3], [4]]), "y")
    ([1, 0], [3, 4])
    """
    if not isinstance(values, list | tuple) or (values and not all(map(_is_scalar, values))):
        array = _array(values)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 2:
            array = _places(array, what)
            if (names := named_columns(values)) is not None:
                return [as_label(names[place], what) for place in array.tolist()]
        if array.ndim != 1:
            raise DataError(
                f"{what}: the labels have the shape {array.shape}; expected (n,), (n, 1), or one-hot (n, C)"
            )
        values = array.tolist()
    return [as_label(value, f"{what}: label {i}") for i, value in enumerate(values)]


def _places(array: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    """The place of the 1 in each row. Raises DataError for rows that are not one-hot."""
    if array.dtype.kind not in "bifu":
        raise DataError(f"{what}: the labels have the shape {array.shape}; expected one label for each image")
    wrong = np.flatnonzero(~(((array == 0) | (array == 1)).all(axis=1) & (array.sum(axis=1) == 1)))
    if wrong.size:
        raise DataError(
            f"{what}: the labels have the shape {array.shape}, and row {wrong[0]} is not one-hot; expected one 1 in "
            "each row, or one label for each image"
        )
    places: np.ndarray[Any, Any] = array.argmax(axis=1)
    return places


def _sorted_names(indices: Mapping[str, int]) -> list[str]:
    """The names of classes in the order of their indices."""
    return sorted(indices, key=lambda name: indices[name])


def _of_files(source: Any, images: list[Any], targets: Any, classes: Any) -> Dataset:
    """Images before any transform, with labels that are places in ``classes``, unless a transform changes them."""
    name = _name(source)
    labels = label_values(targets, name)
    if any(getattr(source, each, None) is not None for each in ("transform", "transforms")):
        log.info("%s: its images are taken as they are; its transform is not applied", name)
    if (change := getattr(source, "target_transform", None)) is not None:
        return Dataset(name, images, label_values([change(label) for label in labels], name))
    return _named(Dataset(name, images, labels), classes)


def _named(data: Dataset, classes: Any) -> Dataset:
    """The same with names for labels that are places; as it is where the names are not one for each class."""
    names = () if classes is None else tuple(classes)
    if not names or not all(isinstance(each, str) for each in names) or len(set(names)) < len(names):
        return data
    for i, label in enumerate(data.labels):
        if not (isinstance(label, int) and 0 <= label < len(names)):
            hint = ", which stands for no label; leave such images out" if label == -1 else ""
            raise DataError(f"{data.name}: number {i} has the label {label!r} of {len(names)} classes{hint}")
    labels: list[str | int] = [names[label] for label in data.labels if isinstance(label, int)]
    return data._replace(labels=labels, classes=names)


def _subset(source: Any) -> Dataset | None:
    base = as_dataset(source.dataset)
    if base is None:
        return None
    chosen = [int(i) for i in source.indices]
    weights = None if base.weights is None else [base.weights[i] for i in chosen]
    return Dataset(base.name, [base.images[i] for i in chosen], [base.labels[i] for i in chosen], base.classes, weights)


def _concatenation(source: Any) -> Dataset | None:
    parts = [as_dataset(part) for part in source.datasets]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or not found:
        return None
    orders = [part.classes for part in found if part.classes is not None]
    if orders and len(orders) < len(found):
        raise DataError(f"{_name(source)}: some of its parts name their classes, and others number them")
    classes = tuple(dict.fromkeys(name for order in orders for name in order)) or None
    images = [image for part in found for image in part.images]
    return Dataset(_name(source), images, [label for part in found for label in part.labels], classes)


def _of_hugging_face(source: Any, columns: Columns) -> Dataset:
    """A data set of Hugging Face; of its images the encoded bytes, or the paths."""
    name, features = _name(source), source.features
    table = Table(name, dict.fromkeys(source.column_names, ()), ())
    images = [each for each in source.column_names if type(features[each]).__name__ == "Image"]
    labels = [each for each in source.column_names if hasattr(features[each], "names")]
    image = columns.path or (images[0] if len(images) == 1 else table.find(None, PATHS, "path_column"))
    label = columns.label or (labels[0] if len(labels) == 1 else table.find(None, LABELS, "label_column"))
    for each, argument in ((image, "path_column"), (label, "label_column")):
        table.find(each, (), argument)
    found: list[Any] = []
    targets: list[Any] = []
    for batch in source.with_format("arrow").iter(batch_size=256):
        found += map(_of_record, batch[image].to_pylist())
        targets += batch[label].to_pylist()
    return _named(Dataset(name, found, label_values(targets, name)), getattr(features[label], "names", None))


def _of_record(record: Any) -> Any:
    """What a record of bytes and a path stands for, with its name."""
    if not isinstance(record, Mapping):
        return record
    data, path = record.get("bytes"), record.get("path")
    return path if data is None else data if path is None else (path, data)


def _of_tensorflow(source: Any) -> Dataset:
    name = f"<{type(source).__name__}>"
    if hasattr(source, "cardinality") and int(source.cardinality()) == -1:
        raise DataError(f"{name}: it is endless, as repeat() makes it; give it without repeat(), or as take(n)")
    return _named(read_pairs(name, source.as_numpy_iterator(), weighted=True), getattr(source, "class_names", None))


def _samples(source: Any) -> list[tuple[Any, Any]] | None:
    """The paths and labels of an ``ImageFolder``."""
    samples = getattr(source, "samples", None)
    if not isinstance(samples, list) or not hasattr(source, "classes"):
        return None
    return samples if all(isinstance(pair, tuple) and len(pair) == 2 for pair in samples) else None


def _has_arrays(source: Any) -> bool:
    """Whether ``data`` are images and ``targets`` their labels, as in torchvision's MNIST and CIFAR10."""
    data, targets = getattr(source, "data", None), getattr(source, "targets", None)
    shape: tuple[int, ...] = getattr(data, "shape", ())
    if targets is None or not hasattr(targets, "__len__") or len(shape) not in (3, 4) or len(targets) != shape[0]:
        return False
    return len(shape) == 3 or shape[-1] in (1, 3, 4)


def _is_of_keras(source: Any) -> bool:
    return any(kind.__module__.partition(".")[0] in ("keras", "tf_keras") for kind in type(source).__mro__)


def _of_row(row: Mapping[Any, Any], what: str) -> tuple[Any, Any]:
    table = Table(what, {name: () for name in row if isinstance(name, str)}, ())
    return row[table.find(None, PATHS, "path_column")], row[table.find(None, LABELS, "label_column")]


def _is_batch(image: Any, label: Any) -> bool:
    """Whether these are several images, and a label for each."""
    shape: tuple[int, ...] | None = None if isinstance(image, memoryview) else getattr(image, "shape", None)
    if shape is None:
        return isinstance(image, list | tuple) and not _is_scalar(label)
    if len(shape) == 3:  # gray images, or one image with a label that is one-hot
        return not _is_scalar(label) and shape[-1] not in (1, 3, 4) and shape[0] == len(label)
    return len(shape) in (1, 4)


def _is_scalar(label: Any) -> bool:
    return not isinstance(label, list | tuple) and getattr(label, "shape", ()) in ((), (1,))


def _image(image: Any) -> Any:
    """An image as other sources have it; text in TensorFlow is bytes, those of a file or of its path."""
    if isinstance(image, np.ndarray) and image.ndim == 0:
        image = image[()]
    if isinstance(image, bytes) and not is_content(image):
        return os.fsdecode(image)
    return image


def _array(values: Any) -> np.ndarray[Any, Any]:
    """An array or a tensor as NumPy's."""
    if hasattr(values, "detach"):  # PyTorch's, which may be on another device
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except ValueError:  # rows of different lengths
        return np.asarray(values, object)


def _described(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    shape = getattr(value, "shape", None)
    return f"of type {type(value).__name__}" + (f" and shape {tuple(shape)}" if shape else "")


def _name(source: Any) -> str:
    return f"<{type(source).__name__}>"
