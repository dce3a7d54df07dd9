"""``pretrained-cnn export``: a classifier to a bundle, to be used elsewhere."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from pretrained_cnn.bundle.manifest import ExportCheck
from pretrained_cnn.cli.console import log_to_stderr, quiet, say
from pretrained_cnn.cli.options import Command, option
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.runtimes import Format


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``export`` takes."""

    output: str = option(
        "-o", "--output", required=True, metavar="DIR", help="Folder of the new bundle, which must not exist yet."
    )
    format: Format = option("--format", choices=get_args(Format), default="keras", help="Format of the network.")
    precision: Literal["float32", "float16"] = option(
        "--precision", choices=("float32", "float16"), default="float32", help="Type in which the weights are stored."
    )
    quantize: str | None = option(
        "--quantize",
        metavar="SOURCE",
        help="Images to quantize an OpenVINO network to 8 bits with (default: do not quantize).",
    )


def _run(options: Options) -> Status:
    log_to_stderr()
    clf = load_classifier(options)
    with quiet():
        found = clf.save(options.output, format=options.format, precision=options.precision, quantize=options.quantize)
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
    examples=("-m EfficientNetLite0 --format openvino -o lite.bundle",),
)
