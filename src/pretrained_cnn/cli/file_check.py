"""What a model file is, what has to be told of it, and what each preset makes of the owner's images."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pretrained_cnn.cli.console import complain, quiet, say
from pretrained_cnn.cli.files import FileOptions, file_arguments
from pretrained_cnn.cli.printing import shown
from pretrained_cnn.cli.status import Status
from pretrained_cnn.cli.table import table
from pretrained_cnn.engine import Engine, keras_is_needed
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.foreign.description import FileDescription
from pretrained_cnn.foreign.files import ModelFile, Open, inspect_file
from pretrained_cnn.foreign.labels import NUMBERS, choose_labels
from pretrained_cnn.presets import PRESETS, PixelScaling

if TYPE_CHECKING:
    from pretrained_cnn.labels import Label

__all__ = ["check_file"]

OF_VALUES = ("preprocess", "scale", "mean", "std")
SCORES: dict[str, dict[str, Any]] = {
    "probabilities": {},
    "--multi-label (each score is from 0 to 1, and they do not sum to 1)": {"multi_label": True},
    "--from-logits (the scores are no probabilities)": {"from_logits": True},
}
"""What is said of the scores, and the arguments that they need: the first that fit are right."""

WIDTH = 12
SHOWN = 5
"""How many labels are printed."""


def check_file(file: ModelFile, options: FileOptions, images: Sequence[str], runtime: str | None) -> Status:
    """Print what is in a file, what is still to be told, and the best class of ``images`` under each preset.

    Raises ModelFileError for a file that cannot be opened, InvalidArgumentError for options that do not fit it.
    """
    given = file_arguments(options)
    _row("file", file.kind.what)
    with quiet(), keras_is_needed():
        description, open_file = inspect_file(file, **given)
    _row("input", description.input)
    _row("output", description.output)
    labels = _labels(description, given, file.path.name)
    _row("labels", _of_labels(labels, description.scores))
    choices = _choices(description, given)
    _row("preprocess", _of_values(description, choices))
    told: dict[str, Any] = {name: given[name] for name in ("channels", "from_logits", "multi_label") if name in given}
    told["labels"] = NUMBERS if labels is None else labels
    with quiet(), keras_is_needed():
        (name, values), *others = choices.items()
        scores, needed, engine = _of_scores(open_file, {**told, **values}, runtime)
        engines = {name: engine}
        if images:
            for name, values in others:
                with contextlib.suppress(InvalidArgumentError):  # a preset for colors, and a network that takes gray
                    engines[name] = Engine.from_opened(open_file(**{**told, **needed, **values}), runtime)
    _row("scores", f"tell: {scores}" if needed else scores)
    return _compare(engines, images) if images else Status.OK


def _row(name: str, text: str) -> None:
    say(f"{name:<{WIDTH}}{shown(text)}")


def _labels(description: FileDescription, given: dict[str, Any], name: str) -> Sequence[Label] | None:
    """The labels that are given, or that the file has; None if they are still to be told."""
    try:
        return choose_labels(given.get("labels", description.labels), description.scores, name)
    except InvalidArgumentError:
        if "labels" in given:
            raise
        return None


def _of_labels(labels: Sequence[Label] | None, scores: int) -> str:
    if labels is None:
        return f"tell: --labels FILE with {max(scores, 2)} names, or --labels {NUMBERS}"
    names = "; ".join(label.name for label in labels[:SHOWN])
    return f"{len(labels):,}: {names}{'; ...' if len(labels) > SHOWN else ''}"


def _choices(description: FileDescription, given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What may be said of pixel values: the arguments, by what they are called."""
    told: dict[str, Any] = {name: given[name] for name in OF_VALUES if name in given}
    if told:
        return {"as told": told}
    if description.says_values is not None:
        return {"as the file says": {}}
    names: dict[PixelScaling, list[str]] = {}
    for name, preset in sorted(PRESETS.items(), key=lambda row: row[0] != "none"):  # its values are the largest
        names.setdefault(preset.scaling, []).append(name)
    return {", ".join(same): {"preprocess": same[0]} for same in names.values()}


def _of_values(description: FileDescription, choices: dict[str, Any]) -> str:
    if description.says_values is not None:
        return f"not needed: {description.says_values}"
    if len(choices) == 1:
        return "told"
    return (
        f"tell: --preprocess {', '.join(PRESETS)}, or --scale, --mean and --std; the network begins with "
        f"{description.begins}"
    )


def _of_scores(open_file: Open, arguments: dict[str, Any], runtime: str | None) -> tuple[str, dict[str, Any], Engine]:
    """What the scores are, the arguments that say so, and the network opened with them, judged by what it gives."""
    if arguments.keys() & {"from_logits", "multi_label"}:
        return "told", {}, Engine.from_opened(open_file(**arguments), runtime)
    refused: list[InvalidArgumentError] = []
    for what, more in SCORES.items():
        try:
            return what, more, Engine.from_opened(open_file(**arguments, **more), runtime)
        except InvalidArgumentError as error:
            refused.append(error)
    raise refused[0]


def _compare(engines: dict[str, Engine], images: Sequence[str]) -> Status:
    """Print the best class of each image under each preset."""
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.results.stream import Sources

    found: dict[str, list[str]] = {}
    status = Status.OK
    for engine in engines.values():
        for result in Classifier(engine).stream(Sources(tuple(images)), top=1):
            if result.error is None:
                found.setdefault(result.source, []).append(shown(result.predictions[0].label))
            elif engine is next(iter(engines.values())):  # once, and not under each preset
                status = Status.FAILED
                complain(result.error)
    say()
    for line in table(["IMAGE", *engines], [(shown(image), *labels) for image, labels in found.items()]):
        say(line)
    return status
