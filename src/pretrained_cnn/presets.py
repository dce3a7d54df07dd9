"""Preprocessing of pixel values, by name or by three numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretrained_cnn._check import choice, number
from pretrained_cnn.errors import InvalidArgumentError

__all__ = ["PRESETS", "PixelScaling", "Preset", "choose_preprocess", "presets_table"]

Preprocess = Callable[..., Any]


@dataclass(frozen=True)
class PixelScaling:
    """``(x * scale - mean) / std`` for each pixel value ``x`` of 0..255, in the network's order of channels.

    >>> import numpy as np
    >>> PixelScaling(1 / 127.5, (1.0,))(np.array([0.0, 127.5, 255.0]))
    array([-1.,  0.,  1.])
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    """One number for all channels, or one for each."""
    std: tuple[float, ...] = (1.0,)
    """One number for all channels, or one for each."""
    bgr: bool = False
    """Whether the network takes blue, green, red."""
    by_numbers: bool = False
    """Whether a user gave the numbers. They are then applied even if the network also scales pixels."""

    def __call__(self, pixels: Any) -> Any:
        """From RGB ``(..., C)`` in 0..255, an array or a tensor of a graph, to what the network takes."""
        if self.bgr:
            if isinstance(pixels, np.ndarray):
                pixels = pixels[..., ::-1]
            else:
                from keras import ops

                pixels = ops.flip(pixels, axis=-1)
        if self.scale != 1:
            pixels = pixels * self.scale
        if any(self.mean):
            pixels = pixels - np.array(self.mean, np.float32)
        return pixels / np.array(self.std, np.float32) if set(self.std) != {1.0} else pixels

    @property
    def channels(self) -> int | None:
        """The number of channels that the numbers are for; None if they are the same for each."""
        sizes = {len(self.mean), len(self.std)} - {1}
        return 3 if self.bgr else max(sizes, default=None)

    def fitting(self, channels: int, what: str) -> PixelScaling:
        """This scaling. Raises InvalidArgumentError, which names ``what``, unless it fits that many channels."""
        if self.channels not in (None, channels):
            raise InvalidArgumentError(
                f"{what} is for {self.channels} channels, and the network takes {channels}; "
                f"give scale, mean and std with one number, or with {channels}"
            )
        return self


@dataclass(frozen=True)
class Preset:
    """A preprocessing that many networks were trained with."""

    scaling: PixelScaling
    does: str
    used_by: str


PRESETS = {
    "keras_tf": Preset(
        PixelScaling(1 / 127.5, (1.0,)), "x / 127.5 - 1", "MobileNet, Xception, Inception and ResNetV2 of Keras"
    ),
    "keras_caffe": Preset(
        PixelScaling(1.0, (103.939, 116.779, 123.68), bgr=True),
        "BGR, minus the mean of ImageNet",
        "VGG and ResNet of Keras",
    ),
    "keras_torch": Preset(
        PixelScaling(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "x / 255, minus the mean, divided by the deviation of ImageNet",
        "torchvision, timm, DenseNet of Keras",
    ),
    "unit": Preset(PixelScaling(1 / 255), "x / 255", "most courses, rescale=1/255"),
    "teachable_machine": Preset(PixelScaling(1 / 127.5, (1.0,)), "x / 127.5 - 1", "Teachable Machine"),
    "none": Preset(PixelScaling(), "x as it is, 0 to 255", "EfficientNet and MobileNetV3 of Keras"),
}
"""Each name, with what it does to a pixel value ``x`` of 0..255."""


def presets_table() -> str:
    """The presets, a line each: the name, what it does, and who uses it."""
    return "\n".join(f"  {name:<17} {row.does}; {row.used_by}" for name, row in PRESETS.items())


def choose_preprocess(
    preprocess: str | Preprocess | None,
    scale: float | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Preprocess | None:
    """The one function that the arguments mean; None if there are none.

    Raises InvalidArgumentError for a name that is not known, two preprocessings at once, and ``mean`` or ``std``
    without ``scale``.

    >>> choose_preprocess("unit")
    PixelScaling(scale=0.00392156862745098, mean=(0.0,), std=(1.0,), bgr=False, by_numbers=False)
    >>> choose_preprocess(None, std=0.5)
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.InvalidArgumentError: mean=... and std=... need scale=...: give scale=1/255 if they are for \
pixel values of 0 to 1, or scale=1 if they are for 0 to 255
    """
    numbers = {"scale": scale, "mean": mean, "std": std}
    given = [name for name, value in numbers.items() if value is not None]
    if preprocess is not None:
        if given:
            raise InvalidArgumentError(
                f"preprocess=... and {given[0]}=... are two preprocessings at once; give one of them"
            )
        if isinstance(preprocess, str):
            return PRESETS[choice("preprocess", preprocess, tuple(PRESETS))].scaling
        if not callable(preprocess):
            raise InvalidArgumentError(
                f"preprocess={preprocess!r} is neither a function nor the name of a preset; "
                f"the presets are {', '.join(PRESETS)}"
            )
        return preprocess
    if not given:
        return None
    if scale is None:
        raise InvalidArgumentError(
            "mean=... and std=... need scale=...: give scale=1/255 if they are for pixel values of 0 to 1, or "
            "scale=1 if they are for 0 to 255"
        )
    return PixelScaling(
        number("scale", scale, above=0),
        _each("mean", 0.0 if mean is None else mean),
        _each("std", 1.0 if std is None else std, above=0),
        by_numbers=True,
    )


def _each(name: str, value: float | Sequence[float], above: float | None = None) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else (value,)
    if len(values) not in (1, 3):
        raise InvalidArgumentError(f"{name}={value!r} has {len(values)} numbers; give one, or one for each channel")
    return tuple(number(name, each, above=above) for each in values)
