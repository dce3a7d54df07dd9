"""What several commands need."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

from pretrained_cnn._lazy import Reference
from pretrained_cnn.errors import InvalidSpecError
from pretrained_cnn.registry import get_spec
from pretrained_cnn.spec import ModelSpec

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_model(command: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--weights``."""
    command.add_argument(
        "--model",
        default="Xception",
        help="a name that `models` lists, or module:attr of a spec (default: %(default)s)",
    )
    command.add_argument(
        "--weights", default="imagenet", help='"imagenet" or the path of a file (default: %(default)s)'
    )


def complain(message: object) -> None:
    print(f"pretrained-cnn: {message}", file=sys.stderr)


def log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="pretrained-cnn: %(message)s", stream=sys.stderr)


def import_keras_quietly() -> None:
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


def find_model(name: str) -> ModelSpec:
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


def get_specs(names: Iterable[str]) -> tuple[list[ModelSpec], int]:
    """The specs of these names, and the exit code: a broken plugin is complained of, and the others are there."""
    specs, code = [], OK
    for name in names:
        try:
            specs.append(get_spec(name))
        except InvalidSpecError as error:
            code = FAILED
            complain(error)
    return specs, code
