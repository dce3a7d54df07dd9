"""``pretrained-cnn choose``: which backbone to take for images of your own."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
from pathlib import Path

from pretrained_cnn.bundle.formats import list_formats
from pretrained_cnn.cli.bench import check_plot, save_plot
from pretrained_cnn.cli.console import complain, kept, log_to_stderr, quiet, say
from pretrained_cnn.cli.images import ImageOptions, image_policy
from pretrained_cnn.cli.looking import check_exists
from pretrained_cnn.cli.options import Command, Count, argument, flag, option
from pretrained_cnn.cli.shared import RUNTIME, ColumnOptions, find_model
from pretrained_cnn.cli.status import Status
from pretrained_cnn.registry import list_models
from pretrained_cnn.spec import ModelSpec


def milliseconds(text: str) -> float:
    """A time such as ``20ms`` or ``0.5s``, as the type of an option."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(ms|s|)", text.strip())
    value = float(found[1]) * (1000 if found[2] == "s" else 1) if found else 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected one such as 20ms or 0.5s")
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ImageOptions, ColumnOptions):
    """What ``choose`` takes."""

    data: str = argument("Images with classes, as `train` takes them: at least three a class.", metavar="DATA")
    budget: float | None = option(
        "Longest time for one image, such as 20ms or 0.5s (default: no limit).", type=milliseconds, metavar="TIME"
    )
    model: tuple[str, ...] = option(
        "Candidate: name or pattern of a backbone, bundle, or model file; may be repeated (default: all backbones "
        "whose weights are on this machine).",
        default=(),
        short="-m",
        action="append",
        metavar="NAME",
    )
    runtime: str | None = option(
        f'{RUNTIME}, or "auto" for the fastest of each candidate (default: keras, or what a bundle is made for).'
    )
    download: bool = flag("Download weights that are not on this machine; without --model, of ten small backbones.")
    rounds: Count = option("Number of images that each candidate is timed with.", default=15)
    seed: int = option("Seed of the parts for cross-validation.", default=0, type=int, metavar="N")
    output: str | None = option(
        "Folder of a bundle with the chosen backbone, trained on all images (default: none is written).",
        short="-o",
        metavar="DIR",
    )
    format: str | None = option(
        "Format of the network in the bundle (default: that of a chosen bundle, else keras).", choices=list_formats()
    )
    plot: str | None = option(
        "Draw accuracy against time to FILE, such as choice.png (default: no drawing).", metavar="FILE"
    )
    overwrite: bool = flag("Replace the bundle and the drawing if they exist.")
    json: bool = flag("Print one JSON object.")


def _run(options: Options) -> Status:
    log_to_stderr()
    from pretrained_cnn.bundle.store import check_free
    from pretrained_cnn.selection import choose

    if options.plot is not None:  # before the work
        check_plot(Path(options.plot), options.overwrite)
    if options.output is not None:
        check_free(Path(options.output), overwrite=options.overwrite)
    check_exists(options.data)
    names = [name for pattern in options.model for name in list_models(pattern) or [pattern]]
    with quiet(), contextlib.suppress(ImportError):  # candidates that need it say so
        import keras  # noqa: F401 - what it prints when it is imported is kept quiet
    with kept(lambda: "embeddings of the images seen so far are cached"):
        choice = choose(
            options.data,
            [_model(name) for name in dict.fromkeys(names)] or None,
            budget_ms=options.budget,
            path_column=options.path_column,
            label_column=options.label_column,
            runtime=options.runtime,
            download=options.download,
            image_policy=image_policy(options),
            rounds=options.rounds,
            seed=options.seed,
        )
    say(json.dumps(choice.to_dict()) if options.json else choice)
    if options.plot is not None:
        save_plot(choice.plot(), Path(options.plot))
    if options.output is not None:
        with quiet():
            choice.classifier.save(options.output, format=options.format, overwrite=options.overwrite)
        complain(f"{options.output} is written")
    return Status.FAILED if choice.failed else Status.OK


def _model(name: str) -> str | ModelSpec:
    """The spec that a module of the user's holds, or the name as it is."""
    found = find_model(name)
    return found if isinstance(found, ModelSpec) else name


COMMAND = Command(
    "choose",
    "Choose the backbone that is most often right about your images, within a time budget.",
    Options,
    _run,
    examples=(
        "clothes/train --budget 20ms --runtime auto --output clothes.bundle",
        "clothes/train -m MobileNetV2 -m 'EfficientNetB[0-2]' --download --plot choice.png",
    ),
)
