"""From one image, in whatever form, to an RGB image of eight bits a channel.

What becomes of an image is a table in the documentation, "What decoding decides", and each row of it is a test.
Background, profiles, limits and the rest are settings of `ImagePolicy`. Pillow's global settings are never touched, and
where Pillow reads a file wrongly, or its metadata keeps it from reading the pixels, it is not asked.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from pretrained_cnn.errors import ImageError, PretrainedCNNWarning
from pretrained_cnn.images import color, levels
from pretrained_cnn.images.headers import JPEG, PNG, BrokenHeaderError, Facts, orientation_of, read_jpeg, read_png
from pretrained_cnn.images.inputs import content, limited
from pretrained_cnn.images.kinds import known_kind, open_optional_formats, reason_of
from pretrained_cnn.images.levels import Samples
from pretrained_cnn.images.policy import FULL_SIZE, ImagePolicy
from pretrained_cnn.images.sources import Item
from pretrained_cnn.images.tiff import read_tiff

log = logging.getLogger(__name__)

UPRIGHT = frozenset({"HEIF", "JXL"})
"""Formats whose decoders turn the image by themselves; EXIF may repeat what is done already."""
REFUSED = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
"""Formats that Pillow knows of but does not decode itself, or by running what is in the file."""
TIFF = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")

BEFORE = b"\xef\xbb\xbf\r\n\t "
"""What a careless server or script puts before a file."""

STRIP = 4_000_000
"""Pixels that are converted at a time."""

BYTES_A_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""What Pillow keeps of a pixel; 4 of all other modes."""
DECODER_BYTES = {"WEBP": 13, "AVIF": 8, "HEIF": 6, "JPEG2000": 17, "JXL": 8}
"""What a decoder takes of each pixel beside Pillow's own image, as was measured."""

UNPACKED = 3
"""How many times ``max_memory`` the bytes may be that are unpacked, in all passes: about two seconds."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its orientation."""
UNPREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_quiet = threading.Lock()
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def decode(item: Item, policy: ImagePolicy, needed: tuple[int, int] | None = None) -> Image.Image:
    """Decode one image to a Pillow image of mode ``RGB``.

    Takes a path, an http(s) address, bytes, a binary file, a Pillow image, or an array or tensor of
    shape ``(h, w)``, ``(h, w, 1)``, ``(h, w, 3)`` or ``(h, w, 4)``, uint8 or float in 0..255. ``needed`` is a
    ``(width, height)`` below which a large image need not be decoded in full. Raises ImageError, which names the
    image, for anything that is not an image. The image is only read.
    """
    with _explained(item, policy):
        given = content(item, policy)
        if isinstance(given, bytes):
            held = [given]
            del given  # so that the bytes are let go of when they are no longer needed
            return _decode_bytes(item, held, policy, needed)
        if isinstance(given, Image.Image):
            return _of_pillow(item, given, policy, needed)
        return _of_array(item, given, policy)


@contextlib.contextmanager
def _explained(item: Item, policy: ImagePolicy = ImagePolicy()) -> Iterator[None]:
    """Whatever goes wrong with an image is an ImageError, which names it."""
    try:
        yield
    except ImageError:
        raise
    except PretrainedCNNWarning as warning:  # the caller's filters make it an error
        raise ImageError(item.name, str(warning).removeprefix(f"{item.name}: ")) from None
    except BrokenHeaderError as error:
        raise ImageError(item.name, str(error)) from None
    except Image.DecompressionBombError as error:  # of formats that Pillow itself looks at before it decodes
        reason, found = f"{error} (PIL.Image.MAX_IMAGE_PIXELS)", re.search(r"\((\d+) pixels\)", str(error))
        if found is not None and int(found[1]) > policy.max_pixels:
            reason = f"its {int(found[1]):,} pixels are more than {policy.max_pixels:,} (ImagePolicy.max_pixels)"
        raise ImageError(item.name, reason) from None
    except Exception as error:  # a broken file can make a decoder raise anything, and so can someone else's object
        raise ImageError(item.name, f"it cannot be decoded: {_reason(error)}") from error


# Bytes


def file_content(item: Item, policy: ImagePolicy) -> bytes | None:
    """The bytes of an image's file; None for an image that has none, such as an array. Raises ImageError."""
    with _explained(item, policy):
        given = content(item, policy)
        data = _file_of(given, policy) if isinstance(given, Image.Image) else given
        return data if isinstance(data, bytes) else None


