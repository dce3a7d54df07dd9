"""From an RGB image of any size to exactly the network's input size."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from pretrained_cnn.spec import ResizePolicy

AS_IT_IS = ResizePolicy("squash")
"""Leaves an image of the network's size unchanged."""

MARGIN = 2.0
"""A reduced image keeps this many times the pixels of the network's input, each way. On 100 labeled photos with a
camera's noise, reducing to 1.5, 2, 2.5 or 2.95 times moved the scores of MobileNet by 0.014 to 0.016, 0.008 to 0.011,
0.008 to 0.010 and 0.007 to 0.017 in the mean (total variation, against the image in full), those of EfficientNetLite0
alike. Bilinear in place of bicubic interpolation moved them by 0.022 to 0.033. As many photos were classified correctly
(``benchmarks/large_photos.py``)."""

SMALLEST = 640
"""A reduced image keeps at least this many pixels each way. Below, a draft moved the scores of networks of 28 to 96
pixels by up to 0.26."""


EXTREME = 100
"""From about this many pixels for one on, a side is averaged before it is interpolated. Interpolation keeps tables that
grow with the ratio, gigabytes for an image of 80,000,000 x 1. Photos are far below it."""


def resize(image: Image.Image, size: tuple[int, int], policy: ResizePolicy, channels: int = 3) -> NDArray[np.uint8]:
    """Resize by ``policy`` to ``size`` ``(height, width)``: uint8 ``(height, width, channels)``, RGB or gray.

    >>> resize(Image.new("RGB", (640, 480)), (224, 224), ResizePolicy()).shape
    (224, 224, 3)
    """
    if channels == 1:
        image = image.convert("L")
    pixels = policy.pick("resizing", crop=_crop, squash=_squash, pad=_pad)(image, size, policy)
    return pixels.reshape(*size, channels)


def policy_for(
    source: object, image_size: tuple[int, int], size: tuple[int, int], policy: ResizePolicy
) -> ResizePolicy:
    """The policy for resizing one image: ``policy``, except pixels in memory of exactly the network's size.

    Those are taken as they are: an array, a tensor, or a Pillow image that was made in memory. ``source`` is what the
    user gave, ``image_size`` the decoded image's ``(width, height)``. A file, and a Pillow image that was opened from
    one, is resized by ``policy`` whatever its size, so that a path and ``Image.open(path)`` give the same.

    >>> policy_for(np.zeros((32, 48, 3)), (48, 32), (32, 48), ResizePolicy()) == AS_IT_IS
    True
    >>> policy_for("photo.jpg", (48, 32), (32, 48), ResizePolicy()) == AS_IT_IS
    False
    """
    in_memory = isinstance(source, Image.Image) or (
        hasattr(source, "__array__") and not isinstance(source, str | bytes)  # NumPy's strings also have it
    )
    exact = image_size == size[::-1]
    return AS_IT_IS if exact and in_memory and not isinstance(source, ImageFile.ImageFile) else policy


def window(
    image_size: tuple[int, int], size: tuple[int, int], policy: ResizePolicy
) -> tuple[float, float, float, float]:
    """The part of an image that `resize` shows the network: left, top, right and bottom in the image's pixels.

    ``image_size`` is the image's ``(width, height)``. With ``"pad"``, the part reaches beyond the image.
    """
    (image_width, image_height), (height, width) = image_size, size
    across, down = image_width / width, image_height / height
    scale = policy.pick("resizing", squash=None, pad=max(across, down), crop=min(across, down) * policy.crop_fraction)
    if scale is None:
        return 0, 0, image_width, image_height
    left, top = (image_width - width * scale) / 2, (image_height - height * scale) / 2
    right, bottom = left + width * scale, top + height * scale
    if policy.method == "crop":  # rounding may lead out of the image, which Pillow refuses
        return max(left, 0), max(top, 0), min(right, image_width), min(bottom, image_height)
    return left, top, right, bottom


