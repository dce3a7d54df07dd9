"""A report: one HTML page for looking through many images and their predictions."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import compress
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import check_free, choice, number, whole_number
from pretrained_cnn._version import __version__
from pretrained_cnn.classifier import Classifier
from pretrained_cnn.errors import (
    BundleError,
    ImageError,
    InvalidArgumentError,
    MissingDependencyError,
)
from pretrained_cnn.evaluate import Evaluation, read_labeled
from pretrained_cnn.explain import COLORS
from pretrained_cnn.images.batch import Batch
from pretrained_cnn.report.page import Page
from pretrained_cnn.results.result import Status, status_of
from pretrained_cnn.results.stream import Sources, find_images
from pretrained_cnn.spec import HeatMapMethod, ResizePolicy
from pretrained_cnn.trust import OUTPUTS

__all__ = ["Report", "write_report"]

PACKAGES = {name: name for name in ("keras", "tensorflow", "jax", "torch", "openvino", "onnxruntime", "numpy")}
PACKAGES |= {"ai_edge_litert": "ai-edge-litert", "PIL": "pillow"}
"""Modules that have a part in the answers, and the packages that they come from."""

logger = logging.getLogger(__name__)

HeatMaps = Callable[[NDArray[np.uint8], NDArray[np.intp]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Report:
    """The result of `write_report`.

    >>> Report(Path("report.html"), 3, (ImageError("a.jpg", "the file does not exist"),))
    Report(path=PosixPath('report.html'), images=3, failed=(ImageError('a.jpg', 'the file does not exist'),), \
uncertain=0, unknown=0, evaluation=None, skipped={})
    """

    path: Path
    images: int
    """Number of images."""
    failed: Sequence[ImageError]
    """The images that could not be read."""
    uncertain: int = 0
    """Number of images with a best score below ``min_score``."""
    unknown: int = 0
    """Number of images of none of the classes, by a calibrated classifier."""
    evaluation: Evaluation | None = None
    """With ``labeled=True``: the evaluation, unless no image could be read."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of skipped files of an unlabeled source, by reason, as in ``ResultStream.skipped``."""


