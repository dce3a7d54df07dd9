"""What several commands need: the options that say which classifier is meant, and what loads it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pretrained_cnn._files import is_path
from pretrained_cnn.cli.console import complain, quiet
from pretrained_cnn.cli.files import FileOptions, file_arguments, refuse_file_arguments
from pretrained_cnn.cli.images import ImageOptions, image_policy
from pretrained_cnn.cli.options import Count, argument, flag, option
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.foreign.files import ModelFile
from pretrained_cnn.foreign.labels import NUMBERS
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.registry import get_spec
from pretrained_cnn.runtimes import Precision
from pretrained_cnn.spec import ModelSpec

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier

OUTPUT, SPEED = "output", "speed"

FOLLOW_LINKS = "Accept a bundle whose files are links out of its folder, as a Hugging Face snapshot has them."
RUNTIME = "Runtime that executes the network; `pretrained-cnn runtimes` lists them"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(ImageOptions, FileOptions):
    """Which classifier is meant; `load_classifier` reads it."""

    model: str = option(
        "Name that `pretrained-cnn models` lists, folder of a bundle, model file, or module:attribute of a ModelSpec.",
        default="Xception",
        short="-m",
        group="model",
    )
    weights: str | None = option(
        '"imagenet", or path of a weights file (default: imagenet, or the bundle\'s own).', group="model"
    )
    runtime: str | None = option(
        f'{RUNTIME}, or "auto" for the fastest (default: keras, or the one that the bundle is made for).',
        group="model",
    )
    threads: Count | None = option(
        "Threads that the runtime computes with (default: the cores that the process may use).", group="model"
    )
    precision: Precision | Literal["auto"] = option(
        'What the runtime computes in, or "auto" for the fastest; `pretrained-cnn runtimes --precisions` lists what '
        "this machine has.",
        default="float32",
        choices=("float32", "bfloat16", "float16", "auto"),
        group="model",
    )
    follow_links: bool = flag(FOLLOW_LINKS, group="model")


LABELED = (
    "Folder with a folder of images for each class, zip or tar archive of one, or CSV or TSV file with the columns "
    "path and label"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """The columns of a table of labeled images."""

    path_column: str | None = option(
        "Column of a CSV file with the paths (default: path, filename, file or image).", metavar="NAME"
    )
    label_column: str | None = option(
        "Column of a CSV file with the classes (default: label, class, target or category).", metavar="NAME"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamOptions(ModelOptions):
    """Which images go through the network, how fast, and how a file of results is continued."""

    source: tuple[str, ...] = argument(
        "Image, http(s) address, folder, glob, tar or zip archive, .txt file with a path or an address in each line, "
        "or - for the same from stdin.",
        metavar="SOURCE",
        nargs="+",
    )
    output: str | None
    resume: bool = flag("Continue FILE where it ends, if it exists.", group=OUTPUT, exclusive="existing")
    overwrite: bool = flag("Replace FILE if it exists.", group=OUTPUT, exclusive="existing")
    retry_failed: bool = flag("With --resume, try the images again that failed; each keeps its place.", group=OUTPUT)
    batch_size: Count | None = option("Number of images in a batch (default: 16).", group=SPEED)
    workers: Count | None = option(
        "Number of threads that decode images (default: one per core, at most 16).", group=SPEED
    )


def load_classifier(options: ModelOptions, *, need_labels: bool = True) -> Classifier:
    """The classifier that the options mean. The network is built, or loaded, when it is first used."""
    from pretrained_cnn.bundle.store import format_of
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.runtimes import runtime_for

    model = find_model(options.model)
    if isinstance(model, ModelFile):
        from pretrained_cnn.engine import open_model

        if options.weights is not None:
            raise InvalidArgumentError(f"--weights {options.weights}: the file {options.model} has weights of its own")
        with quiet():
            return Classifier(
                open_model(
                    model.path,
                    runtime=options.runtime,
                    precision=options.precision,
                    image_policy=image_policy(options),
                    threads=_threads(options.runtime or "keras", options.threads),
                    options={**({} if need_labels else {"labels": NUMBERS}), **file_arguments(options)},
                )
            )
    refuse_file_arguments(options)
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


def find_model(name: str) -> ModelSpec | Path | ModelFile:
    """The spec of that name, the bundle, the model file, or the spec that a module of the user's holds."""
    from pretrained_cnn import models

    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", name) and not is_path(name):  # "c:lite" may be on a drive
        return models.find_reference(name)
    return models.find_model(name)


def find_spec(name: str) -> ModelSpec:
    """The spec of that name, or the one that a module of the user's holds. Raises InvalidArgumentError for a bundle."""
    found = find_model(name)
    if not isinstance(found, ModelSpec):
        what = "a model file" if isinstance(found, ModelFile) else "a bundle"
        raise InvalidArgumentError(f"{name} is {what}; expected the name of a backbone")
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
