"""How long backbones take on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pretrained_cnn._check import whole_number
from pretrained_cnn.bench.timing import Timing
from pretrained_cnn.classifier import Classifier
from pretrained_cnn.registry import get_spec
from pretrained_cnn.spec import ModelSpec

__all__ = ["NAMES", "WARM_UP", "in_milliseconds", "in_turns", "measure"]

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


def measure(
    models: Iterable[str | ModelSpec] = NAMES,
    runtimes: Sequence[str] = ("keras",),
    *,
    weights: str | None = None,
    batch_size: int = 16,
    rounds: int = 15,
    image: Any = None,
) -> list[Timing]:
    """Measure the latency and the throughput of backbones on this machine.

    Args:
        models: Names, or specs, as `pretrained_cnn.Classifier` takes them.
        runtimes: Names that `pretrained_cnn.list_runtimes` gives; each backbone is measured on each.
        weights: None for random ones, which take the same time and need no download; or
            ``"imagenet"``.
        batch_size: Number of images in a batch.
        rounds: Number of measurements of each. All take turns, so that other load on the machine affects all of them.
        image: The image to classify, as `pretrained_cnn.Classifier.predict` takes it. A path is read and decoded
            each time. By default pixels in memory, of the network's input size.

    A backbone is built for the input size of its published accuracy, such as 299 for ResNet50V2, so that time
    and accuracy belong together. All backbones are in memory at the same time. Rows come in the order of the
    models, and of the runtimes for each.

    Raises InvalidArgumentError for invalid arguments, and what `pretrained_cnn.Classifier` raises.

    >>> (row,) = measure(["EfficientNetLite0"], rounds=2, batch_size=2)
    >>> row.top1, row.milliseconds > 0, row.per_second > 0
    (75.1, True, True)
    """
    batch_size, rounds = whole_number("batch_size", batch_size), whole_number("rounds", rounds)
    specs = [_as_published(get_spec(model) if isinstance(model, str) else model) for model in models]
    classifiers = [Classifier(spec, weights=weights, runtime=name) for spec in specs for name in runtimes]
    contenders = [_Contender(clf, image, batch_size) for clf in classifiers]
    for number, contender in enumerate(contenders, 1):
        clf = contender.clf
        log.info("%d of %d: building %s for %s", number, len(contenders), clf.spec.name, clf.runtime)
        for _ in range(WARM_UP):
            contender.classify_one()
            contender.classify_batch()
    works = [work for contender in contenders for work in (contender.classify_one, contender.classify_batch)]
    seconds = iter(in_turns(works, rounds))
    return [contender.timing(next(seconds), next(seconds)) for contender in contenders]


def in_turns(works: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """How many seconds each of ``works`` takes, ``rounds`` times: in a round all take turns.

    >>> [len(seconds) for seconds in in_turns([int, float], rounds=3)]
    [3, 3]
    """
    found: list[list[float]] = [[] for _ in works]
    for number in range(1, rounds + 1):
        log.info("round %d of %d", number, rounds)
        for work, seconds in zip(works, found, strict=True):
            seconds.append(_seconds(work))
    return found


def in_milliseconds(seconds: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median of some seconds, and the first and third quartile, in milliseconds.

    >>> in_milliseconds([0.001, 0.002, 0.003])
    (2.0, (1.5, 2.5))
    """
    low, median, high = (1000 * float(part) for part in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return median, (low, high)


class _Contender:
    """One classifier, and what it is given."""

    def __init__(self, clf: Classifier, image: Any, batch_size: int) -> None:
        self.clf = clf
        self._image = np.full((*clf.spec.input_size, 3), 128, np.uint8) if image is None else image
        self._batch_size = batch_size

    def classify_one(self) -> None:
        self.clf.predict(self._image)

    def classify_batch(self) -> None:
        self.clf.predict_batch([self._image] * self._batch_size, batch_size=self._batch_size)

    def timing(self, alone: Sequence[float], in_batches: Sequence[float]) -> Timing:
        """What its calls with one image, and those with a batch, took in seconds."""
        spec = self.clf.spec
        median, spread = in_milliseconds(alone)
        return Timing(
            name=spec.name,
            runtime=self.clf.runtime,
            input_size=spec.input_size,
            parameters=spec.parameters,
            top1=None if spec.published is None else spec.published.top1,
            milliseconds=median,
            spread=spread,
            per_second=self._batch_size / float(np.median(in_batches)),
        )


def _as_published(spec: ModelSpec) -> ModelSpec:
    """The spec at the input size that its accuracy holds for."""
    if spec.published is None or spec.published.input_size is None:
        return spec
    return spec.replace(input_size=(spec.published.input_size,) * 2)


def _seconds(work: Callable[[], object]) -> float:
    time.sleep(PAUSE)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
