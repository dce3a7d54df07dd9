"""``pretrained-cnn cache``: the weights files, and what was computed once: listed, checked, cleared."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrained_cnn._cache import KINDS, cache_entries, cache_home, remove
from pretrained_cnn.cli.console import complain, say
from pretrained_cnn.cli.options import Command, flag, option
from pretrained_cnn.cli.shared import get_specs
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import BundleError
from pretrained_cnn.registry import list_models
from pretrained_cnn.weights import WeightsFile, cache_dir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``cache`` takes."""

    json: bool = flag("Print one JSON array.")
    clear: tuple[str, ...] | None = option(
        f"Remove what was computed: {', '.join(KINDS)} (default: all of them). Weights files stay.",
        nargs="*",
        choices=KINDS,
        metavar="KIND",
    )


def _run(options: Options) -> Status:
    return _list(options) if options.clear is None else _clear(options.clear or KINDS)


def _clear(kinds: Sequence[str]) -> Status:
    removed = [entry for entry in cache_entries(kinds) if remove(entry.path)]
    complain(f"removed {len(removed)} entries, {sum(entry.size for entry in removed) / 1e6:.1f} MB, of {cache_home()}")
    left = [entry.path for entry in cache_entries(kinds)]
    if left:
        complain(f"{len(left)} entries cannot be removed, such as {left[0]}; clear the cache as the user who owns it")
    return Status.FAILED if left else Status.OK


def _list(options: Options) -> Status:
    specs, status = get_specs(list_models())
    files = [(spec, file, cache_dir() / file.name) for spec in specs for file in spec.weights]
    rows = [
        _row("weights", path, path.stat().st_size, spec.name, *_verdict(file, path))
        for spec, file, path in files
        if path.exists()
    ]
    rows += [
        _row(kind, path, size, *(_bundle_verdict(path) if kind == "converted" else ("-", "whole", None)))
        for kind, path, size, _ in cache_entries()
    ]
    if options.json:
        say(json.dumps(rows, indent=2))
    else:
        for row in rows:
            reason = f"  {row['reason']}" if row["reason"] else ""
            what = f"{row['kind']:<12}{row['model']:<28}{row['path']}"
            say(f"{row['verdict']:<8}{row['size'] / 1e6:>9.1f} MB  {what}{reason}")
        if not rows:
            complain(f"no known weights are in {cache_dir()}, and nothing that was computed is in {cache_home()}")
    return Status.FAILED if any(row["verdict"] == "broken" for row in rows) else status


def _row(kind: str, path: Path, size: int, model: str, verdict: str, reason: str | None) -> dict[str, Any]:
    return {"kind": kind, "model": model, "path": str(path), "size": size, "verdict": verdict, "reason": reason}


def _verdict(file: WeightsFile, path: Path) -> tuple[str, str | None]:
    problem = file.problem(path)
    if problem is not None:
        return "broken", problem
    if file.hash is None:
        return "unknown", "complete, but it has no published hash; loading it compares its layers"
    return "whole", None


def _bundle_verdict(path: Path) -> tuple[str, str, str | None]:
    from pretrained_cnn.bundle.store import open_bundle

    try:
        bundle = open_bundle(path)
    except BundleError as error:
        return "?", "broken", str(error)
    return f"{bundle.spec.name}, {bundle.manifest.format}", "whole", None


COMMAND = Command(
    "cache",
    "List and check the weights files and what was computed once, or clear the latter.",
    Options,
    _run,
    examples=("", "--clear converted", "--clear"),
)
