"""From one picture, in whatever form, to an RGB image of eight bits a channel.

- EXIF orientation is applied, transparency is laid on white, an embedded colour profile is left as it is.
- 16-bit pictures are scaled from their nominal range, 32-bit and float ones from their own minimum and
  maximum, since they have no nominal one.
- CMYK, YCbCr, LAB, HSV and palettes are converted by Pillow; of an animation the first frame is taken.
"""

from __future__ import annotations

import http.client
import io
import os
import urllib.error
import urllib.request
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.sources import Item, is_url

MAX_PIXELS = 89_478_485
"""Pictures of more pixels are refused: where Pillow begins to warn of decompression bombs."""
MAX_URL_BYTES = 64 * 1024 * 1024
"""What is read of one address at most."""
URL_TIMEOUT = 30.0
"""Seconds to wait for an address."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""
UNPREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
WHITE = (255, 255, 255, 255)


def decode(item: Item) -> Image.Image:
    """Decode one picture to a Pillow image of mode ``RGB``.

    Takes a path, an http(s) address, bytes, a binary file, a Pillow image, or an array or tensor of
    shape ``(h, w)``, ``(h, w, 1)``, ``(h, w, 3)`` or ``(h, w, 4)``, uint8 or float in 0..255. Raises
    ImageError, which names the picture, for anything that is not a picture. The picture is only read.
    """
    picture = item.picture
    try:
        if isinstance(picture, Image.Image):
            return _to_rgb(item, picture)
        if isinstance(picture, np.ndarray) or hasattr(picture, "__array__"):
            return _from_array(item, _as_numpy(picture))
        with _open_stream(item) as stream, _open_image(item, stream) as image:
            return _to_rgb(item, image)
    except ImageError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        raise ImageError(item.name, f"it cannot be decoded: {_reason(error)}") from error


def _open_stream(item: Item) -> io.BytesIO:
    picture = item.picture
    if is_url(picture):
        return _fetch(item)
    if isinstance(picture, str | os.PathLike):
        try:
            with open(picture, "rb") as file:
                return io.BytesIO(file.read())
        except FileNotFoundError:
            raise ImageError(item.name, "there is no such file") from None
        except IsADirectoryError:
            raise ImageError(item.name, "this is a folder, not a picture; give it to stream or predict_batch") from None
        except (OSError, ValueError) as error:
            raise ImageError(item.name, f"it cannot be opened: {_reason(error)}") from None
    if isinstance(picture, bytes | bytearray | memoryview):
        return io.BytesIO(picture)
    if hasattr(picture, "read"):
        data = picture.read()
        if not isinstance(data, bytes):
            raise ImageError(item.name, 'the file was opened for text; open it with "rb"')
        return io.BytesIO(data)
    raise ImageError(
        item.name,
        f"a {type(picture).__name__} is not a picture; give a path, an http(s) address, bytes, a binary file, "
        "a PIL image, or an array of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)",
    )


def _open_image(item: Item, stream: io.BytesIO) -> Image.Image:
    try:
        return Image.open(stream)
    except UnidentifiedImageError:
        stream.seek(0)
        start = stream.read(24)
        if not start:
            raise ImageError(item.name, "it is empty") from None
        reason = f"this is not a picture in a format that can be read; it begins with {start!r}"
        raise ImageError(item.name, reason) from None


def _fetch(item: Item) -> io.BytesIO:
    try:
        with urllib.request.urlopen(item.picture, timeout=URL_TIMEOUT) as response:
            data = response.read(MAX_URL_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise ImageError(item.name, f"it cannot be fetched: {_reason(error)}") from None
    if len(data) > MAX_URL_BYTES:
        raise ImageError(item.name, f"it has more than {MAX_URL_BYTES:,} bytes")
    return io.BytesIO(data)


def _to_rgb(item: Item, image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(item.name, f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith(("I", "F")):
        return _scaled(item, image)
    if image.has_transparency_data:
        image = image.convert(UNPREMULTIPLIED.get(image.mode, image.mode)).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")
    return image.convert("RGB")


def _scaled(item: Item, image: Image.Image) -> Image.Image:
    """Grey values of 16 or 32 bits, or floats, in eight bits."""
    values = np.asarray(image).astype(np.float64)
    low, high = 0.0, 65535.0
    if not image.mode.startswith("I;16"):
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            raise ImageError(item.name, "none of its values is a number")
        low, high = float(finite.min()), float(finite.max())
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scaled = (values - low) * (255.0 / ((high - low) or 1.0))
    return Image.fromarray(np.rint(scaled).astype(np.uint8), "L").convert("RGB")


def _as_numpy(picture: Any) -> NDArray[Any]:
    if isinstance(picture, np.ndarray):
        return picture
    if hasattr(picture, "detach"):  # torch: off the graph and the GPU
        picture = picture.detach().cpu()
    return np.asarray(picture)


def _from_array(item: Item, array: NDArray[Any]) -> Image.Image:
    """Check that an array can only be one picture in 0..255, and wrap it. It is never written to."""

    def refuse(reason: str) -> ImageError:
        return ImageError(item.name, f"this array of shape {array.shape} and dtype {array.dtype} {reason}")

    shape = array.shape
    if array.ndim == 4:
        raise refuse("holds several pictures; give it to predict_batch, or one of its rows to predict")
    channels = shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        if array.ndim == 3 and shape[0] in (1, 3, 4):
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
    return _to_rgb(item, Image.fromarray(np.ascontiguousarray(array)))


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
