"""``pretrained-cnn evaluate``: how often a classifier is right, and where it is wrong."""

from __future__ import annotations

import dataclasses
import json

from pretrained_cnn.cli.console import complain, log_to_stderr, quiet, say
from pretrained_cnn.cli.looking import check_labeled
from pretrained_cnn.cli.options import Command, argument, flag
from pretrained_cnn.cli.progress import stages
from pretrained_cnn.cli.shared import LABELED, ColumnOptions, ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.images.tables import Columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions, ColumnOptions):
    """What ``evaluate`` takes."""

    source: str = argument(
        f"{LABELED}; for ImageNet's classes also a folder of images whose names contain their WordNet id.",
        metavar="SOURCE",
    )
    json: bool = flag("Print one JSON object.")


def _run(options: Options) -> Status:
    log_to_stderr()
    check_labeled(options, options.source, Columns(options.path_column, options.label_column))
    clf = load_classifier(options)
    with quiet():
        clf.predict_proba([])  # builds or loads the network
    with stages() as progress:
        result = clf.evaluate(
            options.source,
            path_column=options.path_column,
            label_column=options.label_column,
            progress=progress,
        )
    for error in result.failed:
        complain(error)
    say(json.dumps(result.to_dict()) if options.json else result)
    return Status.FAILED if result.failed else Status.OK


COMMAND = Command(
    "evaluate",
    "Measure how often a classifier is right.",
    Options,
    _run,
    examples=("clothes/test -m clothes.bundle", "clothes.csv -m clothes.bundle --label-column kind --json"),
)
