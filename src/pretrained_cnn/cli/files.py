"""What a model file does not say, as options: one for each argument of `Classifier.from_file`, of the same name."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

from pretrained_cnn.cli.options import flag, option
from pretrained_cnn.errors import InvalidArgumentError

GROUP = "a model file"


def real(text: str) -> float:
    """A number, or a fraction such as ``1/255``."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _several(read: Callable[[str], Any], separators: str, expected: str) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        for separator in separators:
            text = text.replace(separator, " ")
        try:
            return tuple(map(read, text.split()))
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}") from None

    return parse


reals = _several(real, ",", "a number, or one for each channel with commas between")
size = _several(int, "x,", "HEIGHTxWIDTH")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What the user says about a model file; see `Classifier.from_file`."""

    labels: str | None = option(
        'File with the names of the classes, one in each line, or "numbers" for 0, 1, 2 ... (default: those in the '
        "model file, or ImageNet's).",
        group=GROUP,
        metavar="FILE",
    )
    preprocess: Literal["keras_tf", "keras_caffe", "keras_torch", "unit", "teachable_machine", "none"] | None = option(
        "Pixel values that the network was trained with (default: what the model file says).", group=GROUP
    )
    scale: float | None = option(
        "In place of --preprocess: the network takes (x * scale - mean) / std (default: what the model file says).",
        group=GROUP,
        type=real,
        metavar="N",
    )
    mean: tuple[float, ...] | None = option(
        "A number, or one for each channel (default: 0).", group=GROUP, type=reals, metavar="N,N,N"
    )
    std: tuple[float, ...] | None = option(
        "A number, or one for each channel (default: 1).", group=GROUP, type=reals, metavar="N,N,N"
    )
    channels: Literal["rgb", "bgr"] | None = option("Order of the channels (default: rgb).", group=GROUP)
    layout: Literal["NHWC", "NCHW"] | None = option("Order of the axes (default: what the shape shows).", group=GROUP)
    input_size: tuple[int, int] | None = option(
        "Size of the input, where the model file leaves it open (default: the model file's).",
        group=GROUP,
        type=size,
        metavar="HxW",
    )
    from_logits: bool = flag("The outputs are logits, not probabilities.", group=GROUP)
    multi_label: bool = flag("An image may have several labels.", group=GROUP)
    signature: str | None = option(
        "Signature of a SavedModel, where several fit (default: the only one that fits).", group=GROUP, metavar="NAME"
    )
    trust: bool = flag("Run code that is in the model file.", group=GROUP)


def file_arguments(options: FileOptions) -> dict[str, Any]:
    """The arguments that are given."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(FileOptions)}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def refuse_file_arguments(options: FileOptions, what: str = "--model") -> None:
    """Raise InvalidArgumentError if an option describes a model file where ``what`` names none."""
    for name in file_arguments(options):
        raise InvalidArgumentError(f"--{name.replace('_', '-')} is for a model file, which {what} is not")
