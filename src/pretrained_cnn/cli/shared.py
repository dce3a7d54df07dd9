"""What several commands need: the options that say which classifier is meant, and what loads it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrained_cnn.cli.console import complain, quiet
from pretrained_cnn.cli.images import ImageOptions, image_policy
from pretrained_cnn.cli.options import count, flag, option
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.registry import get_spec
from pretrained_cnn.runtimes import Precision
from pretrained_cnn.spec import ModelSpec

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier


def follow_links(**keywords: Any) -> Any:
    """Declare the option that the commands have which open a bundle."""
    help = "Accept a bundle whose files are links out of its folder, as in the snapshot of a Hugging Face repository."
    return flag("--follow-links", help=help, **keywords)


RUNTIME = "Runtime that executes the network; `pretrained-cnn runtimes` lists them"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(ImageOptions):
    """Which classifier is meant; `load_classifier` reads it."""

    model: str = option(
        "-m",
        "--model",
        group="model",
        default="Xception",
        metavar="MODEL",
        help="Name that `pretrained-cnn models` lists, folder of a bundle, or module:attribute of a ModelSpec.",
    )
    weights: str | None = option(
        "--weights",
        group="model",
        metavar="WEIGHTS",
        help='"imagenet", or path of a weights file (default: imagenet, or the bundle\'s own).',
    )
    runtime: str | None = option(
        "--runtime",
        group="model",
        metavar="RUNTIME",
        help=f"{RUNTIME} (default: keras, or the one that the bundle is made for).",
    )
    threads: int | None = option(
        "--threads",
        group="model",
        type=count,
        metavar="N",
        help="Threads that the runtime computes with (default: the cores that the process may use).",
    )
    precision: Precision = option(
        "--precision",
        group="model",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="What the runtime computes in; `pretrained-cnn runtimes --precisions` lists what this machine has.",
    )
    follow_links: bool = follow_links(group="model")


def load_classifier(options: ModelOptions) -> Classifier:
    """The classifier that the options mean. The network is built, or loaded, when it is first used."""
    from pretrained_cnn.bundle.store import format_of
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.runtimes import runtime_for

    model = find_model(options.model)
    if isinstance(model, ModelSpec):
        runtime = options.runtime or "keras"
        return Classifier(
            model,
            weights=options.weights or "imagenet",
            runtime=runtime,
            precision=options.precision,
            image_policy=image_policy(options) or ImagePolicy(),
            threads=_threads(runtime, options.threads),
        )
    if options.weights is not None:
        raise InvalidArgumentError(f"--weights {options.weights}: the bundle {options.model} has weights of its own")
    with quiet():
        runtime = options.runtime or runtime_for(format_of(model)).name
        return Classifier.load(
            model,
            runtime=options.runtime,
            precision=options.precision,
            image_policy=image_policy(options, model),
            threads=_threads(runtime, options.threads),
            follow_links=options.follow_links,
        )


def _threads(runtime: str, threads: int | None) -> int | None:
    """The number for the runtime. TensorFlow takes it from the environment, which is this program's own."""
    if threads is None or runtime not in ("keras", "tensorflow"):
        return threads
    os.environ |= {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": "1"}
    return None


def find_model(name: str) -> ModelSpec | Path:
    """The spec of that name, the folder of that bundle, or the spec that a module of the user's holds."""
    from pretrained_cnn import models

    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", name):
        return models.find_reference(name)
    return models.find_model(name)


def find_spec(name: str) -> ModelSpec:
    """The spec of that name, or the one that a module of the user's holds. Raises InvalidArgumentError for a bundle."""
    found = find_model(name)
    if not isinstance(found, ModelSpec):
        raise InvalidArgumentError(f"{name} is a bundle; expected the name of a backbone")
    return found


def get_specs(names: Iterable[str]) -> tuple[list[ModelSpec], Status]:
    """The specs of these names, and the exit status: a broken plugin is complained of, and the others are there."""
    specs, status = [], Status.OK
    for name in names:
        try:
            specs.append(get_spec(name))
        except InvalidArgumentError as error:
            status = Status.FAILED
            complain(error)
    return specs, status
