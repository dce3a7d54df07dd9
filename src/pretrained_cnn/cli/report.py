"""``pretrained-cnn report``: images to one page that shows them all."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

from pretrained_cnn._check import check_free
from pretrained_cnn.cli.console import complain, kept, log_to_stderr, quiet
from pretrained_cnn.cli.looking import check_labeled
from pretrained_cnn.cli.options import Command, Count, Share, argument, flag, option
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``report`` takes."""

    source: tuple[str, ...] = argument(
        "Images, as `classify` takes them; with --labeled one source, as `evaluate` takes it.",
        metavar="SOURCE",
        nargs="+",
    )
    output: str = option("Page to write, such as report.html.", short="-o", required=True, metavar="FILE")
    overwrite: bool = flag("Replace FILE if it exists.")
    labeled: bool = flag("The classes of the images are known: show what is right and wrong.")
    top: Count = option("Number of classes to name.", default=5)
    no_heat_maps: bool = flag("Leave out where the network looked, which takes more than half of the time.")
    min_score: Share | None = option("Mark images whose best score is below S as uncertain (default: mark none).")
    title: str | None = option("Title of the page (default: the name of the source).")


def _run(options: Options) -> Status:
    if options.labeled and len(options.source) > 1:
        raise InvalidArgumentError(f"--labeled takes one source, not {len(options.source)}")
    log_to_stderr()
    from pretrained_cnn.cli.progress import count_images, progress, summary
    from pretrained_cnn.report import write_report
    from pretrained_cnn.results.stream import Sources

    check_free(Path(options.output), overwrite=options.overwrite)  # before the network is built
    if options.labeled:
        check_labeled(options, options.source[0])
    clf = load_classifier(options)
    start = time.monotonic()
    csv = options.labeled and not os.path.isdir(options.source[0])  # their number is known only after reading it
    # The bar is Python's, and not held back.
    with (
        kept(lambda: f"{options.output} was not written"),
        quiet(),
        progress(lambda: None if csv else count_images(options.source), 0) as show,
    ):
        report = write_report(
            clf,
            options.source[0] if len(options.source) == 1 else Sources(options.source),
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
    complain(
        summary(
            options.output,
            report.images,
            len(report.failed),
            seconds,
            uncertain=None if options.min_score is None else report.uncertain,
            unknown=None if clf.calibration is None else report.unknown,
            skipped=sum(report.skipped.values()),
        )
    )
    if report.failed:
        more = len(report.failed) - 1
        complain(f"{report.failed[0]}{f'; {more:,} more under Errors in the page' if more else ''}")
    return Status.FAILED if report.failed else Status.OK


COMMAND = Command(
    "report",
    "Write a page that shows images and what was seen in them.",
    Options,
    _run,
    examples=("photos/ -o report.html", "clothes/test -m clothes.bundle --labeled -o report.html"),
)
