"""``pretrained-cnn classify``: images to names and scores."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pretrained_cnn.cli.classify_options import Options
from pretrained_cnn.cli.console import complain, escaped, log_to_stderr, say
from pretrained_cnn.cli.options import Command
from pretrained_cnn.cli.shared import load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import ImageError, InvalidArgumentError
from pretrained_cnn.labels import Label
from pretrained_cnn.scores import one_class_only

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.results.file import ResultsFile
    from pretrained_cnn.results.result import Result
    from pretrained_cnn.results.sorting import Sorter
    from pretrained_cnn.results.stream import ResultStream


def _run(options: Options) -> int:
    _check(options)
    log_to_stderr()
    from pretrained_cnn.results.stream import Sources

    clf = load_classifier(options)
    if options.unknown_to and clf.calibration is None:
        raise InvalidArgumentError(
            f"--unknown-to needs a calibrated bundle, and {options.model} is not calibrated; write one with "
            "`pretrained-cnn calibrate`"
        )
    sorter = _sorter(options, clf.spec.labels)
    if sorter is not None and clf.spec.multi_label:
        one_class_only("sorting images into a folder for each class")
    if options.on:
        from pretrained_cnn.cli.on_ray import run

        return run(clf, options)
    sources = Sources(options.source, without=options.copy_to or options.link_to)
    stream = clf.stream(
        sources,
        top=options.named,
        min_score=options.min_score,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    if options.output is None:
        status = _to_stdout(clf, stream, sorter, options)
    else:
        from pretrained_cnn.cli.writing import write

        status = write(
            options,
            stream,
            lambda: clf.predict_proba([]),
            min_score=options.min_score,
            calibrated=clf.calibration is not None,
            opened=lambda file: _sort_existing(sorter, file),
            before=lambda result: _sort(sorter, result),
        )
    if stream.search.left_out:
        complain(f"{stream.search.left_out:,} images in {sources.without} were left out")
    return Status.FAILED if sorter is not None and sorter.left_out else status


def _to_stdout(clf: Classifier, stream: ResultStream[Result], sorter: Sorter | None, options: Options) -> Status:
    from pretrained_cnn.cli import printing
    from pretrained_cnn.cli.writing import build

    build(lambda: clf.predict_proba([]), stream)
    status = Status.OK
    lines = printing.as_json if options.json else printing.as_block if sys.stdout.isatty() else printing.as_rows
    with contextlib.closing(stream):
        for result in stream:
            _sort(sorter, result)
            if result.error is not None:
                status = Status.FAILED
                complain(result.error)
            elif result.status != "ok" and lines is not printing.as_block:
                reason = (
                    "it looks like none of the classes"
                    if result.status == "unknown"
                    else f"its best score {result.score:.4f} is below {options.min_score:g}"
                )
                complain(f"{escaped(result.source)}: {result.status}: {reason}")
            for line in lines(result):
                say(line)
    return status


def _sort(sorter: Sorter | None, result: Result) -> None:
    if sorter is not None and result.predictions:
        try:
            sorter.put(result)
        except ImageError as error:
            complain(error)


def _sort_existing(sorter: Sorter | None, file: ResultsFile) -> None:
    """Sort the images that have their rows from before; those that are sorted already stay as they are."""
    if sorter is None or not file.before:
        return
    for result in file.results():
        if result.predictions:
            with contextlib.suppress(ImageError):
                sorter.put(result)
    if sorter.left_out:
        complain(
            f"{sorter.left_out:,} images that had their rows before could not be sorted: they are no files on disk"
        )
        sorter.left_out = 0


def _check(options: Options) -> None:
    if options.output and options.json:
        raise InvalidArgumentError(
            "--json is for stdout; with --output the name of the file says the format, such as .jsonl"
        )
    if options.on and not options.output:
        raise InvalidArgumentError(
            "--on ray needs --output DIR.csv, DIR.jsonl or DIR.parquet, a folder of files of rows"
        )
    needs = {"resume": "output", "overwrite": "output", "retry_failed": "resume", "address": "on", "shard": "on"}
    means = {"output": "--output FILE", "resume": "--resume", "on": "--on ray"}
    for name, other in needs.items():
        if getattr(options, name) and not getattr(options, other):
            raise InvalidArgumentError(f"--{name.replace('_', '-')} needs {means[other]}")
    sorting = [name for name in ("copy_to", "link_to", "unknown_to") if getattr(options, name)]
    if options.on and sorting:
        name = sorting[0].replace("_", "-")
        raise InvalidArgumentError(f"--{name} does not go with --on ray; sort by the rows, when they are there")


def _sorter(options: Options, labels: Sequence[Label]) -> Sorter | None:
    folder, unknown = options.copy_to or options.link_to, options.unknown_to
    if not (folder or unknown):
        return None
    for target in filter(None, (folder, unknown)):
        if os.path.isfile(target):
            raise InvalidArgumentError(f"{target}: this is a file; give the name of a folder to sort the images into")
        _check_outside(target, options.source)
    from pretrained_cnn.results.sorting import Sorter

    return Sorter(folder, link=bool(options.link_to), labels=labels, unknown=unknown)


def _check_outside(folder: str, sources: Sequence[str]) -> None:
    """Raise InvalidArgumentError for a folder whose images the sources would find."""
    for source in sources:
        root = source
        while not os.path.isdir(root) and glob.has_magic(root):
            root = os.path.dirname(root)
        deep = root == source or "**" in source or glob.has_magic(os.path.dirname(source))
        if deep and os.path.isdir(root or ".") and Path(folder).resolve().is_relative_to(Path(root).resolve()):
            raise InvalidArgumentError(
                f"{folder}: it lies within {source}, so sorted images would be found and classified again; "
                "choose a folder outside"
            )


COMMAND = Command(
    "classify",
    "Name what is in images.",
    Options,
    _run,
    examples=(
        "photo.jpg -m EfficientNetLite0",
        "photos/ 'more/*.png' -o results.parquet --resume",
        "photos/ -o results.csv --link-to sorted --min-score 0.5",
    ),
)
