"""``pretrained-cnn embed``: images to a file of embeddings."""

from __future__ import annotations

import contextlib
import dataclasses

from pretrained_cnn.cli.console import log_to_stderr, quiet
from pretrained_cnn.cli.options import Command, argument, count, flag, option
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError

OUTPUT, SPEED = "output", "speed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``embed`` takes."""

    source: tuple[str, ...] = argument(
        "SOURCE",
        nargs="+",
        help="Image, http(s) address, folder, glob, tar or zip archive, .txt file with a path or an address in each "
        "line, or - for the same from stdin.",
    )
    layer: str | None = option(
        "--layer", metavar="NAME", help="Layer whose output is the embedding (default: the input of the head)."
    )
    output: str = option(
        "-o",
        "--output",
        group=OUTPUT,
        required=True,
        metavar="FILE",
        help="File to write: .parquet with the columns source, embedding and error, or .npy, float32 (N, D), with the "
        "names in FILE.sources.csv.",
    )
    resume: bool = flag(
        "--resume", group=OUTPUT, exclusive="existing", help="Continue FILE where it ends, if it exists."
    )
    overwrite: bool = flag("--overwrite", group=OUTPUT, exclusive="existing", help="Replace FILE if it exists.")
    retry_failed: bool = flag(
        "--retry-failed", group=OUTPUT, help="With --resume, try the images again that failed; each keeps its place."
    )
    batch_size: int | None = option(
        "--batch-size", group=SPEED, type=count, metavar="N", help="Number of images in a batch (default: 16)."
    )
    workers: int | None = option(
        "--workers",
        group=SPEED,
        type=count,
        metavar="N",
        help="Number of threads that decode images (default: one per core, at most 16).",
    )


def _run(options: Options) -> Status:
    if options.retry_failed and not options.resume:
        raise InvalidArgumentError("--retry-failed needs --resume")
    log_to_stderr()
    from pretrained_cnn.cli.writing import build, write
    from pretrained_cnn.results.stream import Sources
    from pretrained_cnn.results.writing import open_results

    clf = load_classifier(options)
    stream = clf.embed_stream(
        Sources(options.source), layer=options.layer, batch_size=options.batch_size, workers=options.workers
    )
    with contextlib.ExitStack() as stack:
        with quiet():  # what the settings are may need the network
            opened = open_results(
                stream,
                options.output,
                resume=options.resume,
                overwrite=options.overwrite,
                retry_failed=options.retry_failed,
            )
            file, _ = stack.enter_context(opened)
        build(lambda: clf.embed([], layer=options.layer), stream)
        return write(file, stream, None)


COMMAND = Command(
    "embed",
    "Write the embeddings of images to a file.",
    Options,
    _run,
    examples=("photos/ -m ResNet50 -o photos.parquet", "photos/ -m ResNet50 -o photos.npy --resume"),
)
