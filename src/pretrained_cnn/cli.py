"""The command line: ``pretrained-cnn classify``, ``models``, ``fetch`` and ``cache``.

Results go to stdout, everything else to stderr. Exit codes: 0 all went well, 1 something failed, 2 usage.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pretrained_cnn import __version__
from pretrained_cnn._lazy import Reference
from pretrained_cnn.errors import InvalidSpecError, PretrainedCNNError, UnknownModelError, WeightsError
from pretrained_cnn.registry import get_spec, list_models
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.weights import WeightsFile, cache_dir, ensure

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

SORTS: dict[str, Callable[[ModelSpec], Any]] = {
    "name": lambda spec: 0,
    "size": lambda spec: spec.input_size,
    "parameters": lambda spec: spec.parameters or 0,
    "top1": lambda spec: -(spec.published.top1 if spec.published else 0),
    "top5": lambda spec: -((spec.published.top5 or 0) if spec.published else 0),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except PretrainedCNNError as error:
        _complain(error)
        return USAGE if isinstance(error, UnknownModelError | InvalidSpecError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pretrained-cnn", description="Pretrained image classifiers by name.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    classify = commands.add_parser("classify", help="name what is in pictures")
    classify.add_argument(
        "source", nargs="+", metavar="SOURCE", help="a picture, an http(s) address, a folder or a glob"
    )
    classify.add_argument(
        "--model",
        default="Xception",
        help="a name that `models` lists, or module:attr of a spec (default: %(default)s)",
    )
    classify.add_argument(
        "--weights", default="imagenet", help='"imagenet" or the path of a file (default: %(default)s)'
    )
    classify.add_argument("--top", type=_count, default=5, metavar="N", help="how many classes to name (default: 5)")
    classify.add_argument("--json", action="store_true", help="one JSON object a picture")
    classify.set_defaults(run=_classify)

    models = commands.add_parser("models", help="list the backbones")
    models.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="such as 'EfficientNet*'")
    models.add_argument("--sort", choices=SORTS, default="name", help="by what; the best accuracy first")
    models.add_argument("--max-parameters", type=float, metavar="M", help="at most M million parameters")
    models.add_argument("--json", action="store_true", help="one JSON array")
    models.set_defaults(run=_models)

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

    cache = commands.add_parser("cache", help="list the downloaded weights, and check them")
    cache.add_argument("--json", action="store_true", help="one JSON array")
    cache.set_defaults(run=_cache)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _complain(message: object) -> None:
    print(f"pretrained-cnn: {message}", file=sys.stderr)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="pretrained-cnn: %(message)s", stream=sys.stderr)


def _classify(options: argparse.Namespace) -> int:
    _log_to_stderr()
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.images.sources import expand

    clf = Classifier(_find_model(options.model), weights=options.weights)
    sources = [expand(source) for source in options.source]
    _import_keras_quietly()
    code = OK
    for result in clf.stream(itertools.chain.from_iterable(sources), top=options.top):
        if result.error is not None:
            code = FAILED
            _complain(result.error)
        if options.json:
            print(json.dumps(result.to_dict()), flush=True)
        else:
            for prediction in result:
                print(f"{result.source}\t{prediction.score:.4f}\t{prediction.label}\t{prediction.id}", flush=True)
    return code


def _import_keras_quietly() -> None:
    """Import Keras and its backend without the chatter of TensorFlow's native code on stderr.

    Some of it comes before TensorFlow reads its own settings and cannot be switched off by them, so what
    reaches the descriptor is held back, and shown only if the import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            import keras  # noqa: F401
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _find_model(name: str) -> ModelSpec:
    """The spec of that name, or the one that a module of the user's holds as ``module:attr``."""
    if ":" not in name:
        return get_spec(name)
    sys.path.insert(0, os.getcwd())
    try:
        spec: Any = Reference(name).resolve()
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidSpecError(f"--model {name}: {error}") from error
    if not isinstance(spec, ModelSpec):
        raise InvalidSpecError(f"--model {name}: this is not a ModelSpec but a {type(spec).__name__}")
    return spec


def _models(options: argparse.Namespace) -> int:
    specs, code = _get_specs(list_models(options.pattern))
    if options.max_parameters is not None:
        specs = [spec for spec in specs if spec.parameters and spec.parameters <= options.max_parameters * 1e6]
    if not specs:
        _complain(f"no model matches {options.pattern!r}; `pretrained-cnn models` lists all")
        return FAILED
    rows = [_row(spec) for spec in sorted(specs, key=SORTS[options.sort])]
    if options.json:
        print(json.dumps(rows, indent=2))
        return code
    print(f"{'NAME':<20}{'INPUT':>10}{'PARAMETERS':>13}{'TOP-1 %':>9}{'TOP-5 %':>9}  MEASURED AT")
    for row in rows:
        size = "{}x{}".format(*row["input_size"])
        parameters = f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "-"
        top1, top5 = (f"{row[key]:.1f}" if row[key] else "-" for key in ("top1", "top5"))
        print(f"{row['name']:<20}{size:>10}{parameters:>13}{top1:>9}{top5:>9}  {row['measured_at'] or '-'}")
    return code


def _get_specs(names: Iterable[str]) -> tuple[list[ModelSpec], int]:
    """The specs of these names, and the exit code: a broken plugin is complained of, and the others are there."""
    specs, code = [], OK
    for name in names:
        try:
            specs.append(get_spec(name))
        except InvalidSpecError as error:
            code = FAILED
            _complain(error)
    return specs, code


def _row(spec: ModelSpec) -> dict[str, Any]:
    published = spec.published
    return {
        "name": spec.name,
        "input_size": spec.input_size,
        "parameters": spec.parameters,
        "embedding_size": spec.embedding_size,
        "top1": published and published.top1,
        "top5": published and published.top5,
        "measured_at": published and published.input_size,
        "measured_by": published and published.source,
        "license": spec.license,
        "described_in": spec.source,
    }


def _fetch(options: argparse.Namespace) -> int:
    _log_to_stderr()
    folder = Path(options.to, "models") if options.to else cache_dir()
    patterns = ["*"] if options.all else options.name
    if not patterns:
        raise InvalidSpecError("fetch needs the name of a backbone, or --all")
    names = [name for pattern in patterns for name in list_models(pattern) or [get_spec(pattern).name]]
    specs, code = _get_specs(dict.fromkeys(names))
    for spec in specs:
        if not spec.weights:
            _complain(f"{spec.name} needs no download: its weights come with its builder")
        for file in spec.weights if options.variants or not spec.weights else [spec.weights_file()]:
            try:
                print(f"{spec.name}\t{ensure(file, needed_by=spec.name, folder=folder)}", flush=True)
            except WeightsError as error:
                code = FAILED
                _complain(error)
    return code


def _cache(options: argparse.Namespace) -> int:
    specs, code = _get_specs(list_models())
    files = [(spec, file, cache_dir() / file.name) for spec in specs for file in spec.weights]
    rows = [_verdict(spec, file, path) for spec, file, path in files if path.exists()]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            reason = f"  {row['reason']}" if row["reason"] else ""
            print(f"{row['verdict']:<8}{row['size'] / 1e6:>9.1f} MB  {row['model']:<20}{row['path']}{reason}")
        if not rows:
            _complain(f"no weights that we know are in {cache_dir()}")
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
