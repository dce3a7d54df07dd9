"""``pretrained-cnn bench``: how long backbones take here, and which of them are worth it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrained_cnn.cli.shared import OK, complain, count, find_model, log_to_stderr, quiet
from pretrained_cnn.errors import InvalidArgumentError, OutputError
from pretrained_cnn.registry import list_models

if TYPE_CHECKING:
    from pretrained_cnn.bench import Timing


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    bench = commands.add_parser("bench", help="measure how long backbones take on this machine")
    bench.add_argument(
        "name",
        nargs="*",
        metavar="NAME",
        help="a backbone, or a pattern such as 'EfficientNet*' (default: ten small ones)",
    )
    bench.add_argument(
        "--runtime", action="append", metavar="NAME", help="as `runtimes` lists them; may be repeated (default: keras)"
    )
    bench.add_argument(
        "--weights", choices=["random", "imagenet"], default="random", help="both take the same time (default: random)"
    )
    bench.add_argument("--batch-size", type=count, default=16, metavar="N", help="default: %(default)s")
    bench.add_argument("--rounds", type=count, default=15, metavar="N", help="how often each (default: %(default)s)")
    bench.add_argument("--image", metavar="FILE", help="is read each time (default: pixels in memory)")
    bench.add_argument("--json", action="store_true", help="one JSON array")
    bench.add_argument("--plot", metavar="FILE", help="draw accuracy against time, such as to frontier.png")
    bench.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    log_to_stderr()
    if options.plot is not None:  # hours before it is drawn
        _check_plot(Path(options.plot))
    from pretrained_cnn.bench import NAMES, frontier, measure

    names = [name for pattern in options.name for name in list_models(pattern) or [pattern]]
    specs = [find_model(name) for name in dict.fromkeys(names or NAMES)]
    with quiet():
        rows = measure(
            specs,
            list(dict.fromkeys(options.runtime or ["keras"])),
            weights=None if options.weights == "random" else options.weights,
            batch_size=options.batch_size,
            rounds=options.rounds,
            image=options.image,
        )
    rows.sort(key=lambda row: (row.runtime, row.milliseconds))
    best = frontier(rows)
    if options.json:
        print(json.dumps([{**row.to_dict(), "frontier": row in best} for row in rows], indent=2))
    else:
        _print(rows, best, options)
    if options.plot is not None:
        _plot(rows, best, Path(options.plot))
    return OK


def _print(rows: Sequence[Timing], best: Sequence[Timing], options: argparse.Namespace) -> None:
    image = options.image or "pixels in memory"
    print(f"Time: measured here, {options.rounds} rounds, {image}, {options.weights} weights.")
    print("TOP-1 %: as published, not measured here. INPUT: the size that it was published for.")
    print("FRONTIER: no other on the same runtime is as quick and as accurate, and better in one of the two.")
    print()
    print(
        f"{'NAME':<20}{'RUNTIME':<13}{'INPUT':>9}{'PARAMETERS':>12}{'TOP-1 %':>9}"
        f"{'MS':>9}{'QUARTILES':>17}{f'A SECOND, BY {options.batch_size}':>18}  FRONTIER"
    )
    for row in rows:
        size = "{}x{}".format(*row.input_size)
        parameters = f"{row.parameters / 1e6:.1f} M" if row.parameters else "-"
        top1 = f"{row.top1:.1f}" if row.top1 is not None else "-"
        quartiles = "{:.1f} - {:.1f}".format(*row.spread)
        print(
            f"{row.name:<20}{row.runtime:<13}{size:>9}{parameters:>12}{top1:>9}"
            f"{row.milliseconds:>9.1f}{quartiles:>17}{row.per_second:>18.1f}  {'*' if row in best else ''}".rstrip()
        )


def _check_plot(path: Path) -> None:
    """Raise MissingDependencyError without matplotlib, InvalidArgumentError for a file that could not be written."""
    from pretrained_cnn.plots import FORMATS

    if path.suffix[1:] not in FORMATS:
        raise InvalidArgumentError(
            f"--plot {path}: its name ends in none of {', '.join(f'.{name}' for name in FORMATS)}"
        )
    if not path.parent.is_dir():
        raise InvalidArgumentError(f"--plot {path}: there is no folder {path.parent}")


def _plot(rows: Sequence[Timing], best: Sequence[Timing], path: Path) -> None:
    from pretrained_cnn.plots import accuracy_and_time

    try:
        accuracy_and_time(rows, best).savefig(path, dpi=120)
    except OSError as error:
        raise OutputError(f"--plot {path}: it cannot be written: {error.strerror or error}") from error
    complain(f"{path} is written")
