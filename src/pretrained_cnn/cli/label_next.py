"""``pretrained-cnn label-next``: which images to label next."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

from pretrained_cnn.cli.console import escaped, log_to_stderr, quiet, say
from pretrained_cnn.cli.looking import check_images
from pretrained_cnn.cli.options import Command, Count, argument, flag, option
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.results.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``label-next`` takes."""

    source: str = argument("Images without labels, as `classify` takes them.", metavar="SOURCE")
    count: Count = option("Number of images to name.", default=100, short="-n", metavar="N")
    json: bool = flag("Print one JSON object for each image.")


def _run(options: Options) -> Status:
    log_to_stderr()
    check_images(options.source)
    clf = load_classifier(options)
    with quiet():
        clf.predict_proba([])
    for result in clf.rank_unlabeled(options.source, n=options.count):
        say(json.dumps(result.to_dict()) if options.json else "\t".join(_cells(result)))
    return Status.OK


def _cells(result: Result) -> Iterator[str]:
    """The image, and its two best classes, each with its score."""
    yield escaped(result.source)
    for each in result:
        yield escaped(each.label)
        yield f"{each.score:.4f}"


COMMAND = Command(
    "label-next",
    "Name the images to label next: those that a classifier is unsure of.",
    Options,
    _run,
    examples=("photos/ -m clothes.bundle -n 100", "photos/ -m clothes.bundle | cut -f 1 > todo.txt"),
)
