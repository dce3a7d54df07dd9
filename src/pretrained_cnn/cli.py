"""The command line: ``pretrained-cnn classify`` and ``pretrained-cnn models``.

Results go to stdout, everything else to stderr. Exit codes: 0 all classified, 1 some failed, 2 usage.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from pretrained_cnn import __version__
from pretrained_cnn._lazy import Reference
from pretrained_cnn.errors import InvalidSpecError, PretrainedCNNError, UnknownModelError
from pretrained_cnn.registry import get_spec, list_models
from pretrained_cnn.spec import ModelSpec

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
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _complain(message: object) -> None:
    print(f"pretrained-cnn: {message}", file=sys.stderr)


def _classify(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="pretrained-cnn: %(message)s", stream=sys.stderr)
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
    specs, code = [], OK
    for name in list_models(options.pattern):
        try:
            specs.append(get_spec(name))
        except InvalidSpecError as error:  # a broken plugin; the others are listed all the same
            code = FAILED
            _complain(error)
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