def fit(image: Image.Image, size: tuple[int, int], filter_: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """The whole image, undistorted, as large as it goes into ``size`` ``(width, height)``; a side is 1 at least."""
    return _scale(image, fitted(image.size, size), filter_)


def fitted(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The size at which an image fits into ``size`` undistorted, both ``(width, height)``; a side is 1 at least."""
    scale = min(size[0] / image_size[0], size[1] / image_size[1])
    return max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale))


def _scale(image: Image.Image, size: tuple[int, int], filter_: Image.Resampling) -> Image.Image:
    """Resize each side by itself; a side that is beyond `EXTREME` is averaged in steps first."""
    while filter_ is not Image.Resampling.NEAREST:
        across, down = (min(64, max(1, side // (EXTREME * goal))) for side, goal in zip(image.size, size, strict=True))
        if across == down == 1:
            break
        image = image.reduce((across, down))
    return image.resize(size, filter_)


def _crop(image: Image.Image, size: tuple[int, int], policy: ResizePolicy) -> NDArray[np.uint8]:
    """The center, at ``size`` ``(height, width)``.

    Resizing the part that stays is the same as resizing all and cutting, without the pixels that fall away.
    """
    return _part(image, size[::-1], policy, window(image.size, size, policy))


def _pad(image: Image.Image, size: tuple[int, int], policy: ResizePolicy) -> NDArray[np.uint8]:
    """The whole image, undistorted, on black of ``size`` ``(height, width)``."""
    height, width = size
    across, down = fitted(image.size, (width, height))
    left, top = (width - across) // 2, (height - down) // 2
    inner = _squash(image, (down, across), policy)
    pixels = np.zeros((height, width, *inner.shape[2:]), np.uint8)
    pixels[top : top + down, left : left + across] = inner
    return pixels


def _squash(image: Image.Image, size: tuple[int, int], policy: ResizePolicy) -> NDArray[np.uint8]:
    """The whole image at ``size`` ``(height, width)``."""
    height, width = size
    if policy.antialias:
        pixels = np.asarray(_scale(image, (width, height), Image.Resampling[policy.interpolation.upper()]))
    else:
        pixels = _part(image, (width, height), policy, (0, 0, *image.size))
    return pixels.reshape(height, width, len(image.getbands()))


def _part(
    image: Image.Image, size: tuple[int, int], policy: ResizePolicy, part: tuple[float, float, float, float]
) -> NDArray[np.uint8]:
    """The part of an image within left, top, right and bottom at ``size`` ``(width, height)``."""
    filter_ = Image.Resampling[policy.interpolation.upper()]
    if policy.antialias or filter_ is Image.Resampling.NEAREST:
        return np.asarray(image.resize(size, filter_, box=part))
    return _interpolate(np.asarray(image), size, part)


def _interpolate(
    pixels: NDArray[np.uint8], size: tuple[int, int], part: tuple[float, float, float, float]
) -> NDArray[np.uint8]:
    """Resize a part of an image to ``size`` ``(width, height)`` as ``tf.image.resize`` does by default.

    Each pixel is interpolated between its four nearest ones, however far apart the next four are: without
    antialiasing, details of a large image are skipped and not averaged.
    """
    left, right, across = _neighbors(pixels.shape[1], size[0], part[0], part[2])
    upper, lower, down = _neighbors(pixels.shape[0], size[1], part[1], part[3])
    ones = (1,) * (pixels.ndim - 2)
    across, down = across.reshape(-1, *ones), down.reshape(-1, 1, *ones)
    rows = [row[:, left] * (1 - across) + row[:, right] * across for row in (pixels[upper], pixels[lower])]
    return np.asarray(np.rint(rows[0] * (1 - down) + rows[1] * down), np.uint8)


def _neighbors(
    side: int, goal: int, start: float, end: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of ``goal`` pixels: its two neighbors of ``side``, and the weight of the second one."""
    places = start + (np.arange(goal) + 0.5) * ((end - start) / goal) - 0.5
    places = np.clip(places, 0, side - 1)
    first = np.floor(places).astype(np.intp)
    return first, np.minimum(first + 1, side - 1), (places - first).astype(np.float32)


def size_needed(size: tuple[int, int], policy: ResizePolicy) -> tuple[int, int] | None:
    """The ``(width, height)`` of an image that still has `MARGIN` times the pixels, each way, that `resize` needs.

    At least `SMALLEST`. None if all pixels are needed: nearest-neighbor interpolation, and any without
    antialiasing, would pick others.
    """
    if policy.interpolation == "nearest" or not policy.antialias:
        return None
    kept = policy.pick("resizing", crop=policy.crop_fraction, squash=1.0, pad=1.0)
    width, height = (max(SMALLEST, math.ceil(MARGIN * side / kept)) for side in size[::-1])
    return width, height
