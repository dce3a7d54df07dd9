"""The report of a training, as data and as a page: `TrainingReport`, `model_card`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrained_cnn.bundle.store import CARD, TRAINING, Bundle
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import BundleError
from pretrained_cnn.results import drawing
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.transfer.history import TrainingHistory

__all__ = ["Trained", "TrainingReport", "model_card", "read_training", "training_texts"]


SHOWN = 20
"""The number of classes that a notebook lists."""


@dataclass(frozen=True)
class TrainingReport:
    """The data, the settings and the metrics of a training: `Classifier.report`.

    >>> from pretrained_cnn import Classifier
    >>> pairs = [("examples/images/clock.png", "round"), ("examples/images/umbrella.png", "not round")]
    >>> report = Classifier.train(pairs, "EfficientNetLite0", validation=pairs).report
    >>> report.counts["train"]
    {'not round': 1, 'round': 1}
    >>> report.to_dict()["classes"]
    ('not round', 'round')
    """

    model: str
    """The name of the backbone."""
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    """The number of images of each class, for ``"train"`` and ``"validation"``. With cross-validation, images are in
    both: each is validated once, by a head that was not fitted on it."""
    split: str
    """The source of the validation images: given, set aside, or cross-validation."""
    settings: Mapping[str, Any]
    """The arguments, and the values that were chosen for missing ones, such as ``C``, the strength of
    regularization.
    """
    metrics: Mapping[str, float]
    """The metrics of the validation images: ``validation_loss``, the log loss in nats, weighted by ``class_weight``
    and ``sample_weight``, and ``validation_accuracy``. With ``multi_label=True``, the mean of the log loss over the
    labels, and ``validation_mean_average_precision``. Unless ``split`` says otherwise, these images also chose the
    settings, so the metrics are slightly too good."""
    skipped: Sequence[str]
    """The images that could not be read, each with the reason."""
    duplicates: Sequence[str]
    """The validation images whose content is also among the train images."""
    copies: Sequence[str]
    """The train images with the same content as another image of their class. They stay on one side of every split."""
    contradictions: Sequence[str]
    """The train images with the same content as an image of another class."""
    seconds: Mapping[str, float]
    """The time of each stage."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dataclasses.asdict(self)

    def _repr_html_(self) -> str:
        """For notebooks: the figures, and how many images each class has."""
        train, validation = self.counts["train"], self.counts["validation"]
        room = max(len("class"), *map(len, self.classes))
        lines = [
            f"{self.model}, {len(self.classes)} classes, trained in {sum(self.seconds.values()):.1f} s",
            *(f"{name.replace('_', ' ')} {value:.3f}" for name, value in self.metrics.items()),
            f"validation images: {self.split}",
            "",
            f"{'class':<{room}}  train  validation",
            *(f"{name:<{room}}  {train[name]:5}  {validation[name]:10}" for name in self.classes[:SHOWN]),
        ]
        lines += [f"and {len(self.classes) - SHOWN} more classes; counts has all"] if len(self.classes) > SHOWN else []
        faults = {"skipped": self.skipped, "duplicates": self.duplicates, "copies": self.copies}
        faults["contradictions"] = self.contradictions
        lines += [f"{name}: {len(found)}, such as {found[0]}" for name, found in faults.items() if found]
        return drawing.text_html("\n".join(lines))


@dataclass(frozen=True)
class Trained:
    """What a training gives."""

    engine: Engine
    """The trained network, whose labels are the new classes."""
    history: TrainingHistory
    """A row for each setting or epoch that was tried, in order."""
    report: TrainingReport
    digests: frozenset[bytes] = frozenset()
    """SHA-256 of the images that chose its weights and its settings: it must not be judged by them."""
    known: Any = None
    """What `add_classes` continues from: embeddings, and no images."""
    checkpoint: Path | None = None
    """The state of fine-tuning, from which the same call ends at once. It is of no use once the network is saved."""


def training_texts(report: TrainingReport, history: TrainingHistory, spec: ModelSpec) -> dict[str, str]:
    """What a bundle says of a training, by the name of the file: a page for people, and all of it as JSON."""
    data = {"report": report.to_dict(), "history": list(history)}
    return {CARD: model_card(report, spec), TRAINING: json.dumps(data, indent=1, default=_plain) + "\n"}


def read_training(bundle: Bundle) -> tuple[TrainingReport, TrainingHistory] | None:
    """What `training_texts` wrote; None for a bundle of a classifier that was not trained here."""
    data = bundle.training()
    if data is None:
        return None
    try:
        report = TrainingReport(**{**data["report"], "classes": tuple(data["report"]["classes"])})
        return report, TrainingHistory(data["history"])
    except (KeyError, TypeError) as error:
        raise BundleError(f"{bundle.path / TRAINING} does not describe a training: {error}") from error


def _plain(value: Any) -> Any:
    """A number of NumPy's as Python's; anything else by its text."""
    return value.item() if hasattr(value, "item") else str(value)


def model_card(report: TrainingReport, spec: ModelSpec) -> str:
    """A page in Markdown that tells the user of a trained classifier what it is."""
    height, width = spec.input_size
    train, validation = (report.counts[part] for part in ("train", "validation"))
    loss = report.metrics["validation_loss"]
    if spec.multi_label:
        kind = "An image may have several of these labels, or none: each gets a probability of its own."
        figure = (
            f"The mean average precision on validation is {report.metrics['validation_mean_average_precision']:.3f}"
        )
    else:
        kind = "Each class gets a probability; an image of something else also gets one of these classes."
        accuracy = 100 * report.metrics["validation_accuracy"]
        figure = f"{accuracy:.1f} % of the validation images are classified correctly"
    lines = [
        f"# An image classifier of {len(report.classes)} classes",
        "",
        f"{report.model}, pretrained on other images, with a head for these classes. An image of any size becomes",
        f"{height} x {width} pixels ({spec.resize.method}, {spec.resize.interpolation}).",
        kind,
        "",
        "## Classes",
        "",
        "| class | train | validation |",
        "|---|--:|--:|",
        *(f"| {_cell(name)} | {train[name]} | {validation[name]} |" for name in report.classes),
        "",
        f"Validation: {report.split}.",
    ]
    if report.skipped:
        lines.append(f"{len(report.skipped)} images could not be read and were left out.")
    if report.duplicates:
        lines.append(f"{len(report.duplicates)} of the validation images are also among the train images.")
    if report.copies:
        lines.append(f"{len(report.copies)} of the train images are copies of others in their class.")
    if report.contradictions:
        lines.append(f"{len(report.contradictions)} of the train images are also in another class.")
    lines += [
        "",
        "## How good it is",
        "",
        f"{figure}; the log loss is {loss:.3f} nats.",
        "These images also chose the settings: expect a little less on others.",
        "",
        "## How it was trained",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {_cell(str(value))} |" for name, value in report.settings.items()),
        "",
        f"It took {sum(report.seconds.values()):.0f} seconds.",
    ]
    if spec.license:
        lines += ["", f"License of the pretrained weights: {spec.license}."]
    if spec.source:
        lines += ["", f"The backbone is described at {spec.source}."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
