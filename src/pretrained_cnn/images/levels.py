"""Samples of more than eight bits in eight, the same for every container.

The samples, not the container, decide which value is white: 65,535 for 16 bits, unless the file declares
fewer significant bits or a smaller greatest value. Integers of 32 bits and floats have no range that all agree on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretrained_cnn._process import warn
from pretrained_cnn.errors import ImageError

BAND = 16 * 1024 * 1024
"""Bytes of samples that are available at a time."""

BRIGHT = 4096
"""A sample of 16 bits from which on an image is not nearly black."""

Levels = Literal["declared", "full", "stretch"]


@dataclass(slots=True)
class Samples:
    """The samples of an image, a band of rows at a time, as often as they are asked for."""

    size: tuple[int, int]
    """Width and height."""
    bands: Callable[[], Iterator[NDArray[Any]]]
    """Gives bands from top to bottom, each ``(rows, width, channels)`` in native byte order."""
    mode: str
    """What the channels are: ``L``, ``LA``, ``RGB``, ``RGBA`` or ``CMYK``; ``La`` and ``RGBa`` are premultiplied."""
    bits: int
    """How many bits an integer has."""
    greatest: float | None = None
    """The value of white, if the file declares one."""
    significant: int | None = None
    """How many bits of each sample are significant, if the file declares it."""
    white_is_zero: bool = False
    band_bytes: int = 3 * BAND
    """What a band takes, with the copies that are made of it."""
    unpacked: int = 0
    """Bytes that are unpacked, in all passes over the samples."""
    key: tuple[int, ...] | None = None
    """The color that stands for transparent."""
    decoded: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    """From 0..1 as stored to 0..1 as sRGB."""


def in_eight_bits(name: str, samples: Samples, levels: Levels, shrink: int = 1) -> Image.Image:
    """The image in a mode of eight bits, ``shrink`` times smaller each way, by averages.

    Raises ImageError for floats that are all NaN or infinite.
    """
    kind, colors = _kind(samples), 1 if samples.mode in ("LA", "La") else len(samples.mode.rstrip("Aa"))
    low, high, opaque = _range(name, samples, kind, colors, levels)
    scale, alpha = _scale(kind, samples, low, high), _scale(kind, samples, 0, opaque, plain=True)
    mode = samples.mode + "A" if samples.key is not None else samples.mode
    width, height = samples.size
    image = Image.new(mode, (-(-width // shrink), -(-height // shrink)))
    done = found = 0
    rest = np.empty((0, width, len(mode)), np.uint8)
    for band in samples.bands():
        if kind == "u" and found < BRIGHT:
            found = max(found, int(band[..., :colors].max(initial=0)))
        rows = np.empty((len(band), width, len(mode)), np.uint8)
        if scale is alpha and samples.key is None:  # all channels at once, which is faster
            rows[...] = scale(band)
        else:
            rows[..., :colors] = scale(band[..., :colors])
        if samples.white_is_zero:
            np.subtract(255, rows[..., :colors], out=rows[..., :colors])
        if samples.key is not None:
            rows[..., -1] = np.where((band == np.array(samples.key)).all(axis=-1), 0, 255)
        elif band.shape[-1] > colors and scale is not alpha:
            rows[..., colors:] = alpha(band[..., colors:])
        rows = np.concatenate([rest, rows]) if len(rest) else rows
        ready = len(rows) - len(rows) % shrink if done + len(rows) < height else len(rows)
        if ready:
            strip = Image.frombuffer(mode, (width, ready), np.ascontiguousarray(rows[:ready]), "raw", mode, 0, 1)
            image.paste(shrunk(strip, shrink), (0, done // shrink))
        done, rest = done + ready, rows[ready:]
    if kind == "u" and samples.bits == 16 and high == 65535 and 255 < found < BRIGHT:
        warn_of_darkness(name)
    return image


def shrunk(image: Image.Image, times: int) -> Image.Image:
    """An image that many times smaller each way, by averages; what is transparent does not color the rest."""
    if times == 1:
        return image
    premultiplied = {"RGBA": "RGBa", "LA": "La"}.get(image.mode)
    if premultiplied is None:
        return image.reduce(times)
    return image.convert(premultiplied).reduce(times).convert(image.mode)


def _kind(samples: Samples) -> str:
    return next(iter(samples.bands())).dtype.kind


def _range(name: str, samples: Samples, kind: str, colors: int, levels: Levels) -> tuple[float, float, float]:
    """Which values become 0 and 255, and which one an alpha channel means by opaque."""
    full = {"u": (0.0, 2.0**samples.bits - 1), "i": (-(2.0 ** (samples.bits - 1)), 2.0 ** (samples.bits - 1) - 1)}
    low, high = full.get(kind, (0.0, 1.0))
    opaque = high
    declares = samples.greatest is not None or (samples.significant or 16) < samples.bits
    if levels == "full" or (levels == "declared" and kind == "u" and samples.bits <= 16 and not declares):
        return low, high, opaque
    least, most, uneven = _extremes(samples, colors)
    if not least <= most:
        raise ImageError(name, "none of its values is a number")
    if levels == "declared" and declares and kind == "u" and samples.bits <= 16:
        greatest = samples.greatest
        if greatest is None and samples.significant is not None and uneven and most < 2**samples.significant:
            greatest = 2.0**samples.significant - 1
        if greatest is None or not most <= greatest:  # the samples are in the upper bits, or what is declared is not so
            return low, high, opaque
        return 0.0, greatest, greatest
    if levels == "declared" and samples.greatest is not None and 0 <= least <= most <= samples.greatest:
        return 0.0, samples.greatest, samples.greatest
    return least, most, opaque if kind in "ui" else max(1.0, most)


def _extremes(samples: Samples, colors: int) -> tuple[float, float, bool]:
    """The least and the greatest value that is a number, and whether the lower bits of 16 are used."""
    least, most, uneven = np.inf, -np.inf, False
    lower = 2 ** (16 - samples.significant) - 1 if samples.significant else 0
    for band in samples.bands():
        values = band[..., :colors]
        low, high = values.min(), values.max()
        if values.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
            finite = np.isfinite(values)
            least = min(least, float(values.min(where=finite, initial=np.inf)))
            most = max(most, float(values.max(where=finite, initial=-np.inf)))
        else:
            least, most = min(least, float(low)), max(most, float(high))
        if (
            lower > 1
        ):  # shifted to the upper bits, or stretched to all 16, values of few bits leave 0 or 1 in the lower ones.
            uneven = uneven or bool(((values & lower) > 1).any())
    return least, most, uneven


def _scale(
    kind: str, samples: Samples, low: float, high: float, *, plain: bool = False
) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """From samples to bytes: ``low`` becomes 0 and ``high`` 255."""
    decoded = None if plain else samples.decoded

    def exact(values: NDArray[Any]) -> NDArray[np.uint8]:
        scaled = np.subtract(values, low, dtype=np.float64 if values.dtype.itemsize > 4 else np.float32)
        scaled /= (high - low) or 1.0
        if kind == "f" and not np.isfinite(scaled.sum()):
            np.nan_to_num(scaled, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        np.clip(scaled, 0, 1, out=scaled)
        if decoded is not None:
            scaled = decoded(scaled)
        scaled *= 255
        rounded: NDArray[np.uint8] = np.rint(scaled, out=scaled).astype(np.uint8)
        return rounded

    if kind != "u" or samples.bits > 16:
        return exact
    if decoded is None and samples.bits in (8, 16) and (low, high) == (0, 2**samples.bits - 1):
        return _upper_bits
    table = exact(np.arange(2**samples.bits))
    return table.__getitem__


def _upper_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples of 8 bits as they are; of 16 bits a 257th, rounded, faster than by a table."""
    if values.dtype == np.uint8:
        return values
    upper = values >> 8
    np.subtract(values, upper, out=upper)
    upper += 127
    upper += values >> 15  # so each of the 65,536 values is rounded right
    upper >>= 8
    return upper.astype(np.uint8)


