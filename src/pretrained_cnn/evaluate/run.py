"""Labeled images through an engine, to an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._types import LabeledImages
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import DataError, InvalidArgumentError
from pretrained_cnn.evaluate.evaluation import Evaluation
from pretrained_cnn.evaluate.multilabel import MultiLabelEvaluation
from pretrained_cnn.evaluate.targets import columns_of, indicators, label_sets
from pretrained_cnn.images.labeled import WNID, labeled, labeled_sets
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.labels import Label, class_indices
from pretrained_cnn.scores import one_class_only

__all__ = ["evaluate", "read_labeled"]


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
    read: Any = _read_label_sets if spec.multi_label else read_labeled
    images, targets = read(engine, source, labels, columns)
    scores, names, errors = engine.scored(images, batch_size=batch_size)
    good = [error is None for error in errors]
    sources, failed = list(compress(names, good)), list(filter(None, errors))
    shown = dict(enumerate(map(_shown, compress(images, good))))
    if spec.multi_label:
        return MultiLabelEvaluation(spec.labels, targets[good], scores, sources, failed, spec.thresholds, shown)
    return Evaluation(spec.labels, targets[good], scores, sources, failed, shown)


def _shown(image: Any) -> Any:
    """What shows an image again; None for an open file, which is read only once."""
    image = image[1] if isinstance(image, tuple) else image
    return None if hasattr(image, "read") else image


def read_labeled(
    engine: Engine, source: LabeledImages, labels: Any = None, columns: Columns = Columns()
) -> tuple[list[Any], NDArray[np.intp]]:
    """The images of a labeled source, not yet decoded, and the column of each one's class.

    A whole number is the class of that name, else the one with that index. Raises DataError for labels that are not the
    engine's.
    """
    if engine.spec.multi_label:
        one_class_only("one label an image")
    table = _labels_of(engine)
    if labels is not None:
        targets = columns_of(labels, table)
        return _images(engine, source, len(targets), "labels"), targets
    wnids = all(WNID.fullmatch(label.id) for label in table)
    found = labeled(source, columns, wnids=wnids, policy=engine.image_policy)
    if found.numbers is not None and not {label.id for label in table}.issuperset(found.labels):
        return found.images, columns_of(found.numbers, table)
    return found.images, np.array(class_indices(found.labels, table, found.name), np.intp)


def _read_label_sets(
    engine: Engine, source: LabeledImages, labels: Any, columns: Columns
) -> tuple[list[Any], NDArray[np.bool_]]:
    """The same where an image has any number of labels: ``(N, C)``, which labels each one has."""
    table = _labels_of(engine)
    if labels is not None:
        targets = label_sets(labels, table)
        return _images(engine, source, len(targets), "sets of labels"), targets
    found = labeled_sets(source, columns, policy=engine.image_policy)
    return found.images, indicators(found.labels, table, found.name)


def _labels_of(engine: Engine) -> Sequence[Label]:
    if not engine.spec.labels:
        raise InvalidArgumentError(f"{engine.spec.name} has a decode function in place of labels; give labels=[...]")
    return engine.spec.labels


def _images(engine: Engine, source: Any, count: int, what: str) -> list[Any]:
    """The images of a source that has no labels of its own. Raises DataError unless there are ``count``."""
    images = [(item.name, item.image) for item in iter_items(source, engine.image_policy)]
    if len(images) != count:
        raise DataError(f"{count} {what} do not fit {len(images)} images")
    return images
