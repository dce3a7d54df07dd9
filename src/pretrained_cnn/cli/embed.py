"""``pretrained-cnn embed``: images to a file of embeddings."""

from __future__ import annotations

import dataclasses

from pretrained_cnn.cli.console import log_to_stderr
from pretrained_cnn.cli.looking import check_images
from pretrained_cnn.cli.options import Command, option
from pretrained_cnn.cli.shared import OUTPUT, StreamOptions, load_classifier
from pretrained_cnn.cli.status import Status


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(StreamOptions):
    """What ``embed`` takes."""

    layer: str | None = option("Layer whose output is the embedding (default: the input of the head).", metavar="NAME")
    output: str = option(
        "File to write: .parquet with the columns source, embedding and error, or .npy, float32 (N, D), with the names "
        "in FILE.sources.csv.",
        short="-o",
        group=OUTPUT,
        required=True,
        metavar="FILE",
    )


def _run(options: Options) -> Status:
    log_to_stderr()
    if len(options.source) == 1:
        check_images(options.source[0])
    from pretrained_cnn.cli.writing import write
    from pretrained_cnn.results.stream import Sources

    clf = load_classifier(options, need_labels=False)
    stream = clf.embed_stream(
        Sources(options.source), layer=options.layer, batch_size=options.batch_size, workers=options.workers
    )
    return write(options, stream, lambda: clf.embed([], layer=options.layer))


COMMAND = Command(
    "embed",
    "Write the embeddings of images to a file.",
    Options,
    _run,
    examples=("photos/ -m ResNet50 -o photos.parquet", "photos/ -m ResNet50 -o photos.npy --resume"),
)
