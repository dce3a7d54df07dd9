"""``pretrained-cnn audit``: what is wrong with labeled images, before training."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from pretrained_cnn._check import check_free
from pretrained_cnn.cli.console import complain, log_to_stderr, quiet, say
from pretrained_cnn.cli.looking import check_exists
from pretrained_cnn.cli.options import Command, argument, flag, option
from pretrained_cnn.cli.shared import ColumnOptions, ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions, ColumnOptions):
    """What ``audit`` takes."""

    source: str = argument("Labeled images, as `train` takes them.", metavar="SOURCE")
    against: str | None = option(
        "Labeled images to evaluate with, none of which may be in SOURCE (default: none, or the other parts of SOURCE "
        "if that has a folder train).",
        metavar="DATA",
    )
    output: str | None = option(
        "Page to write, such as audit.html, or, with a name that ends in .csv, the images without the marked ones, to "
        "train with (default: write neither).",
        short="-o",
        metavar="FILE",
    )
    overwrite: bool = flag("Replace FILE if it exists.")
    json: bool = flag("Print one JSON object.")


def _run(options: Options) -> Status:
    output = None if options.output is None else Path(options.output)
    if output is not None:  # before the network is built
        if output.suffix.lower() not in (".csv", ".html"):
            raise InvalidArgumentError(f"--output {output}: expected a name that ends in .html or .csv")
        check_free(output, overwrite=options.overwrite)
    log_to_stderr()
    from pretrained_cnn.trust import audit

    for source in filter(None, (options.source, options.against)):
        check_exists(source)
    clf = load_classifier(options, need_labels=False)
    with quiet(), contextlib.suppress(ImportError):  # a bundle may need no Keras
        import keras  # noqa: F401 - what it prints when it is imported is kept quiet
    result = audit(
        options.source,
        clf,
        options.against,
        path_column=options.path_column,
        label_column=options.label_column,
    )
    say(json.dumps(result.to_dict()) if options.json else result)
    if output is not None and output.suffix.lower() == ".html":
        result.write_html(output, overwrite=options.overwrite)
        complain(f"{output}: {len(result.findings):,} findings")
    elif output is not None:
        count = result.write_csv(output, overwrite=options.overwrite)
        complain(f"{output}: {count:,} of {len(result.sources):,} images")
    return Status.OK


COMMAND = Command(
    "audit",
    "Look for wrong labels, copies, leaks and bad files among labeled images.",
    Options,
    _run,
    examples=("clothes/train --against clothes/test -o audit.html", "clothes/train -m clothes.bundle -o clean.csv"),
)
