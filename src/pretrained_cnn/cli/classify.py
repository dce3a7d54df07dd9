"""``pretrained-cnn classify``: images to names and scores."""

from __future__ import annotations

import argparse
import contextlib
import glob
import hashlib
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from pretrained_cnn.errors import ImageError, InvalidArgumentError
from pretrained_cnn.results.result import Result

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.cli.on_ray import Shards
    from pretrained_cnn.cli.output import Output
    from pretrained_cnn.cli.sorting import Sorter


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    classify = commands.add_parser("classify", help="name what is in images")
    classify.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="an image, an http(s) address, a folder, a glob, a tar or zip archive, a .txt file with a path or "
        "address in each line, or - for the same from stdin",
    )
    add_model_options(classify)
    classify.add_argument(
        "--top", type=count, metavar="N", help="how many classes to name (default: 5, with --output 1)"
    )
    classify.add_argument("--json", action="store_true", help="one JSON object an image")
    classify.add_argument(
        "--output", metavar="FILE", help="write rows to FILE, which ends in .csv, .jsonl or .parquet, not to stdout"
    )
    existing = classify.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with FILE where it ends, if it is there")
    existing.add_argument("--overwrite", action="store_true", help="begin FILE anew, if it is there")
    sort = classify.add_mutually_exclusive_group()
    sort.add_argument("--copy-to", metavar="DIR", help="copy each image to DIR/class/")
    sort.add_argument("--link-to", metavar="DIR", help="link to each image from DIR/class/")
    classify.add_argument(
        "--min-score", type=share, metavar="S", help="mark images whose best score is below S as uncertain"
    )
    classify.add_argument("--on", choices=["ray"], help="where to classify: on a Ray cluster (default: here)")
    classify.add_argument(
        "--address",
        help='of the cluster, or "auto" for the one that this machine is in (default: a new one, of this machine)',
    )
    classify.add_argument(
        "--shard", type=count, metavar="N", help="with --on, how many images are in one file (default: 10000)"
    )
    classify.add_argument("--batch-size", type=count, metavar="N", help="how many images the network takes at once")
    classify.add_argument(
        "--workers", type=count, metavar="N", help="how many threads decode images; with --on, in each worker"
    )
    classify.set_defaults(run=_classify)


def _classify(options: argparse.Namespace) -> int:
    _check(options)
    log_to_stderr()
    from pretrained_cnn.images.sources import expand

    options.top = options.top or (1 if options.output else 5)
    clf = load_classifier(options)
    images: Iterator[Any] = itertools.chain.from_iterable([expand(source) for source in options.source])
    sorter = _sorter(options)
    if options.on:
        return _on_ray(clf, images, options)
    if options.output:
        from pretrained_cnn.cli.output import Output
        from pretrained_cnn.cli.progress import count_images

        settings = _settings(clf, options)
        with Output(options.output, settings, resume=options.resume, overwrite=options.overwrite) as output:
            found = _results(clf, output.without_done(images), sorter, options)
            code = _to_file(output, found, lambda: count_images(options.source), options)
    else:
        code = _to_stdout(_results(clf, images, sorter, options), as_json=options.json, min_score=options.min_score)
    return FAILED if sorter is not None and sorter.left_out else code


def _on_ray(clf: Classifier, images: Iterator[Any], options: argparse.Namespace) -> int:
    import pretrained_cnn.integrations.ray  # noqa: F401 - says what to install before anything is written
    from pretrained_cnn.bundle.store import means_bundle
    from pretrained_cnn.cli.on_ray import SHARD, Shards, results

    settings = {**_settings(clf, options), "sources": options.source}
    model = options.model if means_bundle(options.model) else clf.spec
    ways = {"resume": options.resume, "overwrite": options.overwrite}
    with (
        Shards(options.output, settings, images, size=options.shard or SHARD, **ways) as output,
        results(output, model, options) as found,
    ):
        return _to_file(output, found, lambda: output.total, options)


def _check(options: argparse.Namespace) -> None:
    if options.output and options.json:
        raise InvalidArgumentError(
            "--json is for stdout; with --output the name of the file says the format, such as .jsonl"
        )
    for name in ("resume", "overwrite"):
        if getattr(options, name) and not options.output:
            raise InvalidArgumentError(f"--{name} needs --output FILE")
    _check_on_ray(options)


def _check_on_ray(options: argparse.Namespace) -> None:
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


def _sorter(options: argparse.Namespace) -> Sorter | None:
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


def _results(
    clf: Classifier, images: Iterator[Any], sorter: Sorter | None, options: argparse.Namespace
) -> Iterator[Result]:
    """The results; their images are sorted on the way."""
    first = list(itertools.islice(images, 1))
    if not first:
        return  # and no network is built
    with quiet():
        clf.predict_proba([])  # builds or loads the network
    stream: Any = clf.stream(
        itertools.chain(first, images),
        top=options.top,
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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a name that is not UTF-8 is printed as it is on disk
    code = OK
    for result in results:
        if result.error is not None:
            code = FAILED
            complain(result.error)
        elif result.status == "uncertain":
            complain(f"{result.source}: uncertain: its best score {result.score:.4f} is below {min_score:g}")
        if as_json:
            print(json.dumps(result.to_dict()), flush=True)
        else:
            for prediction in result:
                print(f"{result.source}\t{prediction.score:.4f}\t{prediction.label}\t{prediction.id}", flush=True)
    return code


def _to_file(
    output: Output | Shards, results: Iterable[Result], total: Callable[[], int | None], options: argparse.Namespace
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
    complain(summary(options.output, output.images, output.failed, uncertain, seconds, before))
    return FAILED if output.failed else OK


def _settings(clf: Classifier, options: argparse.Namespace) -> dict[str, Any]:
    """What the rows depend on."""
    settings = {
        "model": options.model if ":" in options.model else clf.spec.name,
        "weights": options.weights or "imagenet",
        "runtime": options.runtime or "keras",
        "top": options.top,
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
