"""From an RGB image of any size to exactly the network's input size."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretrained_cnn.spec import ResizePolicy

MARGIN = 3
"""At 2, drafts of photos of 12 megapixels changed MobileNet's best class for 1 of 100, at 3 for none
(``benchmarks/large_photos.py``)."""


EXTREME = 100
"""From about this many pixels for one on, a side is averaged before it is interpolated. Interpolation keeps tables that
grow with the ratio, gigabytes for an image of 80,000,000 x 1. Photos are far below it."""


def resize(image: Image.Image, size: tuple[int, int], policy: ResizePolicy) -> NDArray[np.uint8]:
    """Resize by ``policy`` to ``size`` ``(height, width)``: RGB uint8 ``(height, width, 3)``.

    >>> resize(Image.new("RGB", (640, 480)), (224, 224), ResizePolicy()).shape
    (224, 224, 3)
    """
    height, width = size
    filter_ = Image.Resampling[policy.interpolation.upper()]
    if policy.method == "squash":
        return np.asarray(_scale(image, (width, height), filter_))
    if policy.method == "pad":
        inner = fit(image, (width, height), filter_)
        padded = Image.new("RGB", (width, height))
        padded.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
        return np.asarray(padded)
    # Resizing the part that stays is the same as resizing all and cutting, without the pixels that fall away.
    return np.asarray(image.resize((width, height), filter_, box=window(image.size, size, policy)))


def window(
    image_size: tuple[int, int], size: tuple[int, int], policy: ResizePolicy
) -> tuple[float, float, float, float]:
    """The part of an image that `resize` shows the network: left, top, right and bottom in the image's pixels.

    ``image_size`` is the image's ``(width, height)``. With ``"pad"``, the part reaches beyond the image.
    """
    (image_width, image_height), (height, width) = image_size, size
    if policy.method == "squash":
        return 0, 0, image_width, image_height
    if policy.method == "pad":
        scale = max(image_width / width, image_height / height)
    else:
        scale = min(image_width * policy.crop_fraction / width, image_height * policy.crop_fraction / height)
    left, top = (image_width - width * scale) / 2, (image_height - height * scale) / 2
    return left, top, left + width * scale, top + height * scale


def fit(image: Image.Image, size: tuple[int, int], filter_: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """The whole image, undistorted, as large as it goes into ``size`` ``(width, height)``; a side is 1 at least."""
    scale = min(size[0] / image.width, size[1] / image.height)
    return _scale(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))), filter_)


def _scale(image: Image.Image, size: tuple[int, int], filter_: Image.Resampling) -> Image.Image:
    """Resize each side by itself; a side that is beyond `EXTREME` is averaged in steps first."""
    while filter_ is not Image.Resampling.NEAREST:
        across, down = (min(64, max(1, side // (EXTREME * goal))) for side, goal in zip(image.size, size, strict=True))
        if across == down == 1:
            break
        image = image.reduce((across, down))
    return image.resize(size, filter_)


def enough(size: tuple[int, int], policy: ResizePolicy) -> tuple[int, int] | None:
    """The ``(width, height)`` of an image that still has `MARGIN` times the pixels, each way, that `resize` needs.

    None if it needs all of them, as nearest-neighbor interpolation does: it would pick others.
    """
    if policy.interpolation == "nearest":
        return None
    kept = policy.crop_fraction if policy.method == "crop" else 1.0
    height, width = size
    return math.ceil(MARGIN * width / kept), math.ceil(MARGIN * height / kept)
