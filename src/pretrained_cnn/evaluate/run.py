"""Labeled images through an engine, to an `Evaluation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._types import LabeledImages
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import DataError, InvalidArgumentError
from pretrained_cnn.evaluate.evaluation import Evaluation
from pretrained_cnn.images.labeled import WNID, labeled
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.labels import class_indices
from pretrained_cnn.scores import one_class_only

__all__ = ["evaluate", "read_labeled"]


def evaluate(
    engine: Engine, source: LabeledImages, labels: Sequence[str] | None = None, *, batch_size: int | None = None
) -> Evaluation:
    """Run labeled images through an engine; the arguments are those of `Classifier.evaluate`."""
    images, targets = read_labeled(engine, source, labels)
    scores, names, errors = engine.scored(images, batch_size=batch_size)
    return Evaluation(
        engine.spec.labels,
        targets[[error is None for error in errors]],
        scores,
        [name for name, error in zip(names, errors, strict=True) if error is None],
        [error for error in errors if error is not None],
    )


def read_labeled(
    engine: Engine, source: LabeledImages, labels: Sequence[str] | None = None
) -> tuple[list[Any], NDArray[np.intp]]:
    """The images of a labeled source, not yet decoded, and the column of each one's class.

    Raises DataError for labels that are not the engine's.
    """
    table = engine.spec.labels
    if engine.spec.multi_label:
        one_class_only("one label an image")
    if not table:
        raise InvalidArgumentError(f"{engine.spec.name} has a decode function in place of labels; give labels=[...]")
    if labels is None:
        name, images, labels, _ = labeled(source, wnids=all(WNID.fullmatch(label.id) for label in table))
    else:
        name, images = "labels", [(item.name, item.image) for item in iter_items(source, engine.image_policy)]
        if len(images) != len(labels):
            raise DataError(f"{len(labels)} labels do not fit {len(images)} images")
    return images, np.array(class_indices(labels, table, name), np.intp)
