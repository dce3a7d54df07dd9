"""``pretrained-cnn models``: the backbones and what is known of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from pretrained_cnn.cli.shared import FAILED, complain, get_specs
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


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    models = commands.add_parser("models", help="list the backbones")
    models.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="such as 'EfficientNet*'")
    models.add_argument("--sort", choices=SORTS, default="name", help="by what; the best accuracy first")
    models.add_argument("--max-parameters", type=float, metavar="M", help="at most M million parameters")
    models.add_argument("--json", action="store_true", help="one JSON array")
    models.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> int:
    specs, code = get_specs(list_models(options.pattern))
    if options.max_parameters is not None:
        specs = [spec for spec in specs if spec.parameters and spec.parameters <= options.max_parameters * 1e6]
    if not specs:
        complain(f"no model matches {options.pattern!r}; `pretrained-cnn models` lists all")
        return FAILED
    rows = [_row(spec) for spec in sorted(specs, key=SORTS[options.sort])]
    if options.json:
        print(json.dumps(rows, indent=2))
        return code
    print(
        f"{'NAME':<20}{'INPUT':>9}{'PARAMETERS':>12}{'DEPTH':>7}"
        f"{'TOP-1 %':>9}{'TOP-5 %':>9}{'MEASURED AT':>13}  PUBLISHED BY"
    )
    for row in rows:
        size = "{}x{}".format(*row["input_size"])
        parameters = f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "-"
        top1, top5 = (f"{row[key]:.1f}" if row[key] else "-" for key in ("top1", "top5"))
        at, depth = row["measured_at"] or "-", row["depth"] or "-"
        source = (row["measured_by"] or "-").removeprefix("https://")
        print(f"{row['name']:<20}{size:>9}{parameters:>12}{depth:>7}{top1:>9}{top5:>9}{at:>13}  {source}")
    return code


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
