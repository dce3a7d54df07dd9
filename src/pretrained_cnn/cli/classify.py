"""``pretrained-cnn classify``: pictures to names and scores."""

from __future__ import annotations

import argparse
import itertools
import json
from typing import Any

from pretrained_cnn.cli.shared import (
    FAILED,
    OK,
    add_model,
    complain,
    count,
    find_model,
    import_keras_quietly,
    log_to_stderr,
)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    classify = commands.add_parser("classify", help="name what is in pictures")
    classify.add_argument(
        "source", nargs="+", metavar="SOURCE", help="a picture, an http(s) address, a folder or a glob"
    )
    add_model(classify)
    classify.add_argument("--top", type=count, default=5, metavar="N", help="how many classes to name (default: 5)")
    classify.add_argument("--json", action="store_true", help="one JSON object a picture")
    classify.set_defaults(run=_classify)


def _classify(options: argparse.Namespace) -> int:
    log_to_stderr()
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.images.sources import expand

    clf = Classifier(find_model(options.model), weights=options.weights)
    sources = [expand(source) for source in options.source]
    import_keras_quietly()
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
