"""``pretrained-cnn models``: the backbones and what is known of them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

from pretrained_cnn._registry import nearest
from pretrained_cnn.cli.console import complain, say
from pretrained_cnn.cli.options import Command, Number, argument, flag, option
from pretrained_cnn.cli.shared import get_specs
from pretrained_cnn.cli.status import Status
from pretrained_cnn.cli.table import table
from pretrained_cnn.registry import MODELS, list_models
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

    pattern: str = argument("Pattern of names, such as 'EfficientNet*'.", metavar="PATTERN", nargs="?", default="*")
    sort: str = option("Column to sort by, best accuracy first.", default="name", choices=SORTS)
    max_parameters: Number | None = option(
        "List only backbones with at most M million parameters (default: all).", metavar="M"
    )
    min_top1: Number | None = option(
        "List only backbones with a published top-1 accuracy of at least PERCENT (default: all).", metavar="PERCENT"
    )
    offline: bool = flag("List only backbones whose weights are on this machine.")
    json: bool = flag("Print one JSON array.")


def _run(options: Options) -> Status:
    most = options.max_parameters
    names = list_models(
        options.pattern,
        max_params=None if most is None else most * 1e6,
        min_top1=options.min_top1,
        offline=options.offline,
    )
    specs, status = get_specs(names)
    if not specs:
        limits = "" if (most, options.min_top1, options.offline) == (None, None, False) else " within these limits"
        hint = "" if limits else nearest(options.pattern, sorted(list_models(), key=_parameters))
        complain(f"no model matches {options.pattern!r}{limits}; {hint}`pretrained-cnn models` lists all")
        return Status.FAILED
    rows = [_row(spec) for spec in sorted(specs, key=SORTS[options.sort])]
    if options.json:
        say(json.dumps(rows, indent=2))
        return status
    sources = list(dict.fromkeys(row["measured_by"] for row in rows if row["measured_by"]))
    for line in table(COLUMNS, [_cells(row, sources) for row in rows]):
        say(line)
    for place, source in enumerate(sources, start=1):
        say(f"[{place}] {source.removeprefix('https://')}")
    return status


def _parameters(name: str) -> float:
    """How large a model is; one that a plugin offers is not imported for that."""
    spec = MODELS.peek(name)
    return (spec and spec.parameters) or math.inf


COLUMNS = ("NAME", ">INPUT", ">PARAMS", ">DEPTH", ">TOP-1 %", ">TOP-5 %", ">MEASURED AT", "BY")


def _cells(row: dict[str, Any], sources: list[str]) -> list[object]:
    """A row of the table; the publisher of the accuracy is a number, since an address is wider than a terminal."""
    return [
        row["name"],
        "{}x{}".format(*row["input_size"]),
        f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "-",
        row["depth"] or "-",
        *(f"{row[key]:.1f}" if row[key] else "-" for key in ("top1", "top5")),
        row["measured_at"] or "-",
        f"[{sources.index(row['measured_by']) + 1}]" if row["measured_by"] else "-",
    ]


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
    examples=("'efficientnet*' --sort top1 --max-parameters 10", "--offline"),
)