def check_header(item: Item, data: bytes) -> None:
    """Raise ImageError for bytes that are no image, by their beginning; no pixel is decoded."""
    with _explained(item):
        opened, *_ = _open(item, data)
        if isinstance(opened, Image.Image):
            opened.close()


def _decode_bytes(item: Item, held: list[bytes], policy: ImagePolicy, needed: tuple[int, int] | None) -> Image.Image:
    """Decode a file's bytes, the only one in the list, from which they are taken: two copies would be a lot."""
    opened, facts, clean = _open(item, held.pop(), allow_cut=policy.truncated == "allow")
    if policy.color_profile == "ignore":
        facts.profile = facts.gamma = facts.primaries_and_transfer = None
    if needed is not None and facts.orientation >= 5:
        needed = needed[::-1]
    if isinstance(opened, Samples):
        image = _of_samples(item, opened, facts, policy, needed)
    else:
        with opened:
            image = _of_file(item, opened, facts, clean, policy, needed)
    image.info = {}  # what was in it is done: passed again, the image must not be turned again
    return image


def _open(item: Item, data: bytes, *, allow_cut: bool = False) -> tuple[ImageFile.ImageFile | Samples, Facts, bytes]:
    """An image whose header was read, what its file says beside its pixels, and the file without that."""
    try:
        if data.startswith(TIFF) and (reason := reason_of(data)) is not None:
            raise BrokenHeaderError(reason)
        if data.startswith(JPEG):
            clean, facts = read_jpeg(data)
            return JpegImagePlugin.JpegImageFile(io.BytesIO(clean)), facts, clean
        if data.startswith(PNG):
            clean, facts = read_png(data)
            return PngImagePlugin.PngImageFile(io.BytesIO(clean)), facts, clean
        if data.startswith(TIFF):
            found, facts = read_tiff(data, allow_cut=allow_cut)
            if isinstance(found, Samples):
                return found, facts, data
            return TiffImagePlugin.TiffImageFile(io.BytesIO(found)), facts, found
    except (SyntaxError, IndexError, TypeError, KeyError, ValueError, struct.error, EOFError) as error:
        kind = "JPEG" if data.startswith(JPEG) else "PNG" if data.startswith(PNG) else "TIFF"
        raise ImageError(item.name, f"this is a {kind} file, but its header cannot be read: {_reason(error)}") from None
    if not data:
        raise ImageError(item.name, "it is empty")
    if (reason := reason_of(data)) is not None:
        raise ImageError(item.name, reason)
    image = _identify(data)
    if image is None and data[:1] in BEFORE and (rest := data[:16].lstrip(BEFORE)).startswith((JPEG, PNG)):
        return _open(item, data[len(data[:16]) - len(rest) :], allow_cut=allow_cut)
    if image is None and (known := known_kind(data)) is not None:
        raise ImageError(item.name, f"this is {known} file that cannot be read; it is cut or broken")
    if image is None:
        reason = f"this is not an image in a format that can be read; it begins with {data[:24]!r}"
        raise ImageError(item.name, reason)
    info = image.info
    profile = info.get("icc_profile")
    facts = Facts(profile=profile if isinstance(profile, bytes) else None)
    if image.format not in UPRIGHT:
        facts.orientation = orientation_of(info.get("exif"), None if image.format == "AVIF" else info.get("xmp"))
    return image, facts, data


def _identify(data: bytes) -> ImageFile.ImageFile | None:
    """What ``Image.open`` gives, except its limits and warnings, which are global."""
    try:
        return _opened(data)
    except Warning:  # the caller's filters make errors of what Pillow says of old formats; no pixel was decoded yet
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _opened(data)


def _opened(data: bytes) -> ImageFile.ImageFile | None:
    Image.init()
    open_optional_formats()
    for name in Image.ID:
        if name in REFUSED:
            continue
        factory, accept = Image.OPEN[name]
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
            if accept is None or accept(data[:16]) is True:
                return factory(io.BytesIO(data), "")
    return None


