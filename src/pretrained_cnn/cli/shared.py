"""What several commands need."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pretrained_cnn._lazy import Reference
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.registry import get_spec
from pretrained_cnn.spec import ModelSpec

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def complain(message: object) -> None:
    print(f"pretrained-cnn: {message}", file=sys.stderr)


class _ToStderr(logging.StreamHandler[Any]):
    """Writes to whatever ``sys.stderr`` is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def log_to_stderr() -> None:
    logging.basicConfig(format="pretrained-cnn: %(message)s", handlers=[_ToStderr()])
    logging.getLogger("pretrained_cnn").setLevel(logging.INFO)  # other libraries' only from warnings on


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what native code writes to stderr, such as TensorFlow's chatter; Python's own goes on.

    Some of it comes before TensorFlow reads its own settings and cannot be switched off by them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    python, stderr = sys.stderr, os.dup(2)
    with tempfile.TemporaryFile() as held, open(os.dup(stderr), "w", buffering=1, errors=python.errors) as sys.stderr:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            sys.stderr = python


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which classifier is meant; `load_classifier` reads it."""
    parser.add_argument(
        "--model",
        default="Xception",
        help="a name that `models` lists, the folder of a bundle, or module:attr of a spec (default: %(default)s)",
    )
    parser.add_argument("--weights", help='"imagenet" or the path of a file (default: imagenet, or the bundle\'s)')
    parser.add_argument(
        "--runtime", help="a name that `runtimes` lists (default: keras, or what the bundle is made for)"
    )


def load_classifier(options: argparse.Namespace) -> Classifier:
    """The classifier that the options mean. The network is built, or loaded, when it is first used."""
    from pretrained_cnn.bundle.store import means_bundle
    from pretrained_cnn.classifier import Classifier

    if means_bundle(options.model):
        if options.weights is not None:
            raise InvalidArgumentError(
                f"--weights {options.weights}: the bundle {options.model} has weights of its own"
            )
        with quiet():
            return Classifier.load(options.model, runtime=options.runtime)
    weights = options.weights or "imagenet"
    return Classifier(find_model(options.model), weights=weights, runtime=options.runtime or "keras")


def find_model(name: str) -> ModelSpec:
    """The spec of that name, or the one that a module of the user's holds as ``module:attr``."""
    if ":" not in name:
        return get_spec(name)
    sys.path.insert(0, os.getcwd())
    try:
        spec: Any = Reference(name).resolve()
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgumentError(f"--model {name}: {error}") from error
    if not isinstance(spec, ModelSpec):
        raise InvalidArgumentError(f"--model {name}: this is not a ModelSpec but a {type(spec).__name__}")
    return spec


def get_specs(names: Iterable[str]) -> tuple[list[ModelSpec], int]:
    """The specs of these names, and the exit code: a broken plugin is complained of, and the others are there."""
    specs, code = [], OK
    for name in names:
        try:
            specs.append(get_spec(name))
        except InvalidArgumentError as error:
            code = FAILED
            complain(error)
    return specs, code
