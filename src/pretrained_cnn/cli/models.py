"""``pretrained-cnn models``: the backbones and what is known of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from pretrained_cnn.cli.console import complain, say
from pretrained_cnn.cli.options import Command, argument, flag, number, option
from pretrained_cnn.cli.shared import get_specs
from pretrained_cnn.cli.status import Status
from pretrained_cnn.registry import list_models
from pretrained_cnn.spec import ModelSpec

SORTS: dict[str, Callable[[ModelSpec], Any]] = {
    "name": lambda spec: 0,
    "size": lambda spec: spec.input_size,
    "parameters": lambda spec: spec.parameters or 0,
    "depth": lambda spec: spec.depth or 0,
    "top1": lambda spec: -(spec.published.top1 if spec.published else 0),
    "top5": lambda spec: -((spec.published.top5 or 0) if spec.published else 0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``models`` takes."""

    pattern: str = argument("PATTERN", nargs="?", default="*", help="Pattern of names, such as 'EfficientNet*'.")
    sort: str = option("--sort", choices=SORTS, default="name", help="Column to sort by, best accuracy first.")
    max_parameters: float | None = option(
        "--max-parameters",
        type=number,
        metavar="M",
        help="List only backbones with at most M million parameters (default: all).",
    )
    json: bool = flag("--json", help="Print one JSON array.")


def _run(options: Options) -> Status:
    specs, status = get_specs(list_models(options.pattern))
    if options.max_parameters is not None:
        specs = [spec for spec in specs if spec.parameters and spec.parameters <= options.max_parameters * 1e6]
    if not specs:
        complain(f"no model matches {options.pattern!r}; `pretrained-cnn models` lists all")
        return Status.FAILED
    rows = [_row(spec) for spec in sorted(specs, key=SORTS[options.sort])]
    if options.json:
        say(json.dumps(rows, indent=2))
        return status
    say(
        f"{'NAME':<20}{'INPUT':>9}{'PARAMETERS':>12}{'DEPTH':>7}"
        f"{'TOP-1 %':>9}{'TOP-5 %':>9}{'MEASURED AT':>13}  PUBLISHED BY"
    )
    for row in rows:
        size = "{}x{}".format(*row["input_size"])
        parameters = f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "-"
        top1, top5 = (f"{row[key]:.1f}" if row[key] else "-" for key in ("top1", "top5"))
        at, depth = row["measured_at"] or "-", row["depth"] or "-"
        source = (row["measured_by"] or "-").removeprefix("https://")
        say(f"{row['name']:<20}{size:>9}{parameters:>12}{depth:>7}{top1:>9}{top5:>9}{at:>13}  {source}")
    return status


def _row(spec: ModelSpec) -> dict[str, Any]:
    published = spec.published
    return {
        "name": spec.name,
        "input_size": spec.input_size,
        "parameters": spec.parameters,
        "depth": spec.depth,
        "embedding_size": spec.embedding_size,
        "top1": published and published.top1,
        "top5": published and published.top5,
        "measured_at": published and published.input_size,
        "measured_by": published and published.source,
        "license": spec.license,
        "described_in": spec.source,
    }


COMMAND = Command(
    "models",
    "List the backbones and what is known about them.",
    Options,
    _run,
    examples=("'efficientnet*' --sort top1 --max-parameters 10",),
)
