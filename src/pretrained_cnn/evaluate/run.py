"""Labeled images through an engine, to an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._types import LabeledImages
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import DataError, InvalidArgumentError
from pretrained_cnn.evaluate.evaluation import Evaluation
from pretrained_cnn.evaluate.multilabel import MultiLabelEvaluation
from pretrained_cnn.evaluate.targets import columns_of, indicators, label_sets
from pretrained_cnn.images.labeled import WNID, labeled, labeled_sets
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.labels import Label, class_indices
from pretrained_cnn.scores import one_class_only
from pretrained_cnn.spec import ModelSpec

__all__ = ["Described", "check_labeled", "evaluate", "read_labeled"]


class Described(Protocol):
    """What is known of a classifier before its network is loaded: an `Engine`, or a bundle that is not opened yet."""

    @property
    def spec(self) -> ModelSpec:
        """What its answers mean."""

    @property
    def image_policy(self) -> ImagePolicy:
        """How its images are read."""


def evaluate(
    engine: Engine,
    source: LabeledImages,
    labels: Any = None,
    columns: Columns = Columns(),
    *,
    batch_size: int | None = None,
) -> Evaluation | MultiLabelEvaluation:
    """Run labeled images through an engine; the arguments are those of `Classifier.evaluate`."""
    spec = engine.spec
    images, targets = _read(engine, source, labels, columns)
    scores, names, errors = engine.scored(images, batch_size=batch_size)
    good = [error is None for error in errors]
    sources, failed = list(compress(names, good)), list(filter(None, errors))
    shown = dict(enumerate(map(_shown, compress(images, good))))
    if spec.multi_label:
        return MultiLabelEvaluation(spec.labels, targets[good], scores, sources, failed, spec.thresholds, shown)
    return Evaluation(spec.labels, targets[good], scores, sources, failed, shown)


def check_labeled(
    classifier: Described, source: LabeledImages, labels: Any = None, columns: Columns = Columns()
) -> None:
    """Raise DataError for images and labels that the classifier cannot be judged by; no network is needed for that.

    The arguments are those of `evaluate`. An iterator would be used up: give what can be gone through again.
    """
    _read(classifier, source, labels, columns)


def _read(
    classifier: Described, source: LabeledImages, labels: Any, columns: Columns
) -> tuple[list[Any], NDArray[Any]]:
    """The images, not yet decoded, and the column of each one's class, or which labels each one has."""
    if classifier.spec.multi_label:
        return _read_label_sets(classifier, source, labels, columns)
    return read_labeled(classifier, source, labels, columns)


def _shown(image: Any) -> Any:
    """What shows an image again; None for an open file, which is read only once."""
    image = image[1] if isinstance(image, tuple) else image
    return None if hasattr(image, "read") else image


def read_labeled(
    classifier: Described, source: LabeledImages, labels: Any = None, columns: Columns = Columns()
) -> tuple[list[Any], NDArray[np.intp]]:
    """The images of a labeled source, not yet decoded, and the column of each one's class.

    A whole number is the class of that name, else the one with that index. Raises DataError for labels that are not the
    classifier's.
    """
    if classifier.spec.multi_label:
        one_class_only("one label an image")
    table = _labels_of(classifier)
    if labels is not None:
        targets = columns_of(labels, table)
        return _images(classifier, source, len(targets), "labels"), targets
    wnids = all(WNID.fullmatch(label.id) for label in table)
    found = labeled(source, columns, wnids=wnids, policy=classifier.image_policy)
    if found.numbers is not None and not {label.id for label in table}.issuperset(found.labels):
        return found.images, columns_of(found.numbers, table)
    _refuse_other_classes(found.labels, table, found.name)
    return found.images, np.array(class_indices(found.labels, table, found.name), np.intp)


def _refuse_other_classes(labels: Sequence[str], table: Sequence[Label], source: str) -> None:
    """Raise DataError if several classes are given and none is the classifier's: the wrong one was taken."""
    given = list(dict.fromkeys(labels))
    if len(given) > 1 and {text for label in table for text in (label.id, label.name)}.isdisjoint(given):
        raise DataError(
            f"{source}: none of its {len(given)} classes, such as {given[0]!r}, is one of the {len(table)} classes of "
            "the classifier; give a classifier that was trained on them"
        )


def _read_label_sets(
    classifier: Described, source: LabeledImages, labels: Any, columns: Columns
) -> tuple[list[Any], NDArray[np.bool_]]:
    """The same where an image has any number of labels: ``(N, C)``, which labels each one has."""
    table = _labels_of(classifier)
    if labels is not None:
        targets = label_sets(labels, table)
        return _images(classifier, source, len(targets), "sets of labels"), targets
    found = labeled_sets(source, columns, policy=classifier.image_policy)
    return found.images, indicators(found.labels, table, found.name)


def _labels_of(classifier: Described) -> Sequence[Label]:
    spec = classifier.spec
    if not spec.labels:
        raise InvalidArgumentError(f"{spec.name} has a decode function in place of labels; give labels=[...]")
    return spec.labels


def _images(classifier: Described, source: Any, count: int, what: str) -> list[Any]:
    """The images of a source that has no labels of its own. Raises DataError unless there are ``count``."""
    images = [(item.name, item.image) for item in iter_items(source, classifier.image_policy)]
    if len(images) != count:
        raise DataError(f"{count} {what} do not fit {len(images)} images")
    return images