DARK = "16 bits, few of them used"


def warn_of_darkness(name: str) -> None:
    """Say once in a process that an image is nearly black because few of its bits are used."""
    warn(
        f"{name}: its 16-bit samples use less than a sixteenth of their range, so it is nearly black; if they "
        'have fewer bits, use ImagePolicy(levels="stretch"). Further images like it are not reported',
        cause=DARK,
    )


def of_image(image: Image.Image, *, sixteen_bits: bool = False) -> Samples:
    """The samples of a loaded Pillow image of mode ``I;16``, ``I;16B``, ``I`` or ``F``.

    ``sixteen_bits`` says of mode ``I``, which Pillow uses for 16 bits in places, that its values are of 16 bits.
    """
    kind: np.dtype[Any] = np.dtype({"I": "i4", "F": "f4", "I;16B": ">u2", "I;16N": "u2"}.get(image.mode, "<u2"))
    rows = max(1, BAND // (image.width * kind.itemsize))
    final = np.dtype(np.uint16) if sixteen_bits else kind.newbyteorder("=")

    def bands() -> Iterator[NDArray[Any]]:
        for top in range(0, image.height, rows):
            strip = image.crop((0, top, image.width, min(image.height, top + rows)))
            values = np.frombuffer(strip.tobytes(), kind).reshape(strip.height, strip.width, 1)
            yield values.astype(final, copy=False)

    return Samples(image.size, bands, "L", final.itemsize * 8)
