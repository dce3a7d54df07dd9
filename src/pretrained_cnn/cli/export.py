"""``pretrained-cnn export``: a classifier to a bundle, to be used elsewhere."""

from __future__ import annotations

import dataclasses
from typing import Literal

from pretrained_cnn.bundle.formats import list_formats
from pretrained_cnn.bundle.manifest import ExportCheck
from pretrained_cnn.cli.console import log_to_stderr, quiet, say
from pretrained_cnn.cli.options import Command, Share, flag, option
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``export`` takes."""

    output: str = option("Folder of the new bundle.", short="-o", required=True, metavar="DIR")
    format: str | None = option(
        "Format of the network (default: that of a bundle given as --model, else keras).", choices=list_formats()
    )
    dtype: Literal["float32", "float16"] = option("Type in which the weights are stored.", default="float32")
    quantize: str | None = option(
        "Images to quantize an OpenVINO network to 8 bits with (default: do not quantize).", metavar="SOURCE"
    )
    min_agreement: Share | None = option(
        "Share of images, 0 to 1, that must keep their best class (default: 1, or 0.95 with --quantize).",
        metavar="SHARE",
    )
    overwrite: bool = flag("Replace the bundle, if one exists.")


def _run(options: Options) -> Status:
    log_to_stderr()
    clf = load_classifier(options)
    with quiet():
        found = clf.save(
            options.output,
            format=options.format,
            dtype=options.dtype,
            quantize=options.quantize,
            min_agreement=options.min_agreement,
            overwrite=options.overwrite,
        )
    say(f"{options.output}\t{describe(found)}")
    return Status.OK


def describe(found: ExportCheck) -> str:
    """How well a bundle agrees with what it was written from, in columns."""
    return (
        f"{found.images} images\tsame best class {found.same_top1:.0%}\t"
        f"largest difference {found.largest_difference:.1e}"
    )


COMMAND = Command(
    "export",
    "Write a classifier to a bundle, to use it elsewhere.",
    Options,
    _run,
    examples=(
        "-m EfficientNetLite0 --format openvino -o lite.bundle",
        "-m clothes.bundle --format openvino --quantize photos/ -o small.bundle",
    ),
)
