"""``pretrained-cnn train``: a folder of images to a classifier of its classes."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pretrained_cnn.bundle.formats import get_format, list_formats
from pretrained_cnn.cli.console import escaped, kept, log_to_stderr, quiet, say
from pretrained_cnn.cli.looking import check_exists
from pretrained_cnn.cli.options import Command, Count, Number, Share, argument, count, flag, option
from pretrained_cnn.cli.progress import stages
from pretrained_cnn.cli.shared import LABELED, ColumnOptions, ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pretrained_cnn import MLP

TRAINING = "training"

NAMES = 20
"""The number of class names that are printed."""


def _widths(text: str) -> tuple[int, ...]:
    """The widths of hidden layers, as the type of an option."""
    return tuple(count(width.strip()) for width in text.split(","))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions, ColumnOptions):
    """What ``train`` takes."""

    data: str = argument(f"{LABELED}; or a folder with the folders train, validation and test.", metavar="DATA")
    validation: str | None = option(
        "Images for choosing the settings, or the share of each class to set aside for that, such as 0.2 (default: "
        "cross-validation for the linear head, which is then fitted on all images; else a fifth).",
        metavar="DATA",
    )
    groups: str | None = option(
        "Column of a CSV file that names what each image shows: images of one thing stay on one side of every split "
        "(default: each image shows another thing).",
        metavar="COLUMN",
    )
    output: str = option("Folder of the new bundle.", short="-o", required=True, metavar="DIR")
    format: str | None = option(
        "Format of the network (default: that of a bundle given as --model, else keras).", choices=list_formats()
    )
    head: Literal["linear", "mlp"] = option("Layers to train on the embeddings.", default="linear", group=TRAINING)
    hidden: tuple[int, ...] | None = option(
        "Widths of the hidden layers of the MLP head, between commas (default: 256).",
        group=TRAINING,
        type=_widths,
        metavar="N,N",
    )
    dropout: Share | None = option(
        "Share of the outputs of each hidden layer that a training step of the MLP head drops (default: 0.5).",
        group=TRAINING,
    )
    unfreeze: int | str = option(
        "Fine-tune the last N layers, or the layers from the one named N on.",
        default=0,
        group=TRAINING,
        type=lambda text: int(text) if text.isdecimal() else text,
        metavar="N",
    )
    augment: bool = flag(
        "Also train on changed images: --copies of each, or with --unfreeze other ones in each epoch.",
        group=TRAINING,
    )
    copies: Count | None = option(
        "Number of changed copies of each image with --augment and without --unfreeze (default: 4).",
        group=TRAINING,
    )
    epochs: Count | None = option(
        "Maximum number of epochs for fine-tuning or the MLP head (default: 20, or 100 for the MLP head).",
        group=TRAINING,
    )
    patience: Count | None = option(
        "Number of epochs without a lower log loss on validation after which fine-tuning or the training of the MLP "
        "head ends (default: 5).",
        group=TRAINING,
    )
    batch_size: Count | None = option(
        "Images in a training step of fine-tuning or of the MLP head (default: 16, or 32 for the MLP head).",
        group=TRAINING,
    )
    optimizer: str | None = option(
        "Name of the Keras optimizer for fine-tuning or the MLP head (default: adam).", group=TRAINING, metavar="NAME"
    )
    learning_rate: Number | None = option(
        "Learning rate for fine-tuning or the MLP head (default: 1e-5, or 3e-4 for the MLP head; with --optimizer, "
        "that of the optimizer).",
        group=TRAINING,
        metavar="RATE",
    )
    label_smoothing: Share | None = option(
        "Share of each label that fine-tuning or the training of the MLP head spreads over all classes (default: 0).",
        group=TRAINING,
    )
    multi_label: bool = flag("An image may have several labels: the column label holds a,b.", group=TRAINING)
    balanced: bool = flag("Give every class the same weight, however few its images.", group=TRAINING)
    seed: int = option("Random seed.", default=0, group=TRAINING, type=int, metavar="N")
    no_cache: bool = flag("Do not store embeddings on disk.", group=TRAINING)
    overwrite: bool = flag("Replace the bundle, if one exists.")
    json: bool = flag("Print the report as one JSON object.")


def _run(options: Options) -> Status:
    log_to_stderr()
    from pretrained_cnn.bundle.store import check_free
    from pretrained_cnn.classifier import Classifier

    head = _head(options)
    check_free(Path(options.output), overwrite=options.overwrite)  # before hours of training
    check_exists(options.data)
    # What --multi-label says of a model file does not matter here, since its own classes do not.
    model = load_classifier(dataclasses.replace(options, multi_label=False), need_labels=False)
    if options.format is not None:
        get_format(options.format).require()
    if model.engine.graph is None:
        with quiet():
            import keras  # noqa: F401 - what it prints when it is imported is kept quiet
    cached = "" if options.no_cache else "; embeddings of the images seen so far are cached"
    with kept(lambda: f"{options.output} was not written{cached}"), stages() as progress:
        clf = Classifier.train(
            options.data,
            model,
            _share_or_data(options.validation),
            groups=options.groups,
            path_column=options.path_column,
            label_column=options.label_column,
            head=head,
            epochs=options.epochs,
            patience=options.patience,
            batch_size=options.batch_size,
            optimizer=options.optimizer,
            label_smoothing=options.label_smoothing,
            copies=options.copies,
            unfreeze=options.unfreeze,
            augment="default" if options.augment else None,
            learning_rate=options.learning_rate,
            multi_label=options.multi_label,
            class_weight="balanced" if options.balanced else None,
            seed=options.seed,
            cache=not options.no_cache,
            progress=progress,
        )
    with quiet():
        clf.save(options.output, format=options.format, overwrite=options.overwrite)
    report = clf.report
    assert report is not None
    if options.json:
        say(json.dumps(report.to_dict()))
    else:
        if options.multi_label:
            precision = report.metrics["validation_mean_average_precision"]
            found = f"{len(report.classes)} labels\t{precision:.4f} mean average precision on validation"
        else:
            found = f"{len(report.classes)} classes\t{report.metrics['validation_accuracy']:.4f} of validation"
        names = ", ".join(map(escaped, report.classes[:NAMES]))
        more = f" and {len(report.classes) - NAMES:,} more" if len(report.classes) > NAMES else ""
        say(f"{options.output}\t{found}\t{names}{more}")
    return Status.OK


def _head(options: Options) -> MLP | Literal["linear", "mlp"]:
    """The head that the options describe. Raises InvalidArgumentError for options of an MLP without one."""
    given = {name: value for name in ("hidden", "dropout") if (value := getattr(options, name)) is not None}
    if not given:
        return options.head
    if options.head != "mlp":
        raise InvalidArgumentError(f"--{next(iter(given))} needs --head mlp: the linear head has no hidden layers")
    from pretrained_cnn import MLP

    return MLP(**given)


def _share_or_data(validation: str | None) -> str | float | None:
    """A number, unless there is a file or a folder of this name."""
    if validation is None or os.path.exists(validation):
        return validation
    try:
        return float(validation)
    except ValueError:
        return validation


COMMAND = Command(
    "train",
    "Train a classifier of your own classes.",
    Options,
    _run,
    examples=(
        "clothes/train --validation clothes/validation -m EfficientNetLite0 -o clothes.bundle",
        "clothes.csv --validation 0.2 -m MobileNet --unfreeze 20 -o clothes.bundle",
    ),
)