def _of_file(
    item: Item,
    image: ImageFile.ImageFile,
    facts: Facts,
    data: bytes,
    policy: ImagePolicy,
    needed: tuple[int, int] | None,
) -> Image.Image:
    full = image.width * image.height
    if full > FULL_SIZE * policy.max_pixels or (facts.scans > 30 and facts.scans * full > 16 * policy.max_pixels):
        raise _too_many_pixels(item, image.size, policy)
    size = _draft(image, data, needed) if needed is not None and policy.draft else image.size
    shrink = _shrink(size, needed, policy)
    deep = image.format == "PNG" and bool(image.tile) and str(image.tile[0][3]).endswith(";16B")
    _check_size(item, image, size, facts, policy, shrink, beside=len(data), twice=deep)
    if deep and (samples := _png_samples(image, data, facts, policy)) is not None:
        return _of_samples(item, samples, facts, policy, needed)
    loaded = _loaded(image, data, policy)
    if deep and 0 < max(high for _, high in loaded.getextrema()[:3]) < 16:  # type: ignore[misc]
        levels.warn_of_darkness(item.name)
    return _to_rgb(item, loaded, facts, policy, shrink)


def _draft(image: Any, data: bytes, needed: tuple[int, int]) -> tuple[int, int]:
    """Have a file decoded at a lower resolution where its format allows it, and give the size that it then has."""
    if image.format == "JPEG":
        image.draft(None, needed)  # None keeps the mode
    if image.format == "JPEG2000":
        place = data.find(b"\xff\x52")  # the marker of its coding style
        power, most = 0, data[place + 9] if 0 < place < len(data) - 9 else 0
        while power < most and min(image.width // needed[0], image.height // needed[1]) >> (power + 1):
            power += 1
        if power:
            image.reduce = power
            return -(-image.width >> power), -(-image.height >> power)
    return image.width, image.height


def _check_size(
    item: Item,
    image: Image.Image,
    size: tuple[int, int],
    facts: Facts,
    policy: ImagePolicy,
    shrink: int,
    *,
    beside: int = 0,
    twice: bool = False,
) -> None:
    """Raise ImageError for an image that would take too many pixels, or too much memory, to decode."""
    if size[0] * size[1] > policy.max_pixels:
        raise _too_many_pixels(item, size, policy)
    each: float = BYTES_A_PIXEL.get(image.mode, 4) * (1 + twice) + DECODER_BYTES.get(image.format or "", 0)
    if image.mode != "RGB" or facts.orientation != 1:
        each += 4 / shrink**2
    _check_memory(item, size, int(size[0] * size[1] * each) + facts.coefficient_bytes + beside, policy)


def _check_memory(item: Item, size: tuple[int, int], takes: int, policy: ImagePolicy) -> None:
    if takes > policy.max_memory:
        raise ImageError(
            item.name,
            f"its {size[0]} x {size[1]} pixels would take {takes:,} bytes to decode, more than {policy.max_memory:,} "
            "(ImagePolicy.max_memory)",
        )


def _too_many_pixels(item: Item, size: tuple[int, int], policy: ImagePolicy) -> ImageError:
    reason = f"{size[0]} x {size[1]} pixels are more than {policy.max_pixels:,} (ImagePolicy.max_pixels)"
    return ImageError(item.name, reason)


def _shrink(size: tuple[int, int], needed: tuple[int, int] | None, policy: ImagePolicy) -> int:
    """How many times smaller, each way, an image may become by averages while it is converted."""
    if needed is None or not policy.draft:
        return 1
    return max(1, min(size[0] // needed[0], size[1] // needed[1]))


def _loaded(image: ImageFile.ImageFile, data: bytes, policy: ImagePolicy) -> Image.Image:
    """The image with its pixels; of a file that ends early what there is, if the policy says so and it is a row."""
    try:
        image.load()
        return image
    except OSError:
        if policy.truncated == "error":
            raise
        if image.format == "JPEG":  # libjpeg shows a progressive file only where it comes to an end
            ended = JpegImagePlugin.JpegImageFile(io.BytesIO(data + b"\xff\xd9"))
            ended.tile, ended.decoderconfig = image.tile, image.decoderconfig
            ended.draft(None, image.size)
            ended.load()
            if _is_gray(ended):
                raise
            return ended
        return _what_there_is(image)


def _what_there_is(image: ImageFile.ImageFile) -> Image.Image:
    """What was decoded before the file ended. Raises OSError if that is nothing."""
    image.tile = []
    image.load()
    if image.getbbox(alpha_only=False) is None:
        raise OSError("image file is truncated before its first row")
    return image


def _is_gray(image: Image.Image) -> bool:
    """Whether not one row of a JPEG was decoded: where it has no data, libjpeg leaves the middle gray."""
    below = image.convert("RGB").crop((0, min(16, image.height - 1), *image.size))
    end = image.convert("RGB").crop((image.width - 1, 0, image.width, min(16, image.height)))
    return all(extrema == (128, 128) for part in (below, end) for extrema in part.getextrema())


# Samples of more than eight bits


def _png_samples(image: ImageFile.ImageFile, data: bytes, facts: Facts, policy: ImagePolicy) -> Samples | None:
    """The samples of a PNG of 16 bits; None where their upper eight bits are enough."""
    rawmode = str(image.tile[0][3])
    key = image.info.get("transparency")
    eight_bits_suffice = policy.levels == "full" or (policy.levels == "declared" and (facts.bits or 16) >= 16)
    if rawmode.startswith("RGB") and eight_bits_suffice and key is None and color.by_gamma(facts.gamma) is None:
        return None
    if rawmode == "LA;16B":
        image.tile = [image.tile[0]._replace(args="RGBA")]  # its four bytes as they are
        parts = [_loaded(image, data, policy)]
    elif image.mode == "I;16":
        samples = levels.of_image(_loaded(image, data, policy))
    else:
        low = PngImagePlugin.PngImageFile(io.BytesIO(data))
        low.tile = [low.tile[0]._replace(args=rawmode.replace("16B", "16L"))]  # which takes the second byte of each
        parts = [_loaded(image, data, policy), _loaded(low, data, policy)]
    if image.mode != "I;16":
        mode = "LA" if rawmode == "LA;16B" else image.mode
        samples = Samples(image.size, lambda: _joined(parts, len(mode)), mode, 16)
    samples.key = (key,) if isinstance(key, int) else key
    samples.significant = facts.bits
    return samples


def _joined(parts: list[Image.Image], channels: int) -> Iterator[NDArray[np.uint16]]:
    """Samples of 16 bits whose bytes Pillow has: those of a sample side by side, or in two images."""
    width, height = parts[0].size
    rows = max(1, levels.BAND // (8 * width))
    for top in range(0, height, rows):
        box = (0, top, width, min(height, top + rows))
        high, *low = [np.asarray(part.crop(box)) for part in parts]
        if low:
            yield high.astype(np.uint16) << 8 | low[0]
        else:
            yield high.view(">u2").astype(np.uint16).reshape(len(high), width, channels)


def _of_samples(
    item: Item, samples: Samples, facts: Facts, policy: ImagePolicy, needed: tuple[int, int] | None
) -> Image.Image:
    width, height = samples.size
    if width * height > policy.max_pixels:
        raise _too_many_pixels(item, samples.size, policy)
    shrink = _shrink(samples.size, needed, policy)
    each = 1 if samples.mode == "L" else 4
    if samples.mode != "RGB" or facts.orientation != 1:
        each += 4
    _check_memory(item, samples.size, width * height * each // shrink**2 + samples.band_bytes, policy)
    if samples.unpacked > UNPACKED * policy.max_memory:
        raise ImageError(
            item.name,
            f"its {width} x {height} pixels have {samples.unpacked:,} bytes of samples to unpack, more than {UNPACKED} "
            f"times {policy.max_memory:,} (ImagePolicy.max_memory)",
        )
    samples.decoded = color.decoded(facts, samples.mode)
    image = levels.in_eight_bits(item.name, samples, policy.levels, shrink)
    return _to_rgb(item, image, facts, policy)


# Pillow's images


def _of_pillow(item: Item, image: Image.Image, policy: ImagePolicy, needed: tuple[int, int] | None) -> Image.Image:
    data = _file_of(image, policy)
    if data is not None:
        return _decode_bytes(item, [limited(item, data, policy)], policy, needed)
    if 0 in image.size:
        raise ImageError(item.name, f"this image of {image.width} x {image.height} pixels is empty")
    info = image.info
    facts = Facts()
    if policy.color_profile == "convert":
        profile, gamma = info.get("icc_profile"), info.get("gamma")
        facts.profile = profile if isinstance(profile, bytes) else None
        facts.gamma = gamma if isinstance(gamma, float) and "srgb" not in info and not facts.profile else None
    either_way = None if needed is None else (max(needed), max(needed))  # it is not known yet whether it is turned
    shrink = _shrink(image.size, either_way, policy)
    _check_size(item, image, image.size, facts, policy, shrink)
    tags = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and tags.get(284) == 2 and tags.get(259, 1) == 1 and max(tags.get(258, (1,))) > 8:
        raise ImageError(
            item.name, "Pillow decodes a TIFF of separate planes of 16 bits wrongly; give its path instead"
        )
    try:
        image.load()
    except OSError:
        if policy.truncated == "error" or not isinstance(image, ImageFile.ImageFile):
            raise
        image = _what_there_is(image)
    try:
        facts.orientation = orientation_of(image.getexif().tobytes(), info.get("xmp"))
    except Exception as error:  # what Pillow cannot read, or not write again, is not what it looks like
        log.debug("%s: EXIF is ignored: %s", item.name, error)
        facts.orientation = orientation_of(info.get("exif"), info.get("xmp"))
    return _to_rgb(item, image, facts, policy, shrink)


def _file_of(image: Image.Image, policy: ImagePolicy) -> bytes | None:
    """The file of an image that was opened and not yet decoded, in a format that is read here better than by Pillow."""
    if not isinstance(image, ImageFile.ImageFile) or image.format not in ("JPEG", "MPO", "PNG", "TIFF"):
        return None
    file: Any = image.fp
    if not image.tile or image.decoderconfig or file is None or image.tell() != 0 or not hasattr(file, "seek"):
        return None
    place = file.tell()
    file.seek(0)
    data: bytes = file.read(policy.max_bytes + 1)
    file.seek(place)
    return data


# To RGB


def _to_rgb(item: Item, image: Image.Image, facts: Facts, policy: ImagePolicy, shrink: int = 1) -> Image.Image:
    """A loaded image in sRGB, upright, on the background; ``shrink`` times smaller each way."""
    if image.mode.startswith(("I", "F")):
        samples = levels.of_image(image, sixteen_bits=_has_sixteen_bits(image))
        samples.white_is_zero = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0
        samples.decoded = color.decoded(facts, "L")
        return _to_rgb(item, levels.in_eight_bits(item.name, samples, policy.levels, shrink), facts, policy)
    finish = _finish(image, facts, policy)
    if finish is not None:
        image = _in_strips(image, finish, shrink)
    elif shrink > 1:
        image = image.reduce(shrink)
    if facts.orientation in TURNS:
        image = image.transpose(TURNS[facts.orientation])
        image.info = {}
    return image


def _has_sixteen_bits(image: Image.Image) -> bool:
    """Whether an image of mode ``I`` is one of 16 bits, as Pillow has it for PGM and for what was converted."""
    if image.mode != "I":
        return False
    low, high = image.getextrema()
    return image.format == "PPM" or bool(low >= 0 and 255 < high <= 65535)  # type: ignore[operator]


def _in_strips(image: Image.Image, finish: Callable[[Image.Image], Image.Image], shrink: int) -> Image.Image:
    """Convert strip by strip, so that nothing but the image and the result is ever whole."""
    width, height = image.size
    rows = max(1, STRIP // width // shrink) * shrink
    # Averages first are cheaper, but there are none of a palette's numbers or of a color that stands for transparent.
    first = shrink if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK") and "transparency" not in image.info else 1

    def convert(strip: Image.Image) -> Image.Image:
        return levels.shrunk(finish(levels.shrunk(strip, first)), shrink // first)

    if rows >= height:
        return convert(image)
    done = Image.new("RGB", (-(-width // shrink), -(-height // shrink)))
    for top in range(0, height, rows):
        done.paste(convert(image.crop((0, top, width, min(height, top + rows)))), (0, top // shrink))
    return done


def _finish(image: Image.Image, facts: Facts, policy: ImagePolicy) -> Callable[[Image.Image], Image.Image] | None:
    """What makes RGB of a strip of this image; None if it is RGB."""
    mode, transparent = image.mode, image.has_transparency_data
    plain = "CMYK" if mode == "CMYK" else "LAB" if mode == "LAB" else "L" if mode in ("1", "L", "LA", "La") else "RGB"
    change = color.change(facts, plain)
    if mode == "RGB" and change is None and not transparent:
        return None
    ignored = mode in ALPHA and _is_clear(image)

    def finish(strip: Image.Image) -> Image.Image:
        alpha = None
        if ignored:
            strip = Image.merge(mode[:-1], strip.split()[:-1]) if mode != "PA" else strip.convert("RGB")
        elif transparent:
            strip = strip.convert(UNPREMULTIPLIED.get(mode, mode)).convert(f"{plain}A")
            alpha = strip.getchannel("A")
        if facts.inverted:
            strip = ImageChops.invert(strip)
        strip = strip.convert(plain)
        rgb = change(strip) if change is not None else strip.convert("RGB")
        if alpha is None or alpha.getextrema() == (255, 255):
            return rgb
        paper = Image.new("RGB", rgb.size, policy.background)
        paper.paste(rgb, mask=alpha)
        return paper

    return finish


def _is_clear(image: Image.Image) -> bool:
    """Whether an alpha channel is zero everywhere: then it says nothing, as in a TGA of 32 bits without one."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        if strip.getchannel(len(strip.getbands()) - 1).getextrema()[1]:
            return False
    return True


# Arrays


def _of_array(item: Item, array: NDArray[Any], policy: ImagePolicy) -> Image.Image:
    """Check that an array can only be one image in 0..255, and wrap it. It is never written to."""

    def refuse(reason: str) -> ImageError:
        return ImageError(item.name, f"this array of shape {array.shape} and dtype {array.dtype} {reason}")

    shape = array.shape
    if array.dtype == object:
        raise refuse(
            "is of Python objects; give one of them, or all to predict_batch; if they are pixels, use "
            "array.astype(np.uint8)"
        )
    if array.ndim == 1 and array.dtype == np.uint8:  # an encoded file, as of np.frombuffer and cv2.imencode
        return _decode_bytes(item, [limited(item, array.tobytes(), policy)], policy, None)
    if array.ndim == 4:
        raise refuse("holds several images; give it to predict_batch, or one of its rows to predict")
    channels = shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        if array.ndim == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > 4:
            raise refuse("has its channels first; turn it with np.moveaxis(array, 0, -1)")
        raise refuse("is not (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)")
    if 0 in shape:
        raise refuse("is empty")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise refuse("is masked in places; say what is there with array.filled(255)")
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind == "f":
        array = _from_floats(array, refuse)
    elif array.dtype == bool:
        raise refuse("is of booleans; use array.astype(np.uint8) * 255")
    elif array.dtype == np.uint16:
        raise refuse(
            "is neither uint8 nor float; if its values are 0 to 255, use array.astype(np.uint8), "
            "if 0 to 65,535, (array // 257).astype(np.uint8)"
        )
    elif array.dtype != np.uint8:
        raise refuse("is neither uint8 nor float; if its values are 0 to 255, use array.astype(np.uint8)")
    array = array.reshape(shape[:2]) if channels == 1 else array
    image = Image.fromarray(np.ascontiguousarray(array))
    _check_size(item, image, image.size, Facts(), policy, 1)
    return _to_rgb(item, image, Facts(), policy)


def _from_floats(array: NDArray[Any], refuse: Callable[[str], ImageError]) -> NDArray[np.uint8]:
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise refuse("has values that are NaN or infinite")
    found = f"has values from {low:g} to {high:g}, where 0 to 255 are expected"
    if low >= -32 and 200 < high <= 287 and (low < 0 or high > 255):
        raise refuse(f"{found}; bicubic and Lanczos interpolation overshoot: use np.clip(array, 0, 255)")
    if low < 0 or high > 255:
        raise refuse(
            f"{found}; give the pixels as they were before any preprocessing, which is part of the network here"
        )
    if 0 < high <= 1:
        raise refuse(
            f"has values from {low:g} to {high:g}, all within 0 to 1, where 0 to 255 are expected; multiply it by 255"
        )
    if array.ndim == 3 and array.shape[2] == 4 and 0 < float(array[..., 3].max()) <= 1:
        raise refuse("has colors of 0 to 255, but an alpha channel within 0 to 1; multiply array[..., 3] by 255")
    rounded: NDArray[np.uint8] = np.rint(array).astype(np.uint8)
    return rounded


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
