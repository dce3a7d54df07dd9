"""From one image, in whatever form, to an RGB image of eight bits a channel.

What becomes of an image:

- EXIF orientation is applied; of an animation, or a file of several pages, the first one is taken.
- An embedded color profile is converted to sRGB; one that cannot be read counts as none.
- Transparency is laid on white.
- 16-bit gray is scaled from its nominal range, 0 to 65,535; 32-bit integers and floats, which have no nominal
  range, from their own minimum and maximum.
- CMYK, YCbCr, LAB, HSV and palettes are converted by Pillow.

Background, profiles, limits and the rest are settings of `ImagePolicy`. Pillow's global settings are never touched.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.fetch import fetch
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import Item, is_url

ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""
UNPREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}

_quiet = threading.Lock()


def decode(item: Item, policy: ImagePolicy, enough: tuple[int, int] | None = None) -> Image.Image:
    """Decode one image to a Pillow image of mode ``RGB``.

    Takes a path, an http(s) address, bytes, a binary file, a Pillow image, or an array or tensor of
    shape ``(h, w)``, ``(h, w, 1)``, ``(h, w, 3)`` or ``(h, w, 4)``, uint8 or float in 0..255. ``enough`` is a
    ``(width, height)`` below which a JPEG need not be decoded in full. Raises ImageError, which names the
    image, for anything that is not an image. The image is only read.
    """
    image = item.image
    if isinstance(image, ImageError):  # what its source met in place of it
        raise image
    try:
        if isinstance(image, Image.Image):
            return _quietly(_to_rgb, item, image, policy)
        if hasattr(image, "__array__") and not isinstance(image, str | bytes):  # numpy's own strings have it too
            return _from_array(item, _as_numpy(image), policy)
        data = _read(item, policy)
        return _quietly(_decode_bytes, item, data, policy, enough)
    except ImageError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        raise ImageError(item.name, f"it cannot be decoded: {_reason(error)}") from error


def _quietly(work: Callable[..., Image.Image], *arguments: Any) -> Image.Image:
    """Do ``work``, also for a caller whose filters turn warnings into errors: what Pillow warns of is no error."""
    try:
        return work(*arguments)
    except Warning:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work(*arguments)


def _read(item: Item, policy: ImagePolicy) -> io.BytesIO:
    """The bytes of an image that is not one yet."""
    image = item.image
    if is_url(image):
        return fetch(image, policy)
    if isinstance(image, str | os.PathLike):
        try:
            with open(image, "rb") as file:
                return _limited(item, file.read(policy.max_bytes + 1), policy)
        except FileNotFoundError:
            raise ImageError(item.name, "there is no such file") from None
        except IsADirectoryError:
            raise ImageError(item.name, "this is a folder, not an image; give it to stream or predict_batch") from None
        except (OSError, ValueError) as error:
            raise ImageError(item.name, f"it cannot be opened: {_reason(error)}") from None
    if isinstance(image, bytes | bytearray | memoryview):
        return _limited(item, image, policy)
    if hasattr(image, "read"):
        data = image.read(policy.max_bytes + 1)
        if not isinstance(data, bytes):
            raise ImageError(item.name, 'the file was opened for text; open it with "rb"')
        return _limited(item, data, policy)
    raise ImageError(
        item.name,
        f"an object of type {type(image).__name__} is not an image; give a path, an http(s) address, bytes, "
        "a binary file, a PIL image, or an array of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)",
    )


def _limited(item: Item, data: bytes | bytearray | memoryview, policy: ImagePolicy) -> io.BytesIO:
    if len(data) > policy.max_bytes:
        raise ImageError(item.name, f"it has more than {policy.max_bytes:,} bytes (ImagePolicy.max_bytes)")
    return io.BytesIO(data)


def _decode_bytes(item: Item, data: io.BytesIO, policy: ImagePolicy, enough: tuple[int, int] | None) -> Image.Image:
    data.seek(0)
    try:
        image = Image.open(data)
    except UnidentifiedImageError:
        data.seek(0)
        start = data.read(24)
        if not start:
            raise ImageError(item.name, "it is empty") from None
        reason = f"this is not an image in a format that can be read; it begins with {start!r}"
        raise ImageError(item.name, reason) from None
    with image:
        if image.format == "EPS":  # to decode it, Pillow would have Ghostscript run what is in the file
            raise ImageError(item.name, "PostScript is a program, not an image; convert it to PNG first")
        if enough is not None and policy.draft and image.format in ("JPEG", "MPO"):  # MPO is what many phones write
            _check_pixels(item, image, policy)
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            image.draft(None, enough[::-1] if turned else enough)  # None keeps the mode
        return _to_rgb(item, image, policy)


def _check_pixels(item: Item, image: Image.Image, policy: ImagePolicy) -> None:
    width, height = image.size
    if width * height > policy.max_pixels:
        raise ImageError(
            item.name, f"{width} x {height} pixels are more than {policy.max_pixels:,} (ImagePolicy.max_pixels)"
        )


def _to_rgb(item: Item, image: Image.Image, policy: ImagePolicy) -> Image.Image:
    _check_pixels(item, image, policy)
    try:
        image.load()
    except OSError:
        if policy.truncated == "error" or not isinstance(image, ImageFile.ImageFile):
            raise
        image.tile = []  # what there is of the image counts as all of it
        image.load()
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile") if policy.color_profile == "convert" else None
    if image.mode == "RGB" and "transparency" not in image.info:
        return _to_srgb(image, profile)
    if image.mode.startswith(("I", "F")):
        return _scaled(item, image)
    if image.has_transparency_data:
        image = image.convert(UNPREMULTIPLIED.get(image.mode, image.mode)).convert("RGBA")
        opaque = Image.alpha_composite(Image.new("RGBA", image.size, (*policy.background, 255)), image)
        return _to_srgb(opaque.convert("RGB"), profile)
    if image.mode in ("CMYK", "L", "LAB") and profile:
        return _to_srgb(image, profile)
    return _to_srgb(image.convert("RGB"), profile)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert by an embedded color profile; without one, or with one that does not fit, as Pillow does."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if image.mode != "RGB" or not ImageCms.getProfileDescription(source).startswith("sRGB"):
                # A transform of its own each time: LittleCMS's are not made for several threads.
                converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert("RGB")


def _scaled(item: Item, image: Image.Image) -> Image.Image:
    """Gray values of 16 or 32 bits, or floats, in eight bits."""
    values = np.asarray(image).astype(np.float32)
    low, high = 0.0, 65535.0
    if not image.mode.startswith("I;16"):
        finite = np.isfinite(values)
        if not finite.any():
            raise ImageError(item.name, "none of its values is a number")
        low = float(values.min(where=finite, initial=np.inf))
        high = float(values.max(where=finite, initial=-np.inf))
        np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    values -= low
    values *= 255.0 / ((high - low) or 1.0)
    np.rint(values, out=values)
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _as_numpy(image: Any) -> NDArray[Any]:
    if isinstance(image, np.ndarray):
        return image
    if hasattr(image, "detach"):  # torch: off the graph and the GPU
        image = image.detach().cpu()
    return np.asarray(image)


def _from_array(item: Item, array: NDArray[Any], policy: ImagePolicy) -> Image.Image:
    """Check that an array can only be one image in 0..255, and wrap it. It is never written to."""

    def refuse(reason: str) -> ImageError:
        return ImageError(item.name, f"this array of shape {array.shape} and dtype {array.dtype} {reason}")

    shape = array.shape
    if array.ndim == 4:
        raise refuse("holds several images; give it to predict_batch, or one of its rows to predict")
    channels = shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        if array.ndim == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > 4:
            raise refuse("has its channels first; turn it with np.moveaxis(array, 0, -1)")
        raise refuse("is not (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)")
    if 0 in shape:
        raise refuse("is empty")
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise refuse("has values that are NaN or infinite")
        if low < 0 or high > 255:
            raise refuse(
                f"has values from {low:g} to {high:g}, where 0 to 255 are expected; give the pixels as they were "
                "before any preprocessing, which is part of the network here"
            )
        if 0 < high <= 1:
            raise refuse(
                f"has values from {low:g} to {high:g}, all within 0 to 1, where 0 to 255 are expected; "
                "multiply it by 255"
            )
        array = np.rint(array).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise refuse("is neither uint8 nor float; if its values are 0 to 255, use array.astype(np.uint8)")
    array = array.reshape(shape[:2]) if channels == 1 else array
    return _to_rgb(item, Image.fromarray(np.ascontiguousarray(array)), policy)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"{error} (PIL.Image.MAX_IMAGE_PIXELS)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
