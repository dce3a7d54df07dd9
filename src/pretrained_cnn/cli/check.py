"""``pretrained-cnn check``: whether a bundle is intact, or what a model file is and what has to be told of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pretrained_cnn.cli.console import complain, log_to_stderr, quiet, say
from pretrained_cnn.cli.export import describe
from pretrained_cnn.cli.files import FileOptions, refuse_file_arguments
from pretrained_cnn.cli.options import Command, argument, flag, option
from pretrained_cnn.cli.shared import FOLLOW_LINKS, RUNTIME
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.runtimes import get_runtime


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(FileOptions):
    """What ``check`` takes."""

    path: str = argument("Model file, or folder of a bundle.", metavar="FILE")
    images: tuple[str, ...] = argument(
        "For a model file: image, folder or glob. Prints the best class of each image under each preset.",
        metavar="IMAGE",
        nargs="*",
        default=(),
    )
    runtime: str | None = option(f"{RUNTIME} (default: the one that the bundle or the model file is made for).")
    follow_links: bool = flag(FOLLOW_LINKS)


def _run(options: Options) -> Status:
    log_to_stderr()
    from pretrained_cnn.foreign.files import ModelFile
    from pretrained_cnn.models import find_model

    found = find_model(Path(options.path))
    if not isinstance(found, ModelFile):
        return _check_bundle(options)
    from pretrained_cnn.cli.file_check import check_file

    return check_file(found, options, options.images, options.runtime)


def _check_bundle(options: Options) -> Status:
    from pretrained_cnn.bundle.store import agrees, open_bundle, verify

    if options.images:
        raise InvalidArgumentError(
            f"{options.images[0]!r}: images are for a model file that does not say which pixel values it takes; "
            f"classify them with `pretrained-cnn classify {options.images[0]} --model {options.path}`"
        )
    refuse_file_arguments(options, options.path)
    bundle = open_bundle(Path(options.path), follow_links=options.follow_links)
    with quiet():
        runtime = bundle.open(None if options.runtime is None else get_runtime(options.runtime))
        found = verify(bundle, runtime)
    say(f"{options.path}\t{describe(found)}")
    if agrees(found, bundle.manifest):
        return Status.OK
    complain(f"{options.path} is intact, but does not answer here as it did where it was made")
    return Status.CHECK


COMMAND = Command(
    "check",
    "Check that a bundle is intact, or say what a model file is and what has to be told of it.",
    Options,
    _run,
    examples=("lite.bundle", "keras_model.h5", "keras_model.h5 lemon.jpg lime.jpg"),
)
