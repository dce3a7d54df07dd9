"""``pretrained-cnn train``: a folder of images to a classifier of its classes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

from pretrained_cnn.bundle.formats import list_formats
from pretrained_cnn.cli.console import kept, log_to_stderr, quiet, say
from pretrained_cnn.cli.options import Command, argument, count, flag, number, option
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status

TRAINING = "training"


def _layers(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``train`` takes."""

    data: str = argument(
        "DATA", help="Folder with a folder of images for each class, or CSV file with the columns path and label."
    )
    validation: str | None = option(
        "--validation",
        metavar="DATA",
        help="Images that choose the settings (default: a fifth of each class is set aside).",
    )
    output: str = option("-o", "--output", required=True, metavar="DIR", help="Folder of the new bundle.")
    format: str = option("--format", choices=list_formats(), default="keras", help="Format of the network.")
    head: Literal["linear", "mlp"] = option(
        "--head", group=TRAINING, choices=("linear", "mlp"), default="linear", help="Layers to train on the embeddings."
    )
    unfreeze: int | str = option(
        "--unfreeze",
        group=TRAINING,
        type=_layers,
        default=0,
        metavar="N",
        help="Fine-tune the last N layers, or the layers from the one named N on.",
    )
    augment: bool = flag("--augment", group=TRAINING, help="Change the images a little while layers are fine-tuned.")
    epochs: int | None = option(
        "--epochs",
        group=TRAINING,
        type=count,
        metavar="N",
        help="Maximum number of epochs for fine-tuning or the MLP head (default: 20, or 100 for the MLP head).",
    )
    learning_rate: float | None = option(
        "--learning-rate",
        group=TRAINING,
        type=number,
        metavar="RATE",
        help="Adam learning rate for fine-tuning or the MLP head (default: 1e-5, or 3e-4 for the MLP head).",
    )
    balanced: bool = flag(
        "--balanced", group=TRAINING, help="Give every class the same weight, however few its images."
    )
    seed: int = option("--seed", group=TRAINING, type=int, default=0, metavar="N", help="Random seed.")
    no_cache: bool = flag("--no-cache", group=TRAINING, help="Do not store embeddings on disk.")
    overwrite: bool = flag("--overwrite", help="Replace the bundle, if one exists.")
    json: bool = flag("--json", help="Print the report as one JSON object.")


def _run(options: Options) -> Status:
    log_to_stderr()
    from pretrained_cnn.bundle.store import check_free
    from pretrained_cnn.classifier import Classifier

    check_free(Path(options.output), overwrite=options.overwrite)  # before hours of training
    model = load_classifier(options)
    with quiet():
        import keras  # noqa: F401
    cached = "" if options.no_cache else "; embeddings of the images seen so far are cached"
    with kept(lambda: f"{options.output} was not written{cached}"):
        clf = Classifier.train(
            options.data,
            model,
            options.validation,
            head=options.head,
            epochs=options.epochs,
            unfreeze=options.unfreeze,
            augment="default" if options.augment else None,
            learning_rate=options.learning_rate,
            class_weight="balanced" if options.balanced else None,
            seed=options.seed,
            cache=not options.no_cache,
        )
    with quiet():
        clf.save(options.output, format=options.format, overwrite=options.overwrite)
    report = clf.report
    assert report is not None
    if options.json:
        say(json.dumps(report.to_dict()))
    else:
        accuracy = report.metrics["validation_accuracy"]
        say(f"{options.output}\t{len(report.classes)} classes\t{accuracy:.4f} of validation")
    return Status.OK


COMMAND = Command(
    "train",
    "Train a classifier of your own classes.",
    Options,
    _run,
    examples=("clothes/train --validation clothes/validation -m EfficientNetLite0 -o clothes.bundle",),
)
