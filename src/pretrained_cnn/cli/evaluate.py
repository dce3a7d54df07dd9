"""``pretrained-cnn evaluate``: how often a classifier is right, and where it is wrong."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pretrained_cnn.cli.shared import FAILED, OK, add_model_options, complain, load_classifier, log_to_stderr, quiet


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    evaluate = commands.add_parser("evaluate", help="measure how often a classifier is right")
    evaluate.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder with a folder for each class, or a CSV file with the columns path and label; "
        "for ImageNet's classes also a folder of images whose names have their WordNet id",
    )
    add_model_options(evaluate)
    evaluate.add_argument("--json", action="store_true", help="one JSON object")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    log_to_stderr()
    clf = load_classifier(options)
    with quiet():
        clf.predict_proba([])  # builds or loads the network
    result = clf.evaluate(options.source)
    for error in result.failed:
        complain(error)
    print(json.dumps(result.to_dict()) if options.json else result)
    return FAILED if result.failed else OK
