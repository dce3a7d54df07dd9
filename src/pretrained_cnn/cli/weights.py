"""``pretrained-cnn fetch`` and ``cache``: weights files and converted models on disk."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pretrained_cnn.cli.shared import FAILED, complain, get_specs, log_to_stderr
from pretrained_cnn.errors import BundleError, InvalidArgumentError, WeightsError
from pretrained_cnn.registry import get_spec, list_models
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.weights import WeightsFile, cache_dir, ensure


def add(commands: Any) -> None:
    """Add the commands to the parser's."""
    fetch = commands.add_parser("fetch", help="download weights, such as for a machine without network")
    fetch.add_argument("name", nargs="*", metavar="NAME", help="a backbone, or a pattern such as 'EfficientNet*'")
    fetch.add_argument("--all", action="store_true", help="every backbone")
    fetch.add_argument(
        "--variants", action="store_true", help="of each also the files for other widths and sizes, and without the top"
    )
    fetch.add_argument(
        "--to", metavar="DIR", help="fill DIR/models, not Keras's own cache; use it with KERAS_HOME=DIR, anywhere"
    )
    fetch.set_defaults(run=_fetch)

    cache = commands.add_parser("cache", help="list the downloaded weights and the converted models, and check them")
    cache.add_argument("--json", action="store_true", help="one JSON array")
    cache.set_defaults(run=_cache)


def _fetch(options: argparse.Namespace) -> int:
    log_to_stderr()
    folder = Path(options.to, "models") if options.to else cache_dir()
    patterns = ["*"] if options.all else options.name
    if not patterns:
        raise InvalidArgumentError("fetch needs the name of a backbone, or --all")
    names = [name for pattern in patterns for name in list_models(pattern) or [get_spec(pattern).name]]
    specs, code = get_specs(dict.fromkeys(names))
    for spec in specs:
        if not spec.weights:
            complain(f"{spec.name} needs no download: its weights come with its builder")
        for file in spec.weights if options.variants or not spec.weights else [spec.weights_file()]:
            try:
                print(f"{spec.name}\t{ensure(file, needed_by=spec.name, folder=folder)}", flush=True)
            except WeightsError as error:
                code = FAILED
                complain(error)
    return code


def _cache(options: argparse.Namespace) -> int:
    from pretrained_cnn.bundle import converted

    specs, code = get_specs(list_models())
    files = [(spec, file, cache_dir() / file.name) for spec in specs for file in spec.weights]
    rows = [_verdict(spec, file, path) for spec, file, path in files if path.exists()]
    rows += [_converted_verdict(path) for path in converted.entries()]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            reason = f"  {row['reason']}" if row["reason"] else ""
            print(f"{row['verdict']:<8}{row['size'] / 1e6:>9.1f} MB  {row['model']:<28}{row['path']}{reason}")
        if not rows:
            complain(f"no weights that we know are in {cache_dir()}, and no converted models in {converted.folder()}")
    return FAILED if any(row["verdict"] == "broken" for row in rows) else code


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
