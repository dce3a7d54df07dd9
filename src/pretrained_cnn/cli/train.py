"""``pretrained-cnn train``: a folder of images to a classifier of its classes."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from pretrained_cnn.bundle.formats import list_formats
from pretrained_cnn.cli.shared import OK, add_model_options, count, load_classifier, log_to_stderr, quiet
from pretrained_cnn.errors import BundleError


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    train = commands.add_parser("train", help="make a classifier of your own classes")
    train.add_argument(
        "data",
        metavar="DATA",
        help="a folder with a folder of images for each class, or a CSV file with the columns path and label",
    )
    train.add_argument(
        "--validation",
        metavar="DATA",
        help="images that choose the settings; by default a fifth of each class is set aside",
    )
    add_model_options(train)
    train.add_argument("--output", required=True, metavar="DIR", help="the bundle's folder")
    train.add_argument("--format", choices=list_formats(), default="keras", help="default: %(default)s")
    train.add_argument("--head", choices=("linear", "mlp"), default="linear", help="default: %(default)s")
    train.add_argument(
        "--unfreeze",
        type=_layers,
        default=0,
        metavar="N",
        help="train the last N layers too, or from the one named N on",
    )
    train.add_argument("--augment", action="store_true", help="change the images a little while layers are trained")
    train.add_argument("--epochs", type=count, metavar="N", help="at most, to train layers, or an mlp head")
    train.add_argument("--learning-rate", type=float, metavar="RATE", help="of the same")
    train.add_argument("--balanced", action="store_true", help="let all classes count the same")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    train.add_argument("--no-cache", action="store_true", help="keep no embeddings on disk")
    train.add_argument("--overwrite", action="store_true", help="replace the bundle, if one exists already")
    train.add_argument("--json", action="store_true", help="print the report as one JSON object")
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    log_to_stderr()
    from pretrained_cnn.classifier import Classifier

    if os.path.lexists(options.output) and not options.overwrite:
        raise BundleError(f"{options.output} already exists; choose another name, or pass --overwrite")
    model = load_classifier(options)
    with quiet():
        import keras  # noqa: F401
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
        print(json.dumps(report.to_dict()))
    else:
        accuracy = report.metrics["validation_accuracy"]
        print(f"{options.output}\t{len(report.classes)} classes\t{accuracy:.4f} of validation")
    return OK


def _layers(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
