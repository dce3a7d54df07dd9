"""How long backbones take on this machine, and which of them are worth their time: `measure` and `frontier`."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pretrained_cnn.classifier import Classifier
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.registry import get_spec
from pretrained_cnn.spec import ModelSpec

__all__ = ["NAMES", "Timing", "frontier", "measure"]

log = logging.getLogger(__name__)

NAMES = (
    "MobileNetV3Small",
    "MobileNetV2",
    "EfficientNetLite0",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "NASNetMobile",
    "DenseNet121",
    "ResNet50",
    "ConvNeXtTiny",
    "Xception",
)
"""The backbones that the command line measures if none is named: small ones, for all 41 take long."""

WARM_UP = 3
"""Calls that do not count: the first ones build, convert and compile, and fill caches."""
PAUSE = 0.05
"""Seconds until the threads of the classifier before no longer spin."""


@dataclass(frozen=True)
class Timing:
    """How long a backbone took on a runtime, and what else its choice depends on.

    >>> Timing("MobileNetV2", "keras", (224, 224), 3_538_984, 71.3, 22.0, (21.5, 22.7), 90.0).top1
    71.3
    """

    name: str
    """The backbone's."""
    runtime: str
    """The runtime's."""
    input_size: tuple[int, int]
    """``(height, width)`` in pixels: the size for which the accuracy was published, where that is known."""
    parameters: int | None
    """Number of weights."""
    top1: float | None
    """Percent on ImageNet's validation set, as published; None if nothing was. It is never measured here."""
    milliseconds: float
    """From one image to its labels: the median."""
    spread: tuple[float, float]
    """The first and the third quartile of the same."""
    per_second: float
    """How many images are classified a second, in batches: by the median."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dataclasses.asdict(self)


def measure(
    models: Iterable[str | ModelSpec] = NAMES,
    runtimes: Sequence[str] = ("keras",),
    *,
    weights: str | None = None,
    batch_size: int = 16,
    rounds: int = 15,
    image: Any = None,
) -> list[Timing]:
    """Measure how long backbones take to classify an image on this machine, alone and in batches.

    Args:
        models: Names, or specs, as `pretrained_cnn.Classifier` takes them.
        runtimes: Names that `pretrained_cnn.list_runtimes` gives; each backbone is measured on each.
        weights: None for random ones, with which a network takes as long as with others, and which need no download;
            or ``"imagenet"``.
        batch_size: How many images a batch has.
        rounds: How often each is measured. In a round all take turns, so that whatever else the machine does meets all.
        image: What is classified, as `pretrained_cnn.Classifier.predict` takes it: a path is read and decoded each
            time. By default pixels in memory, of the network's own size.

    A backbone is built for the input size with which its published accuracy was measured, so that time and accuracy
    belong together: ResNet50V2 for 299. All of them are in memory at the same time. Rows come in the order of the
    models, and of the runtimes for each.

    Raises InvalidArgumentError for arguments that cannot be right, and whatever `pretrained_cnn.Classifier` raises.

    >>> (row,) = measure(["EfficientNetLite0"], rounds=2, batch_size=2)
    >>> row.top1, row.milliseconds > 0, row.per_second > 0
    (75.1, True, True)
    """
    for name, value in (("batch_size", batch_size), ("rounds", rounds)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidArgumentError(f"{name}={value!r} is not a whole number of at least 1")
    specs = [_as_published(get_spec(model) if isinstance(model, str) else model) for model in models]
    sides = [_Side(Classifier(spec, weights=weights, runtime=name), image) for spec in specs for name in runtimes]
    for number, side in enumerate(sides, 1):
        log.info("%d of %d: building %s for %s", number, len(sides), side.clf.spec.name, side.clf.runtime)
        for _ in range(WARM_UP):
            side.one()
            side.batch(batch_size)
    for number in range(1, rounds + 1):
        log.info("round %d of %d", number, rounds)
        for side in sides:
            side.alone.append(_seconds(side.one))
            side.together.append(_seconds(partial(side.batch, batch_size)) / batch_size)
    return [side.timing() for side in sides]


def frontier(rows: Iterable[Timing]) -> list[Timing]:
    """The rows that no other of the same runtime beats, the quickest first.

    A row is beaten by one that is as quick and as accurate, and better in one of the two. Rows without a published
    accuracy are left out.

    >>> row = Timing("A", "keras", (224, 224), None, 71.0, 20.0, (20.0, 20.0), 80.0)
    >>> slower = dataclasses.replace(row, name="B", milliseconds=30.0)
    >>> better = dataclasses.replace(row, name="C", milliseconds=40.0, top1=75.0)
    >>> [row.name for row in frontier([better, slower, row])]
    ['A', 'C']
    """
    known = [(row.runtime, row.milliseconds, -row.top1, row) for row in rows if row.top1 is not None]
    best = [
        row
        for runtime, time_, error, row in known
        if not any(
            other == runtime
            and other_time <= time_
            and other_error <= error
            and (other_time, other_error) != (time_, error)
            for other, other_time, other_error, _ in known
        )
    ]
    return sorted(best, key=lambda row: row.milliseconds)


class _Side:
    """One classifier, what it is given, and how long it took, in seconds an image."""

    def __init__(self, clf: Classifier, image: Any) -> None:
        self.clf = clf
        self.image = np.full((*clf.spec.input_size, 3), 128, np.uint8) if image is None else image
        self.alone: list[float] = []
        self.together: list[float] = []

    def one(self) -> None:
        self.clf.predict(self.image)

    def batch(self, size: int) -> None:
        self.clf.predict_batch([self.image] * size, batch_size=size)

    def timing(self) -> Timing:
        spec = self.clf.spec
        low, median, high = (1000 * float(part) for part in np.quantile(self.alone, (0.25, 0.5, 0.75)))
        return Timing(
            name=spec.name,
            runtime=self.clf.runtime,
            input_size=spec.input_size,
            parameters=spec.parameters,
            top1=None if spec.published is None else spec.published.top1,
            milliseconds=median,
            spread=(low, high),
            per_second=1 / float(np.median(self.together)),
        )


def _as_published(spec: ModelSpec) -> ModelSpec:
    """The spec at the input size that its accuracy holds for."""
    if spec.published is None or spec.published.input_size is None:
        return spec
    return spec.replace(input_size=(spec.published.input_size,) * 2)


def _seconds(work: Callable[[], None]) -> float:
    time.sleep(PAUSE)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