def write_report(
    classifier: Classifier,
    source: Any,
    path: str | os.PathLike[str],
    *,
    top: int = 5,
    labeled: bool = False,
    heat_maps: HeatMapMethod | None = "grad_cam",
    min_score: float | None = None,
    title: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Classify images, and write a page to search, filter, sort and view them.

    Args:
        classifier: The classifier to use.
        source: As for `pretrained_cnn.Classifier.stream`; with ``labeled``, as for
            `pretrained_cnn.Classifier.evaluate`.
        path: The HTML file. It is self-contained, thumbnails included, and needs no network.
        top: The number of classes to show for each image.
        labeled: The images have labels: the page also shows the accuracy and the worst
            mistakes.
        heat_maps: The method of the heat maps that show where the network saw its best class, as for
            `pretrained_cnn.Classifier.explain`; None for a page without.
        min_score: Images with a lower best score, 0 to 1, are marked as uncertain.
        title: The title of the page; by default the name of the source.
        overwrite: Replace the file, if it exists.
        progress: A function that is called after each batch with the number of images done and of those that failed.

    Thumbnails show the input of the network, so heat maps lie on them exactly. A heat map takes a second pass through
    the network. If heat maps are not possible, as for a bundle of another format than ``"keras"``, the log and the page
    say so. The file appears when it is complete. Memory does not grow with the number of images, except for their
    scores with ``labeled``.

    Raises OutputError if the file cannot be written, and what `pretrained_cnn.Classifier.stream` or
    `pretrained_cnn.Classifier.evaluate` raises.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/report.html"
    >>> report = write_report(Classifier("EfficientNetLite0"), "examples/images", path, heat_maps=None)
    >>> report.images, len(report.failed)
    (6, 0)
    """
    path, start = Path(path), time.monotonic()
    top = whole_number("top", top)
    min_score = None if min_score is None else number("min_score", min_score, least=0, most=1)
    check_free(path, overwrite=overwrite)
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    images, targets, skipped = source, None, Counter[str]()
    if labeled:
        images, targets = read_labeled(classifier.engine, source)
    elif name is not None or isinstance(source, Sources):
        sources = Sources((name,)) if name is not None else source
        found = find_images(sources, classifier.engine.image_policy, skipped)
        images = ((each.item.name, each.item.image) for each in found)
    explain, about_maps = _explainer(classifier, heat_maps)
    run = _Run(classifier, targets, min_score, explain)
    stream = classifier.engine.batches(images)
    with contextlib.closing(stream), contextlib.closing(Page(path, title or _title(name))) as page:
        for batch in stream:
            run.add_to(page, batch, top)
            del batch  # before the next one is asked for
            if progress is not None:
                progress(run.images, len(run.failed))
        evaluation = run.evaluation()
        seconds = time.monotonic() - start
        facts = {
            "about": _about(classifier, name, run, about_maps, min_score, seconds),
            "coverage": None if classifier.calibration is None else classifier.calibration.coverage,
            "date": f"{datetime.now().day} {datetime.now():%B %Y}",
            "errors": [[error.source, error.reason] for error in run.failed],
            "evaluation": evaluation and _figures(evaluation),
            "heat_maps": run.map_size and {"size": run.map_size, "colors": COLORS},
            "labeled": labeled,
            "min_score": min_score,
            "model": classifier.spec.name,
            "size": classifier.spec.input_size,
        }
        page.finish(facts)
    return Report(path, run.images, tuple(run.failed), run.uncertain, run.unknown, evaluation, skipped)


class _Run:
    """The counts of a run so far."""

    def __init__(
        self,
        classifier: Classifier,
        targets: NDArray[np.intp] | None,
        min_score: float | None,
        explain: HeatMaps | None,
    ) -> None:
        self._targets, self._min_score, self._explain = targets, min_score, explain
        self._labels = classifier.spec.labels or ()
        self._engine, self._calibration = classifier.engine, classifier.calibration
        self._network = self._engine.open(("scores",) if self._calibration is None else OUTPUTS)
        self.images = self.uncertain = self.unknown = 0
        self.failed: list[ImageError] = []
        self.map_size: tuple[int, ...] | None = None
        # These three of labeled images only, for their evaluation.
        self._sources: list[str] = []
        self._truths = [np.empty(0, np.intp)]
        self._scores = [np.empty((0, self._network.widths[0]), np.float32)]

    def add_to(self, page: Page, batch: Batch, top: int) -> None:
        """Classify a batch, and add its images to the page."""
        batch, (scores, *embeddings) = self._network.answer(batch)
        read = np.array([error is None for error in batch.errors])
        begin, self.images = self.images, self.images + len(read)
        self.failed += [error for error in batch.errors if error is not None]
        if not read.any():
            return
        names = list(compress(batch.names, read))
        predictions = self._engine.predictions(scores, top)
        maps = truths = None
        if self._explain is not None:
            maps = self._explain(batch.pixels, scores.argmax(axis=1))
            self.map_size = maps.shape[1:]
        if self._targets is not None:
            targets = self._targets[begin : self.images][read]
            truths = [self._labels[target] for target in targets]
            self._sources += names
            self._truths.append(targets)
            self._scores.append(scores)
        statuses: list[Status] = [status_of(best, self._min_score) for best in predictions]
        if self._calibration is not None:
            for i in np.flatnonzero(self._calibration.is_unknown(*embeddings)).tolist():
                statuses[i] = "unknown"
        self.uncertain += statuses.count("uncertain")
        self.unknown += statuses.count("unknown")
        doubts = ["" if status == "ok" else status for status in statuses]
        page.add(names, predictions, batch.pixels, truths=truths, doubts=doubts, heat_maps=maps)

    def evaluation(self) -> Evaluation | None:
        """How often the classifier was right; None unless there are labeled images that could be read."""
        if not self._sources:
            return None
        scores = np.concatenate(self._scores)
        return Evaluation(self._labels, np.concatenate(self._truths), scores, self._sources, self.failed)


def _explainer(classifier: Classifier, method: HeatMapMethod | None) -> tuple[HeatMaps | None, str]:
    """What makes heat maps, or None; and what the page says of them."""
    if method is None:
        return None, "none were asked for"
    method = choice("heat_maps", method, get_args(HeatMapMethod))
    try:
        return classifier.engine.explainer(method), f"{method}, for the best class of each image"
    except (BundleError, InvalidArgumentError, MissingDependencyError) as error:
        logger.warning("there are no heat maps: %s", error)
        return None, f"none: {error}"


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    """What the page cannot count for itself."""
    return {name: getattr(evaluation, name) for name in ("top1", "top1_interval", "top5", "top5_interval", "ece")}


def _about(
    classifier: Classifier, source: str | None, run: _Run, about_maps: str, min_score: float | None, seconds: float
) -> list[tuple[str, str]]:
    """What the page was made of and with, as terms and what they are."""
    spec = classifier.spec
    height, width = spec.input_size
    facts = [
        *([("Source", source)] if source else []),
        ("Images", f"{run.images:,}; {len(run.failed):,} could not be read"),
        ("Classifier", repr(classifier)),
        ("Model", spec.name),
        ("Runtime", classifier.runtime),
        ("Classes", f"{len(spec.labels):,}" if spec.labels else "named by a decode function"),
        ("Input", f"{width} x {height} pixels, {_describe(spec.resize)}"),
        ("Heat maps", about_maps),
        ("Uncertain", "not marked" if min_score is None else f"a best score below {_percent(min_score)}"),
        (
            "Unknown",
            "not marked: the classifier is not calibrated"
            if classifier.calibration is None
            else f"{run.unknown:,}, calibrated to keep {_percent(classifier.calibration.coverage)} of the known images",
        ),
        ("Made", f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, in {timedelta(seconds=round(seconds))}"),
    ]
    installed = [f"{name} {version(name)}" for module, name in PACKAGES.items() if module in sys.modules]
    versions = [f"pretrained_cnn {__version__}", f"Python {platform.python_version()}", *installed]
    return [*facts, ("Versions", ", ".join(versions))]


def _title(source: str | None) -> str:
    """What a source is called: a folder or a file by its own name, a pattern or an address as it is."""
    if source is None or source == "-":
        return "Images"
    return os.path.basename(os.path.abspath(source)) if os.path.exists(source) else source


def _describe(policy: ResizePolicy) -> str:
    how = policy.pick(
        "a report",
        crop=f"the center {_percent(policy.crop_fraction)} of the short side",
        squash="squashed to it",
        pad="fitted into it",
    )
    return f"{how}, {policy.interpolation}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
