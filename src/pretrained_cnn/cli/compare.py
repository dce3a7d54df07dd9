"""``pretrained-cnn compare``: whether one classifier is better than another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pretrained_cnn._check import check_free
from pretrained_cnn._progress import showing
from pretrained_cnn.cli.console import complain, log_to_stderr, quiet, say
from pretrained_cnn.cli.images import ImageOptions
from pretrained_cnn.cli.looking import check_labeled
from pretrained_cnn.cli.options import Command, argument, flag, option
from pretrained_cnn.cli.progress import stages
from pretrained_cnn.cli.shared import FOLLOW_LINKS, RUNTIME, ColumnOptions, ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.images.tables import Columns

if TYPE_CHECKING:
    from pretrained_cnn.engine import Engine

COMPETITOR = "Bundle, name of a backbone, or file of results that `classify --output` wrote for the images of SOURCE."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ImageOptions, ColumnOptions):
    """What ``compare`` takes."""

    a: str = argument(COMPETITOR, metavar="A")
    b: str = argument("The same, to be judged against A.", metavar="B")
    source: str = argument("Labeled images, as `evaluate` takes them.", metavar="SOURCE")
    runtime: str | None = option(f"{RUNTIME} (default: keras, or the one that each bundle is made for).", group="model")
    follow_links: bool = flag(FOLLOW_LINKS, group="model")
    fail_if_worse: bool = flag("Exit with 3 if B is worse than A and chance does not explain it (p < 0.05).")
    json: bool = flag("Print one JSON object.")
    output: str | None = option(
        "Page to write, such as compare.html, with the images that only one classifies correctly (default: none).",
        short="-o",
        metavar="FILE",
    )
    overwrite: bool = flag("Replace FILE if it exists.")


def _run(options: Options) -> Status:
    log_to_stderr()
    from pretrained_cnn.trust import compare, is_results_file

    if options.output is not None:
        check_free(Path(options.output), overwrite=options.overwrite)  # before the work
    columns = Columns(options.path_column, options.label_column)
    for name in (options.a, options.b):
        if not is_results_file(name):
            check_labeled(_model(name, options), options.source, columns)
    a, b = (_competitor(name, options) for name in (options.a, options.b))
    with stages() as progress, showing(progress):
        result = compare(a, b, options.source, columns=columns, names=_names(options.a, options.b))
    for error in result.failed:
        complain(error)
    say(json.dumps(result.to_dict()) if options.json else result)
    if options.output is not None:
        result.write_html(options.output, overwrite=options.overwrite)
        complain(f"{options.output} is written")
    if options.fail_if_worse and result.verdict == "worse":
        return Status.CHECK
    return Status.FAILED if result.failed else Status.OK


def _competitor(name: str, options: Options) -> Engine | Path:
    """The network, built or loaded, or the file of results."""
    from pretrained_cnn.trust import is_results_file

    if is_results_file(name):
        return Path(name)
    classifier = load_classifier(_model(name, options))
    with quiet():
        classifier.predict_proba([])
    return classifier.engine


def _model(name: str, options: Options) -> ModelOptions:
    shared = {field.name: getattr(options, field.name) for field in dataclasses.fields(ImageOptions)}
    return ModelOptions(model=name, runtime=options.runtime, follow_links=options.follow_links, **shared)


def _names(a: str, b: str) -> tuple[str, str]:
    """What the output calls the two: their own names if these differ, else A and B."""
    names = (Path(a).name or a, Path(b).name or b)
    return names if names[0] != names[1] else ("A", "B")


COMMAND = Command(
    "compare",
    "Tell whether one classifier is better than another on the same images.",
    Options,
    _run,
    examples=(
        "old.bundle new.bundle clothes/test --fail-if-worse",
        "old.csv new.csv clothes/test -o compare.html",
    ),
)
