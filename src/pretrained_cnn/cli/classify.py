"""``pretrained-cnn classify``: images to names and scores."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pretrained_cnn.cli.console import complain, log_to_stderr, quiet, say
from pretrained_cnn.cli.options import Command, argument, count, flag, option, share
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import ImageError, InvalidArgumentError
from pretrained_cnn.results.result import Result
from pretrained_cnn.scores import one_class_only

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.cli.on_ray import Shards
    from pretrained_cnn.cli.output import Output
    from pretrained_cnn.cli.sorting import Sorter


OUTPUT, SORTING, SPEED = "output", "sorting", "speed and place"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``classify`` takes."""

    source: tuple[str, ...] = argument(
        "SOURCE",
        nargs="+",
        help="Image, http(s) address, folder, glob, tar or zip archive, .txt file with a path or an address in each "
        "line, or - for the same from stdin.",
    )
    top: int | None = option(
        "--top", type=count, metavar="N", help="Number of classes to name (default: 5, with --output 1)."
    )
    min_score: float | None = option(
        "--min-score",
        type=share,
        metavar="S",
        help="Mark images whose best score is below S as uncertain (default: mark none).",
    )
    json: bool = flag("--json", group=OUTPUT, help="Print one JSON object for each image.")
    output: str | None = option(
        "-o",
        "--output",
        group=OUTPUT,
        metavar="FILE",
        help="Write rows to FILE, which ends in .csv, .jsonl or .parquet (default: print them).",
    )
    resume: bool = flag(
        "--resume", group=OUTPUT, exclusive="existing", help="Continue FILE where it ends, if it exists."
    )
    overwrite: bool = flag("--overwrite", group=OUTPUT, exclusive="existing", help="Replace FILE if it exists.")
    copy_to: str | None = option(
        "--copy-to",
        group=SORTING,
        exclusive="sorted",
        metavar="DIR",
        help="Copy each image to DIR/class/ (default: do not copy).",
    )
    link_to: str | None = option(
        "--link-to",
        group=SORTING,
        exclusive="sorted",
        metavar="DIR",
        help="Link to each image from DIR/class/ (default: do not link).",
    )
    batch_size: int | None = option(
        "--batch-size",
        group=SPEED,
        type=count,
        metavar="N",
        help="Number of images in a batch (default: 16).",
    )
    workers: int | None = option(
        "--workers",
        group=SPEED,
        type=count,
        metavar="N",
        help="Number of threads that decode images; with --on, in each worker (default: one per core, at most 16).",
    )
    on: Literal["ray"] | None = option(
        "--on", group=SPEED, choices=("ray",), help="Classify on a Ray cluster (default: on this machine)."
    )
    address: str | None = option(
        "--address",
        group=SPEED,
        metavar="ADDRESS",
        help='Address of the cluster, or "auto" for the one that this machine is in (default: a new one, of this '
        "machine).",
    )
    shard: int | None = option(
        "--shard", group=SPEED, type=count, metavar="N", help="With --on, number of images in a file (default: 10000)."
    )

    @property
    def named(self) -> int:
        """How many classes to name."""
        return self.top or (1 if self.output else 5)


def _run(options: Options) -> int:
    _check(options)
    log_to_stderr()
    from pretrained_cnn.images.sources import expand

    clf = load_classifier(options)
    images: Iterator[Any] = itertools.chain.from_iterable([expand(source) for source in options.source])
    sorter = _sorter(options)
    if sorter is not None and clf.spec.multi_label:
        one_class_only("sorting images into a folder for each class")
    if options.on and options.output:
        return _on_ray(clf, images, options.output, options)
    if options.output:
        from pretrained_cnn.cli.output import Output
        from pretrained_cnn.cli.progress import count_images

        settings = _settings(clf, options)
        with Output(options.output, settings, resume=options.resume, overwrite=options.overwrite) as output:
            found = _results(clf, output.without_done(images), sorter, options)
            code = _to_file(output, found, lambda: count_images(options.source), options)
    else:
        code = _to_stdout(_results(clf, images, sorter, options), as_json=options.json, min_score=options.min_score)
    return Status.FAILED if sorter is not None and sorter.left_out else code


def _on_ray(clf: Classifier, images: Iterator[Any], folder: str, options: Options) -> int:
    import pretrained_cnn.integrations.ray  # noqa: F401 - says what to install before anything is written
    from pretrained_cnn.bundle.store import means_bundle
    from pretrained_cnn.cli.on_ray import SHARD, Shards, results

    settings = {**_settings(clf, options), "sources": list(options.source)}
    model = options.model if means_bundle(options.model) else clf.spec
    ways = {"resume": options.resume, "overwrite": options.overwrite}
    with (
        Shards(folder, settings, images, size=options.shard or SHARD, **ways) as output,
        results(
            output,
            model,
            weights=options.weights,
            runtime=options.runtime,
            top=options.named,
            min_score=options.min_score,
            batch_size=options.batch_size,
            workers=options.workers,
            address=options.address,
        ) as found,
    ):
        return _to_file(output, found, lambda: output.total, options)


