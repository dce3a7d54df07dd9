"""What an image looks like without a network: how large, bright and sharp it is, and a thumbnail to tell copies by."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.batch import default_workers
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.resize import fit
from pretrained_cnn.images.sources import Item

__all__ = ["SIDE", "Looks", "look_at"]

SIDE = 32
"""The sides of a thumbnail, in pixels."""

SEEN = 256
"""Brightness and sharpness are those of the image fitted into this number of pixels each way: what a network could
see.
"""

NEAR = 9
"""The image is averaged over this number of pixels, to see what that takes from it."""


class Looks(NamedTuple):
    """What `look_at` saw in each of ``n`` images."""

    side: NDArray[np.float32]
    """The shorter side in pixels, ``(n,)``. Of an image far larger than `SEEN`, that of the draft that was decoded."""
    brightness: NDArray[np.float32]
    """The gray value that 95 % of the pixels do not exceed, 0 to 1, ``(n,)``."""
    sharpness: NDArray[np.float32]
    """The share of all differences between neighboring pixels that a blur takes away, 0 to 1, ``(n,)``.

    It is 1 less the blur effect of Crete and others (Proc. SPIE 6492, 2007), in the direction where it is less. An
    image without any difference has 0."""
    thumbnails: NDArray[np.uint8]
    """The whole image in gray, squashed: ``(n, SIDE, SIDE)``."""

    def keep(self, which: NDArray[np.bool_]) -> Looks:
        """Some of the images."""
        return Looks(self.side[which], self.brightness[which], self.sharpness[which], self.thumbnails[which])


def look_at(items: Sequence[Item], policy: ImagePolicy) -> tuple[Looks, list[ImageError | None]]:
    """Decode images, several at a time, and look at each; and for each image its error, or None.

    The rows of an image that cannot be decoded are 0. Memory holds a few images, and 1 kB for each.

    >>> item = Item(0, "gray", np.full((40, 60, 3), 51, np.uint8))
    >>> looks, errors = look_at([item], ImagePolicy())
    >>> looks.side.tolist(), looks.brightness.round(2).tolist(), looks.sharpness.tolist(), errors
    ([40.0], [0.20000000298023224], [0.0], [None])
    """
    facts = np.zeros((len(items), 3), np.float32)
    thumbnails = np.zeros((len(items), SIDE, SIDE), np.uint8)

    def look(i: int) -> ImageError | None:
        try:
            image = decode(items[i], policy, needed=(SEEN, SEEN))
        except ImageError as error:
            return error
        facts[i, 0] = min(image.size)
        gray = image.convert("L")
        thumbnails[i] = np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0))
        pixels = np.asarray(gray if max(gray.size) <= SEEN else fit(gray, (SEEN, SEEN)), np.float32)
        facts[i, 1:] = np.quantile(pixels, 0.95) / 255, min(_sharpness(pixels), _sharpness(pixels.T))
        return None

    with ThreadPoolExecutor(default_workers()) as pool:
        errors = list(pool.map(look, range(len(items))))
    return Looks(facts[:, 0], facts[:, 1], facts[:, 2], thumbnails), errors


def _sharpness(pixels: NDArray[np.float32]) -> float:
    """The share of the differences down the columns that an average over `NEAR` pixels takes away."""
    if len(pixels) <= NEAR + 1:
        return 1.0  # too small to say
    sums = np.cumsum(np.pad(pixels, ((1, 0), (0, 0))), axis=0)
    blurred = (sums[NEAR:] - sums[:-NEAR]) / NEAR
    before = np.abs(np.diff(pixels[NEAR // 2 :][: len(blurred)], axis=0))
    after = np.abs(np.diff(blurred, axis=0))
    total = float(before.sum())
    return float(np.maximum(before - after, 0).sum()) / total if total else 0.0
