"""``pretrained-cnn report``: images to one page that shows them all."""

from __future__ import annotations

import argparse
import os
import time
from itertools import chain
from pathlib import Path
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
    share,
)
from pretrained_cnn.errors import InvalidArgumentError


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    report = commands.add_parser("report", help="write a page that shows images and what was seen in them")
    report.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="as for classify; with --labeled one source, as for evaluate",
    )
    add_model_options(report)
    report.add_argument("-o", "--output", required=True, metavar="FILE", help="the page, such as report.html")
    report.add_argument("--overwrite", action="store_true", help="replace FILE, if it is there")
    report.add_argument(
        "--labeled", action="store_true", help="the classes of the images are known: show what is right and wrong"
    )
    report.add_argument("--top", type=count, default=5, metavar="N", help="how many classes to name (default: 5)")
    report.add_argument(
        "--no-heat-maps",
        action="store_true",
        help="do not show where the network looked, which takes more than half of the time",
    )
    report.add_argument(
        "--min-score", type=share, metavar="S", help="mark images whose best score is below S as uncertain"
    )
    report.add_argument("--title", help="the page's title (default: the source's name)")
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    if options.labeled and len(options.source) > 1:
        raise InvalidArgumentError(f"--labeled takes one source, not {len(options.source)}")
    log_to_stderr()
    from pretrained_cnn.cli.progress import count_images, progress, summary
    from pretrained_cnn.images.sources import expand
    from pretrained_cnn.report import write_report
    from pretrained_cnn.report.page import check_path

    check_path(Path(options.output), options.overwrite)  # before the network is built
    clf = load_classifier(options)
    start = time.monotonic()
    csv = options.labeled and not os.path.isdir(options.source[0])  # only reading it tells how many there are
    # The bar is Python's, and not held back.
    with quiet(), progress(lambda: None if csv else count_images(options.source), 0) as show:
        report = write_report(
            clf,
            options.source[0] if len(options.source) == 1 else chain.from_iterable(map(expand, options.source)),
            options.output,
            top=options.top,
            labeled=options.labeled,
            heat_maps=None if options.no_heat_maps else "grad_cam",
            min_score=options.min_score,
            title=options.title,
            overwrite=options.overwrite,
            progress=show,
        )
    seconds = time.monotonic() - start
    uncertain = None if options.min_score is None else report.uncertain
    complain(summary(options.output, report.images, len(report.failed), uncertain, seconds))
    if report.failed:
        more = len(report.failed) - 1
        complain(f"{report.failed[0]}{f'; {more:,} more under Errors in the page' if more else ''}")
    return FAILED if report.failed else OK
