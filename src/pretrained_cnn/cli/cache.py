"""``pretrained-cnn cache``: the weights files and converted models on disk."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pretrained_cnn.cli.console import complain, say
from pretrained_cnn.cli.options import Command, flag
from pretrained_cnn.cli.shared import get_specs
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import BundleError
from pretrained_cnn.registry import list_models
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.weights import WeightsFile, cache_dir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``cache`` takes."""

    json: bool = flag("--json", help="Print one JSON array.")


def _run(options: Options) -> Status:
    from pretrained_cnn.bundle import converted

    specs, status = get_specs(list_models())
    files = [(spec, file, cache_dir() / file.name) for spec in specs for file in spec.weights]
    rows = [_verdict(spec, file, path) for spec, file, path in files if path.exists()]
    rows += [_converted_verdict(path) for path in converted.entries()]
    if options.json:
        say(json.dumps(rows, indent=2))
    else:
        for row in rows:
            reason = f"  {row['reason']}" if row["reason"] else ""
            say(f"{row['verdict']:<8}{row['size'] / 1e6:>9.1f} MB  {row['model']:<28}{row['path']}{reason}")
        if not rows:
            complain(f"no weights that we know are in {cache_dir()}, and no converted models in {converted.folder()}")
    return Status.FAILED if any(row["verdict"] == "broken" for row in rows) else status


def _verdict(spec: ModelSpec, file: WeightsFile, path: Path) -> dict[str, Any]:
    problem = file.problem(path)
    if problem is not None:
        verdict, reason = "broken", problem
    elif file.hash is None:
        verdict, reason = "unknown", "complete, but it has no published hash; loading it compares its layers"
    else:
        verdict, reason = "whole", None
    return {
        "model": spec.name,
        "path": str(path),
        "size": path.stat().st_size,
        "verdict": verdict,
        "reason": reason,
    }


def _converted_verdict(path: Path) -> dict[str, Any]:
    from pretrained_cnn.bundle import converted
    from pretrained_cnn.bundle.store import open_bundle

    model, verdict, reason = "?", "broken", None
    try:
        bundle = open_bundle(path)
        model, verdict = f"{bundle.spec.name}, {bundle.manifest.format}", "whole"
    except BundleError as error:
        reason = str(error)
    return {"model": model, "path": str(path), "size": converted.size(path), "verdict": verdict, "reason": reason}


COMMAND = Command("cache", "List the downloaded weights and the converted models, and check them.", Options, _run)
