"""From a network and labeled images to a `Calibration`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretrained_cnn._process import warn
from pretrained_cnn._progress import report
from pretrained_cnn._types import LabeledImages
from pretrained_cnn.bundle.store import DIGEST_BYTES, Bundle
from pretrained_cnn.engine import Engine, check_speed
from pretrained_cnn.errors import BundleError, DataError, ImageError, InvalidArgumentError
from pretrained_cnn.evaluate import read_labeled
from pretrained_cnn.images.sources import Item, iter_items
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.spec import Output
from pretrained_cnn.transfer.data import find_digests
from pretrained_cnn.transfer.report import Trained
from pretrained_cnn.trust.calibration import Calibration, check_count

__all__ = ["OUTPUTS", "Calibrated", "calibrate", "calibration_of"]

OUTPUTS: tuple[Output, ...] = ("scores", "embedding")
"""What a calibrated network gives, in one pass."""


@dataclass(frozen=True)
class Calibrated:
    """A classifier's network, or its training, and a calibration for it."""

    network: Engine | Trained
    calibration: Calibration


def calibrate(
    engine: Engine,
    source: LabeledImages,
    labels: Any = None,
    columns: Columns = Columns(),
    *,
    coverage: float = 0.95,
    batch_size: int | None = None,
    trained_on: Collection[bytes] = (),
) -> Calibration:
    """Calibrate a network; the arguments are those of `Classifier.calibrate`.

    ``trained_on`` are digests, at least `DIGEST_BYTES` each, of images that must not take part.
    """
    if engine.spec.multi_label:
        raise InvalidArgumentError(
            "calibrate needs classes that exclude each other, and this classifier has multi_label=True; "
            "a threshold for each label decides there, see ModelSpec.thresholds"
        )
    speed = check_speed(batch_size, None, None)
    images, targets = read_labeled(engine, source, labels, columns)
    items = list(iter_items(images, engine.image_policy))
    check_count(len(items), coverage)
    _refuse_seen(engine, items, trained_on)
    found = [np.empty((len(items), width), np.float32) for width in engine.open(OUTPUTS).widths]
    good: list[bool] = []
    count = 0
    failed: list[ImageError] = []
    report("calibrate", 0, len(items))
    for rows in engine.rows(engine.batches_of(items, **speed), OUTPUTS):
        good += [error is None for error in rows.errors]
        for every, rows_of in zip(found, rows.outputs, strict=True):
            every[count : count + len(rows_of)] = rows_of
        count += len(rows.outputs[0])
        failed += filter(None, rows.errors)
        report("calibrate", len(good), len(items))
    if failed:
        warn(f"images that cannot be read are left out ({len(failed)}), such as {failed[0]}")
    scores, embeddings = (every[:count] for every in found)
    targets = targets[good]
    calibration = Calibration.fit(scores, embeddings, targets, coverage)
    missing = [label.id for i, label in enumerate(engine.spec.labels) if i not in set(targets.tolist())]
    if missing:
        shown = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5:,} more" if len(missing) > 5 else "")
        warn(
            f"the calibration images have none of {shown}: images of classes that are missing there will often be "
            "called unknown; give images of each class"
        )
    return calibration


def calibration_of(bundle: Bundle | None) -> Calibration | None:
    """The calibration that a bundle carries; None without one. Raises BundleError for one that does not fit."""
    arrays = None if bundle is None else bundle.calibration()
    if bundle is None or arrays is None:
        return None
    try:
        calibration = Calibration.from_arrays(arrays)
    except BundleError as error:
        raise BundleError(f"{bundle.path}: {error}") from None
    if "embedding" in bundle.outputs and bundle.width("embedding") != calibration.width:
        raise BundleError(
            f"{bundle.path}: its calibration is for embeddings of {calibration.width} numbers, and its network gives "
            f"{bundle.width('embedding')}; calibrate the bundle again"
        )
    return calibration


def _refuse_seen(engine: Engine, items: Sequence[Item], trained_on: Collection[bytes]) -> None:
    """Raise DataError if the classifier was trained on one of the images."""
    if not trained_on:
        return
    known = {digest[:DIGEST_BYTES] for digest in trained_on}
    digests = find_digests(items, engine.image_policy)
    seen = [
        item.name
        for item, digest in zip(items, digests, strict=True)
        if digest is not None and digest[:DIGEST_BYTES] in known
    ]
    if seen:
        raise DataError(
            f"the classifier was trained on {len(seen):,} of these {len(items):,} images, such as {seen[0]}; calibrate "
            "with images that were neither trained on nor used to choose settings: the promise holds for no other"
        )