def _check(options: Options) -> None:
    if options.output and options.json:
        raise InvalidArgumentError(
            "--json is for stdout; with --output the name of the file says the format, such as .jsonl"
        )
    for name in ("resume", "overwrite"):
        if getattr(options, name) and not options.output:
            raise InvalidArgumentError(f"--{name} needs --output FILE")
    _check_on_ray(options)


def _check_on_ray(options: Options) -> None:
    for name in ("address", "shard"):
        if getattr(options, name) is not None and not options.on:
            raise InvalidArgumentError(f"--{name} needs --on ray")
    if options.on and not options.output:
        raise InvalidArgumentError(
            "--on ray needs --output DIR.csv, DIR.jsonl or DIR.parquet, a folder of files of rows"
        )
    for name in ("copy_to", "link_to"):
        if options.on and getattr(options, name):
            raise InvalidArgumentError(
                f"--{name.replace('_', '-')} does not go with --on ray; sort by the rows, when they are there"
            )


def _sorter(options: Options) -> Sorter | None:
    folder = options.copy_to or options.link_to
    if not folder:
        return None
    for source in options.source:
        root = source
        while not os.path.isdir(root) and glob.has_magic(root):
            root = os.path.dirname(root)
        deep = root == source or "**" in source or glob.has_magic(os.path.dirname(source))
        if deep and os.path.isdir(root or ".") and Path(folder).resolve().is_relative_to(Path(root).resolve()):
            raise InvalidArgumentError(
                f"{folder}: it lies within {source}, so sorted images would be found and classified again; "
                "choose a folder outside"
            )
    from pretrained_cnn.cli.sorting import Sorter

    return Sorter(folder, link=bool(options.link_to))


def _results(clf: Classifier, images: Iterator[Any], sorter: Sorter | None, options: Options) -> Iterator[Result]:
    """The results; their images are sorted on the way."""
    first = list(itertools.islice(images, 1))
    if not first:
        return  # and no network is built
    with quiet():
        clf.predict_proba([])  # builds or loads the network
    stream: Any = clf.stream(
        itertools.chain(first, images),
        top=options.named,
        min_score=options.min_score,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    with contextlib.closing(stream):
        for result in stream:
            if sorter is not None and result.predictions:
                try:
                    sorter.put(result)
                except ImageError as error:
                    complain(error)
            yield result


def _to_stdout(results: Iterable[Result], *, as_json: bool, min_score: float | None) -> int:
    code = Status.OK
    for result in results:
        if result.error is not None:
            code = Status.FAILED
            complain(result.error)
        elif result.status == "uncertain":
            complain(f"{result.source}: uncertain: its best score {result.score:.4f} is below {min_score:g}")
        if as_json:
            say(json.dumps(result.to_dict()))
        else:
            for prediction in result:
                say(f"{result.source}\t{prediction.score:.4f}\t{prediction.label}\t{prediction.id}")
    return code


def _to_file(
    output: Output | Shards, results: Iterable[Result], total: Callable[[], int | None], options: Options
) -> int:
    from pretrained_cnn.cli.progress import progress, summary

    before, start = output.images, time.monotonic()
    with progress(total, before) as report:
        for result in results:
            output.write(result)
            report(output.images, output.failed)
    output.finish()
    seconds = time.monotonic() - start
    uncertain = None if options.min_score is None else output.uncertain
    complain(summary(str(output.path), output.images, output.failed, uncertain, seconds, before))
    return Status.FAILED if output.failed else Status.OK


def _settings(clf: Classifier, options: Options) -> dict[str, Any]:
    """What the rows depend on."""
    settings: dict[str, Any] = {
        "model": options.model if ":" in options.model else clf.spec.name,
        "weights": options.weights or "imagenet",
        "runtime": options.runtime or "keras",
        "top": options.named,
        "min_score": options.min_score,
    }
    manifest = os.path.join(options.model, "manifest.json")  # of a bundle: it has the hash of everything else
    if os.path.isfile(manifest):
        settings |= {"weights": _sha256(manifest), "runtime": clf.runtime}
    elif os.path.isfile(settings["weights"]):
        settings["weights_sha256"] = _sha256(settings["weights"])
    return settings


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
