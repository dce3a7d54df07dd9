"""``pretrained-cnn bench``: how long backbones take here, and which of them are worth it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pretrained_cnn._check import check_free
from pretrained_cnn.cli.console import complain, log_to_stderr, quiet, say
from pretrained_cnn.cli.options import Command, Count, argument, flag, option
from pretrained_cnn.cli.shared import RUNTIME, find_spec
from pretrained_cnn.cli.status import Status
from pretrained_cnn.cli.table import table
from pretrained_cnn.errors import InvalidArgumentError, OutputError
from pretrained_cnn.registry import list_models

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pretrained_cnn.bench import Timing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``bench`` takes."""

    names: tuple[str, ...] = argument(
        "Name of a backbone, or a pattern such as 'EfficientNet*' (default: ten small ones).",
        metavar="NAME",
        nargs="*",
        default=(),
    )
    runtime: tuple[str, ...] = option(f"{RUNTIME}; may be repeated (default: keras).", default=(), action="append")
    weights: Literal["random", "imagenet"] = option("Weights to load; both take the same time.", default="random")
    batch_size: Count = option("Number of images in a batch.", default=16)
    rounds: Count = option("Number of measurements per backbone.", default=15)
    image: str | None = option("Image to time, read again each time (default: pixels in memory).", metavar="FILE")
    json: bool = flag("Print one JSON array.")
    plot: str | None = option(
        "Draw accuracy against time to FILE, such as frontier.png (default: no drawing).", metavar="FILE"
    )
    overwrite: bool = flag("Replace the drawing if it exists.")


def _run(options: Options) -> Status:
    log_to_stderr()
    if options.plot is not None:  # hours before it is drawn
        check_plot(Path(options.plot), options.overwrite)
    from pretrained_cnn.bench import NAMES, frontier, measure

    names = [name for pattern in options.names for name in list_models(pattern) or [pattern]]
    specs = [find_spec(name) for name in dict.fromkeys(names or NAMES)]
    with quiet():
        rows = measure(
            specs,
            list(dict.fromkeys(options.runtime or ("keras",))),
            weights=None if options.weights == "random" else options.weights,
            batch_size=options.batch_size,
            rounds=options.rounds,
            image=options.image,
        )
    rows.sort(key=lambda row: (row.runtime, row.milliseconds))
    best = frontier(rows)
    if options.json:
        say(json.dumps([{**row.to_dict(), "frontier": row in best} for row in rows], indent=2))
    else:
        _print(rows, best, options)
    if options.plot is not None:
        from pretrained_cnn.bench.plot import accuracy_and_time

        save_plot(accuracy_and_time(rows, best), Path(options.plot))
    return Status.OK


def _print(rows: Sequence[Timing], best: Sequence[Timing], options: Options) -> None:
    image = options.image or "pixels in memory"
    say(f"MS: median of {options.rounds} rounds, one image at a time, {image}, {options.weights} weights.")
    say(f"IMG/S: images a second, in batches of {options.batch_size}. Both are measured on this machine.")
    say("TOP-1 %: as published, not measured here. INPUT: the size that it was published for.")
    say("PARETO: no other backbone on this runtime is at least as fast and as accurate and better at one of them.")
    for runtime, found in itertools.groupby(rows, key=lambda row: row.runtime):
        say()
        say(f"Runtime: {runtime}")
        for line in table(COLUMNS, [_cells(row, row in best) for row in found]):
            say(line)


COLUMNS = ("NAME", ">INPUT", ">PARAMS", ">TOP-1 %", ">MS", ">QUARTILES", ">IMG/S", "PARETO")


def _cells(row: Timing, best: bool) -> list[str]:
    return [
        row.name,
        "{}x{}".format(*row.input_size),
        f"{row.parameters / 1e6:.1f} M" if row.parameters else "-",
        f"{row.top1:.1f}" if row.top1 is not None else "-",
        f"{row.milliseconds:.1f}",
        "{:.1f}-{:.1f}".format(*row.spread),
        f"{row.per_second:.1f}",
        "*" if best else "",
    ]


def check_plot(path: Path, overwrite: bool) -> None:
    """Raise MissingDependencyError without matplotlib, and an error of ours for a file that could not be written."""
    from pretrained_cnn.bench.plot import FORMATS

    if path.suffix[1:] not in FORMATS:
        raise InvalidArgumentError(
            f"--plot {path}: its name ends in none of {', '.join(f'.{name}' for name in FORMATS)}"
        )
    check_free(path, overwrite=overwrite)


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure to the file that `check_plot` found free."""
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise OutputError(f"--plot {path}: it cannot be written: {error.strerror or error}") from error
    complain(f"{path} is written")


COMMAND = Command(
    "bench",
    "Measure how long backbones take on this machine.",
    Options,
    _run,
    examples=(
        "MobileNetV2 'EfficientNetB[0-3]' --runtime openvino --plot frontier.png",
        "ResNet50 --runtime keras --runtime openvino --image photo.jpg",
    ),
)
