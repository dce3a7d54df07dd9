"""``pretrained-cnn classify``: pictures to names and scores."""

from __future__ import annotations

import argparse
import itertools
import json
from typing import Any

from pretrained_cnn.cli.shared import (
    FAILED,
    OK,
    add_model_options,
    complain,
    count,
    load_classifier,
    log_to_stderr,
    quiet,
)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    classify = commands.add_parser("classify", help="name what is in pictures")
    classify.add_argument(
        "source", nargs="+", metavar="SOURCE", help="a picture, an http(s) address, a folder or a glob"
    )
    add_model_options(classify)
    classify.add_argument("--top", type=count, default=5, metavar="N", help="how many classes to name (default: 5)")
    classify.add_argument("--json", action="store_true", help="one JSON object a picture")
    classify.set_defaults(run=_classify)


def _classify(options: argparse.Namespace) -> int:
    log_to_stderr()
    from pretrained_cnn.images.sources import expand

    clf = load_classifier(options)
    sources = [expand(source) for source in options.source]
    with quiet():
        clf.predict_proba([])  # builds or loads the network
    code = OK
    for result in clf.stream(itertools.chain.from_iterable(sources), top=options.top):
        if result.error is not None:
            code = FAILED
            complain(result.error)
        if options.json:
            print(json.dumps(result.to_dict()), flush=True)
        else:
            for prediction in result:
                print(f"{result.source}\t{prediction.score:.4f}\t{prediction.label}\t{prediction.id}", flush=True)
    return code
