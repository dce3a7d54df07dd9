"""Images as they occur in the wild: each row makes a file or an object, and says what must become of it.

The files are made from the drawings of this repository. What is expected is the drawing itself, as another reader
(OpenCV, tifffile or imagecodecs) gives it, or the text of the error.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from paths import EXAMPLES, ROOT
from PIL import Image, ImageChops
from servers import Handler, serve

from pretrained_cnn import (
    Classifier,
    ImageError,
    ImagePolicy,
    InvalidArgumentError,
    PretrainedCNNWarning,
    ResizePolicy,
    _process,
)
from pretrained_cnn.cli.console import complain
from pretrained_cnn.cli.images import ImageOptions, image_policy
from pretrained_cnn.cli.options import Command
from pretrained_cnn.images import decode as decoding
from pretrained_cnn.images import kinds, levels
from pretrained_cnn.images.batch import batches
from pretrained_cnn.images.decode import REFUSED as REFUSED_FORMATS
from pretrained_cnn.images.decode import decode as decode_item
from pretrained_cnn.images.labeled import labeled
from pretrained_cnn.images.skipping import Skipped
from pretrained_cnn.images.sources import SUFFIXES, iter_items, single_item
from pretrained_cnn.results.stream import Sources

DRAWING = Image.open(EXAMPLES / "balloon.png").convert("RGB").resize((97, 121))
"""Odd sides, so that a wrong stride shows."""
RGB = np.asarray(DRAWING)
GRAY = np.asarray(DRAWING.convert("L"))
ALPHA = np.tile(np.linspace(0, 255, 97).astype(np.uint8), (121, 1))
ON_WHITE = np.rint(255 - (255 - RGB.astype(float)) * ALPHA[..., np.newaxis] / 255).astype(np.uint8)


def decode(image: Any, **settings: Any) -> np.ndarray:
    decoded = decode_item(single_item(image), ImagePolicy(**settings))
    assert decoded.mode == "RGB"
    return np.asarray(decoded)


def encode(image: Image.Image | np.ndarray, format_: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format_, **options)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunks(png: bytes, *chunks: bytes, last: bool = False) -> bytes:
    """A PNG with more chunks, behind its header or before its end."""
    place = len(png) - 12 if last else 33
    return png[:place] + b"".join(chunks) + png[place:]


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with more segments behind its first marker."""
    made = [bytes([0xFF, kind]) + struct.pack(">H", len(content) + 2) + content for kind, content in segments]
    return jpeg[:2] + b"".join(made) + jpeg[2:]


def exif(*entries: tuple[int, int, int, bytes], order: str = "<", tail: bytes = b"") -> bytes:
    """An EXIF block of entries: tag, type, count, and the four bytes of the value."""
    made = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(order + "IH", 8, len(entries)) + made + bytes(4) + tail


SIX = exif((0x0112, 3, 1, b"\6\0\0\0"))
TURNED = np.asarray(DRAWING.transpose(Image.Transpose.ROTATE_90))
"""As a camera stores it that was held so that orientation 6 is right."""


def profile(gamma: float, name: str, space: bytes = b"RGB ", swapped: bool = False) -> bytes:
    """An ICC profile with sRGB's colors, or with red and blue swapped, and a plain power for its curve."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    description = (b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)).ljust(160, b"\0")
    red, blue = (0.4361, 0.2225, 0.0139), (0.1431, 0.0606, 0.7141)
    tags = {b"desc": description, b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    if space == b"RGB ":
        tags |= {b"rXYZ": xyz(*(blue if swapped else red)), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
        tags |= {b"bXYZ": xyz(*(red if swapped else blue)), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    else:
        tags |= {b"kTRC": curve}
    place, table, body = 132 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", place + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"test", 0x02100000, b"mntr", space, b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


LINEAR, LINEAR_GRAY = profile(1.0, "sRGB, but linear"), profile(1.0, "Linear gray", b"GRAY")


def light(values: np.ndarray, most: int = 65535) -> np.ndarray:
    """What is stored by a linear profile: the light itself."""
    stored = values / 255
    linear = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    return np.rint(linear * most).astype(np.uint8 if most == 255 else np.uint16)


def png16(array: np.ndarray) -> bytes:
    """PNG of 16 bits by OpenCV, whose colors are blue first."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(array.shape[-1] if array.ndim == 3 else 1)
    return bytes(cv2.imencode(".png", array if order is None else array[..., order])[1])


def png_of(array: np.ndarray, kind: int, bits: int = 16) -> bytes:
    """PNG of any color type, without filters."""
    rows = array.astype(">u2" if bits == 16 else "u1").reshape(len(array), -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def by_opencv(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert found is not None
    return found[..., ::-1] if found.ndim == 3 else found


def by_tifffile(data: bytes) -> np.ndarray:
    return tifffile.imread(io.BytesIO(data))


def wide(values: np.ndarray, bits: int = 16) -> np.ndarray:
    """8 bits stretched over more."""
    return np.rint(values.astype(np.float64) * ((2.0**bits - 1) / 255)).astype(f"u{bits // 8}")


def stretched(values: np.ndarray) -> np.ndarray:
    """From the least to the greatest value."""
    low, high = int(values.min()), int(values.max())
    return np.rint((values.astype(float) - low) * 255 / (high - low)).astype(np.uint8)


Row = tuple[Callable[[], Any], np.ndarray, float]
"""What makes the image, what is expected, and by how much a value may differ on average."""


def tiffs() -> Iterator[tuple[str, Row]]:
    """TIFF of more than eight bits, which Pillow decodes wrongly or not at all."""
    for order in "<>":
        for compression in (None, "zlib", "lzw", "packbits"):
            for tile in (None, (32, 48)):
                if (compression == "packbits" or tile) and order == ">":
                    continue
                options: dict[str, Any] = {"byteorder": order, "compression": compression, "tile": tile}
                name = f"{order} {compression} {'tiled' if tile else 'strips'}"
                planes = np.moveaxis(wide(RGB), -1, 0)
                separate = {"photometric": "rgb", "planarconfig": "separate", **options}
                yield f"planar 16 bits {name}", (lambda a=planes, o=separate: tiff(a, **o), RGB, 0.01)
                white_is_zero = {"photometric": "miniswhite", **options}
                inverted = 65535 - wide(GRAY)
                yield f"white is zero 16 bits {name}", (lambda a=inverted, o=white_is_zero: tiff(a, **o), GRAY, 0.01)
    for order in "<>":
        white = {"photometric": "miniswhite", "byteorder": order}
        black = {"photometric": "minisblack", "byteorder": order}
        narrow = {"photometric": "palette", "byteorder": order, "colormap": np.tile(np.arange(256, dtype="u2"), (3, 1))}
        for big in (False, True):  # some programs write 8 bits, where 16 are the rule
            name = f"palette of 8 bits {order} {'big' if big else 'classic'}"
            yield name, (lambda o=narrow, big=big: tiff(GRAY, bigtiff=big, **o), GRAY, 0)
        for bits in (8, 32):
            most = 2**bits - 1
            inverted = (most - wide(GRAY, bits).astype(np.int64)).astype(f"u{bits // 8}")
            expected = GRAY if bits == 8 else stretched(GRAY)
            yield f"white is zero {bits} bits {order}", (lambda a=inverted, o=white: tiff(a, **o), expected, 0.5)
        yield f"unsigned 32 bits {order}", (lambda o=black: tiff(wide(GRAY, 32), **o), stretched(GRAY), 0.01)
        floats = (1 - GRAY / 255).astype(np.float32)
        yield f"white is zero floats {order}", (lambda a=floats, o=white: tiff(a, **o), stretched(GRAY), 0.5)
        for kind in ("f2", "f4", "f8"):
            colors = (RGB / 255).astype(kind)
            options = {"photometric": "rgb", "byteorder": order}
            yield f"RGB floats {kind} {order}", (lambda a=colors, o=options: tiff(a, **o), stretched(RGB), 0.3)
        big = {"photometric": "rgb", "byteorder": order, "bigtiff": True}
        yield f"BigTIFF {order}", (lambda o=big: tiff(RGB, **o), RGB, 0)
        yield f"BigTIFF 16 bits {order}", (lambda o=big: tiff(wide(RGB), **o), RGB, 0.01)
    signed = (GRAY.astype(np.int16) - 128).astype(np.int8)
    yield "signed 8 bits", (lambda: tiff(signed), stretched(GRAY), 0.01)
    yield "signed 16 bits", (lambda: tiff(GRAY.astype(np.int16) * 100 - 5000), stretched(GRAY), 0.01)
    yield (
        "CMYK of 16 bits",
        (lambda: tiff(wide(np.asarray(DRAWING.convert("CMYK"))), photometric="separated"), RGB, 0.01),
    )
    yield "12 bits packed", (lambda: tiff_of_12_bits(GRAY), GRAY, 0.01)
    yield "12 bits packed, white is zero", (lambda: tiff_of_12_bits(255 - GRAY, 0), GRAY, 0.01)
    predicted = {"photometric": "minisblack", "compression": "zlib", "predictor": True}
    yield "predicted 16 bits", (lambda: tiff(wide(GRAY), **predicted), GRAY, 0.01)
    yield "predicted floats", (lambda: tiff((GRAY / 255).astype("f4"), **predicted), stretched(GRAY), 0.01)
    alpha = np.dstack([wide(RGB), wide(ALPHA)])
    with_alpha = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    yield "16 bits with alpha", (lambda: tiff(alpha, **with_alpha), ON_WHITE, 0.6)
    linear = {"photometric": "rgb", "iccprofile": LINEAR}
    yield "16 bits with a profile", (lambda: tiff(light(RGB), **linear), RGB, 1.5)
    gray = {"photometric": "minisblack", "iccprofile": LINEAR_GRAY}
    yield "16 bits gray with a profile", (lambda: tiff(light(GRAY), **gray), GRAY, 0.6)
    declared = [(281, "H", 1, 4095, True)]
    twelve = {"photometric": "minisblack", "extratags": declared}
    yield "12 bits in 16, declared", (lambda: tiff((GRAY.astype(np.uint16) << 4), **twelve), GRAY, 1.5)
    colors = {"photometric": "rgb", "extratags": declared}
    yield "12 bits in 16 RGB, declared", (lambda: tiff((RGB.astype(np.uint16) << 4), **colors), RGB, 1.5)
    yield "a thumbnail before the image", (lambda: thumbnail_first(), RGB, 0)
    yield (
        "five bands of 16 bits",
        (
            lambda: tiff(np.dstack([wide(RGB)] + [wide(ALPHA)] * 2), photometric="rgb", extrasamples=[0, 0]),
            RGB,
            0.01,
        ),
    )


def shallow_tiffs() -> Iterator[tuple[str, Row]]:
    """TIFF of planes and of depths that Pillow does not know, or decodes wrongly."""
    white = np.rint(255 - (255 - GRAY.astype(float)) * ALPHA / 255).astype(np.uint8)
    with_alpha = {"gray": ([GRAY, ALPHA], white), "RGB": ([*np.moveaxis(RGB, -1, 0), ALPHA], ON_WHITE)}
    for compression in (None, "zlib", "lzw"):
        for name, (planes, expected) in with_alpha.items():
            options: dict[str, Any] = {"photometric": "minisblack" if name == "gray" else "rgb", "metadata": None}
            options |= {"planarconfig": "separate", "compression": compression, "extrasamples": ["unassalpha"]}
            yield (
                f"planes: {name}, alpha {compression}",
                (lambda a=planes, o=options: tiff(np.stack(a), **o), expected, 0.6),
            )
            multiplied = [*(np.rint(plane * (ALPHA / 255)).astype(np.uint8) for plane in planes[:-1]), ALPHA]
            assoc = {**options, "extrasamples": ["assocalpha"]}
            yield (
                f"planes: {name}, associated {compression}",
                (lambda a=multiplied, o=assoc: tiff(np.stack(a), **o), expected, 2),
            )
    two = {"photometric": "minisblack", "extrasamples": [0, 0], "metadata": None}
    yield "gray and two more samples", (lambda: tiff(np.dstack([GRAY, ALPHA, 255 - ALPHA]), **two), GRAY, 0)
    for bits in (1, 3, 4, 9, 13):
        most = 2**bits - 1
        few = np.rint(RGB * (most / 255)).astype(np.uint8 if bits < 9 else np.uint16)
        expected = np.rint(few * (255 / most)).astype(np.uint8)
        options = {"bitspersample": bits, "metadata": None}
        colors = {"photometric": "rgb", **options}
        yield f"RGB of {bits} bits", (lambda a=few, o=colors: tiff(a, **o), expected, 0.01)
        separate = {**colors, "planarconfig": "separate"}
        yield (
            f"RGB of {bits} bits in planes",
            (lambda a=few, o=separate: tiff(np.moveaxis(a, -1, 0), **o), expected, 0.01),
        )
        gray = {"photometric": "miniswhite", **options}
        shown = expected[..., 1]
        yield (
            f"gray of {bits} bits",
            (lambda a=most - few[..., 1], o=gray, b=few: tiff(a.astype(b.dtype), **o), shown, 0.01),
        )


def tiff_of_12_bits(gray: np.ndarray, photometric: int = 1) -> bytes:
    """Two samples in three bytes, as cameras and scanners pack them."""
    values = np.rint(gray.astype(float) * 4095 / 255).astype(np.uint16)
    bits = (values[..., np.newaxis] >> np.arange(11, -1, -1)) & 1
    rows = np.packbits(bits.reshape(len(gray), -1).astype(np.uint8), axis=1)
    height, width = gray.shape
    entries = [(256, width), (257, height), (258, 12), (259, 1), (262, photometric), (273, 8)]
    entries += [(277, 1), (278, height), (279, rows.size)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    place = 8 + rows.size
    return b"II*\0" + struct.pack("<I", place) + rows.tobytes() + struct.pack("<H", len(entries)) + directory + bytes(4)


def thumbnail_first() -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(RGB[::4, ::4].copy(), photometric="rgb", subfiletype=1)
        writer.write(RGB, photometric="rgb", subfiletype=0)
    return stream.getvalue()


def jpegs() -> Iterator[tuple[str, Row]]:
    plain = encode(DRAWING, "JPEG", quality=95)
    expected = by_opencv(plain)
    cmyk = encode(ImageChops.invert(DRAWING.convert("CMYK")), "JPEG", quality=95)
    yield "CMYK without Adobe's marker", (lambda: without_segment(cmyk, b"\xff\xee"), RGB, 6)
    bad = exif((0x0112, 3, 1, b"\6\0\0\0"), (0x011A, 5, 1, struct.pack("<I", 38)), tail=struct.pack("<iI", -1, 0))
    turned = encode(TURNED, "JPEG", quality=95)
    seen = np.rot90(by_opencv(turned, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), -1)
    head = b"Exif\0\0"
    for name, block in {
        "orientation": SIX,
        "orientation, big-endian": exif((0x0112, 3, 1, b"\0\6\0\0"), order=">"),
        "orientation as LONG": exif((0x0112, 4, 1, b"\6\0\0\0")),
        "orientation as a fraction": exif((0x0112, 5, 1, struct.pack("<I", 26)), tail=struct.pack("<II", 6, 1)),
        "a fraction that cannot be written again": bad,
        "the head twice": head + SIX,
        "a broken entry behind": exif((0x0112, 3, 1, b"\6\0\0\0"), (0x8769, 4, 1, b"\xff\xff\xff\x7f")),
    }.items():
        yield f"EXIF: {name}", (lambda b=block: with_segments(turned, (0xE1, head + b)), seen, 0.1)
    for name, block in {
        "garbage": b"garbage" * 9,
        "cut": SIX[:12],
        "orientation 9": exif((0x0112, 3, 1, b"\t\0\0\0")),
        "orientation as text": exif((0x0112, 2, 2, b"6\0\0\0")),
        "no value": exif((0x0112, 3, 0, b"\6\0\0\0")),
        "5,000 entries": exif(*[(0x0100, 3, 1, b"\6\0\0\0")] * 5000),
        "pointing nowhere": b"II*\0\xff\xff\xff\xff",
    }.items():
        yield f"EXIF: {name}", (lambda b=block: with_segments(plain, (0xE1, head + b)), expected, 0.1)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation="6"/>'
    yield "orientation in XMP", (lambda: with_segments(turned, (0xE1, xmp)), seen, 0.1)
    many = [(0xE1, head + bytes(30))] * 25_000
    yield "25,000 EXIF segments", (lambda: with_segments(plain, *many), expected, 0.1)
    yield "fill bytes", (lambda: plain[:2] + b"\xff" * 1_000_000 + plain[2:], expected, 0.1)
    yield "a broken profile", (lambda: with_segments(plain, (0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 99)), expected, 0.1)
    yield "trailing bytes", (lambda: plain + bytes(1_000_000), expected, 0.1)


def without_segment(jpeg: bytes, marker: bytes) -> bytes:
    start = jpeg.index(marker)
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4]) :]


def pngs() -> Iterator[tuple[str, Row]]:
    plain, turned = encode(DRAWING, "PNG"), encode(TURNED, "PNG")
    text = zlib.compress(b"x" * 3_000_000)
    for name, made in {
        "a text of 3 MB": with_chunks(plain, chunk(b"zTXt", b"Comment\0\0" + text)),
        "a text of 3 MB behind the pixels": with_chunks(plain, chunk(b"zTXt", b"Comment\0\0" + text), last=True),
        "XMP of 3 MB": with_chunks(plain, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + text)),
        "a profile of 3 MB": with_chunks(plain, chunk(b"iCCP", b"big\0\0" + text)),
        "a profile that is no zlib": with_chunks(plain, chunk(b"iCCP", b"bad\0\0" + b"nonsense")),
        "a profile packed in an unknown way": with_chunks(plain, chunk(b"iCCP", b"bad\0\7" + b"nonsense")),
        "a text with a wrong checksum": with_chunks(plain, chunk(b"tEXt", b"a\0b")[:-1] + b"!"),
        "EXIF that is garbage": with_chunks(plain, chunk(b"eXIf", b"garbage")),
        "a gamma of two bytes": with_chunks(plain, chunk(b"gAMA", b"\0\1")),
        "an animation's broken head": with_chunks(plain, chunk(b"acTL", b"\0")),
        "1,000 unknown chunks": with_chunks(plain, *[chunk(b"teSt", b"x")] * 1000),
        "sRGB and a gamma that says else": with_chunks(
            plain, chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100_000))
        ),
        "no end": plain[:-12],
    }.items():
        yield name, (lambda m=made: m, RGB, 0)
    raw = b"\nexif\n%8d\n%s\n" % (len(SIX), SIX.hex().encode())
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>6</tiff:Orientation>"
    for name, made in {
        "EXIF": with_chunks(turned, chunk(b"eXIf", SIX)),
        "EXIF behind the pixels": with_chunks(turned, chunk(b"eXIf", SIX), last=True),
        "EXIF as a raw profile": with_chunks(turned, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw))),
        "XMP": with_chunks(turned, chunk(b"iTXt", xmp)),
    }.items():
        yield f"orientation in {name}", (lambda m=made: m, RGB, 0)
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    yield "gamma of 1, 16 bits", (lambda: with_chunks(png16(light(RGB)), gamma), RGB, 0.5)
    yield "gamma of 1, 16 bits gray", (lambda: with_chunks(png16(light(GRAY)), gamma), GRAY, 0.5)
    yield "gamma of 1", (lambda: with_chunks(encode(light(RGB, 255), "PNG"), gamma), RGB, 2.5)
    yield "gamma, and to ignore it", (lambda: with_chunks(plain, gamma), RGB, 0)
    packed = zlib.compress(LINEAR)
    yield (
        "a linear profile called sRGB",
        (
            lambda: with_chunks(encode(light(RGB, 255), "PNG"), chunk(b"iCCP", b"x\0\0" + packed)),
            RGB,
            2.5,
        ),
    )
    yield (
        "a linear gray profile, 16 bits",
        (
            lambda: with_chunks(png16(light(GRAY)), chunk(b"iCCP", b"x\0\0" + zlib.compress(LINEAR_GRAY))),
            GRAY,
            0.6,
        ),
    )
    clear = np.full_like(ALPHA, 255)
    yield (
        "a linear gray profile with alpha",
        (
            lambda: with_chunks(
                png_of(np.dstack([light(GRAY), wide(clear)]), 4), chunk(b"iCCP", b"x\0\0" + zlib.compress(LINEAR_GRAY))
            ),
            GRAY,
            0.6,
        ),
    )
    gray_on_white = np.rint(255 - (255 - GRAY.astype(float)) * ALPHA / 255).astype(np.uint8)
    yield "16 bits gray with alpha", (lambda: png_of(np.dstack([wide(GRAY), wide(ALPHA)]), 4), gray_on_white, 0.6)
    yield "16 bits with alpha", (lambda: png16(np.dstack([wide(RGB), wide(ALPHA)])), ON_WHITE, 0.6)
    key = wide(GRAY)
    transparent = np.where(key == key[0, 0], 255, GRAY).astype(np.uint8)
    yield (
        "16 bits gray with a transparent value",
        (
            lambda: with_chunks(png16(key), chunk(b"tRNS", struct.pack(">H", key[0, 0]))),
            transparent,
            0.01,
        ),
    )
    odd = wide(RGB)
    odd[0, 0] = (1000, 2000, 3001)
    odd[0, 1] = (1000, 2000, 3002)
    keyed = RGB.copy()
    keyed[0, :2] = (255, 255, 255), (4, 8, 12)
    yield (
        "16 bits with a transparent color",
        (
            lambda: with_chunks(png16(odd), chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3001))),
            keyed,
            0.01,
        ),
    )
    bits = chunk(b"sBIT", b"\x0c")
    yield (
        "12 bits in 16, in the lower bits",
        (lambda: with_chunks(png16(GRAY.astype(np.uint16) << 4 | 5), bits), GRAY, 2),
    )
    yield "12 bits in 16, in the upper bits", (lambda: with_chunks(png16(GRAY.astype(np.uint16) << 8), bits), GRAY, 1)
    colors = chunk(b"sBIT", b"\x0c\x0c\x0c")
    yield "12 bits in 16 RGB", (lambda: with_chunks(png16(RGB.astype(np.uint16) << 4 | 5), colors), RGB, 2)
    yield "alpha zero everywhere", (lambda: encode(np.dstack([RGB, ALPHA * 0]), "PNG"), RGB, 0)
    yield "gray, alpha zero everywhere", (lambda: png_of(np.dstack([GRAY, ALPHA * 0]), 4, 8), GRAY, 0)
    yield "16 bits, alpha zero everywhere", (lambda: png16(np.dstack([wide(RGB), wide(ALPHA * 0)])), RGB, 0.6)


def others() -> Iterator[tuple[str, Row]]:
    bgra = np.dstack([RGB[..., ::-1], ALPHA * 0])
    height, width = GRAY.shape
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, height, 32, 0x20)
    yield "TGA of 32 bits without alpha", (lambda: header + bgra.tobytes(), RGB, 0)
    yield (
        "WebP, alpha zero everywhere",
        (
            lambda: encode(Image.fromarray(np.dstack([RGB, ALPHA * 0])), "WEBP", lossless=True, exact=True),
            RGB,
            0,
        ),
    )
    for maxval, stored in {65535: wide(GRAY), 4095: np.rint(GRAY / 255 * 4095).astype(np.uint16)}.items():
        head = b"P5 %d %d %d\n" % (width, height, maxval)
        yield f"PGM up to {maxval}", (lambda h=head, s=stored: h + s.astype(">u2").tobytes(), GRAY, 0.01)
    dim = GRAY.astype(np.uint16) * 257 // 2 + 9000
    expected = np.rint(dim / 257).astype(np.uint8)
    yield "dim PGM", (lambda: b"P5 %d %d 65535\n" % (width, height) + dim.astype(">u2").tobytes(), expected, 0.6)
    yield "dim PNG", (lambda: png16(dim), expected, 0.6)
    yield "dim TIFF", (lambda: tiff(dim), expected, 0.6)
    yield "dim JPEG 2000", (lambda: encode(Image.fromarray(dim), "JPEG2000"), expected, 0.6)
    yield "dim Pillow image of mode I", (lambda: Image.fromarray(dim).convert("I"), expected, 0.6)
    yield "dim Pillow image of mode I;16", (lambda: Image.fromarray(dim), expected, 0.6)
    yield "Pillow image of mode I of 8 bits", (lambda: Image.fromarray(GRAY).convert("I"), stretched(GRAY), 0.01)
    yield "JPEG 2000 by imagecodecs", (lambda: imagecodecs.jpeg2k_encode(RGB, level=0), RGB, 0)
    yield (
        "an opened TIFF of separate planes",
        (
            lambda: Image.open(
                io.BytesIO(tiff(np.moveaxis(wide(RGB), -1, 0), photometric="rgb", planarconfig="separate"))
            ),
            RGB,
            0.01,
        ),
    )
    yield (
        "a decoded TIFF with white at zero",
        (
            lambda: loaded(Image.open(io.BytesIO(tiff(65535 - wide(GRAY), photometric="miniswhite")))),
            GRAY,
            0.01,
        ),
    )


def loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


RIGHT = {
    f"{group.__name__}: {name}": row for group in (tiffs, shallow_tiffs, jpegs, pngs, others) for name, row in group()
}  # 130 rows and more


@pytest.mark.parametrize("name", RIGHT)
def test_it_is_decoded_right(name: str) -> None:
    make, expected, most = RIGHT[name]
    settings = {"color_profile": "ignore"} if "to ignore it" in name else {}
    found = decode(make(), **settings).astype(float)
    if expected.ndim == 2:
        expected = np.dstack([expected] * 3)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() <= most


def test_the_rows_are_what_they_say() -> None:
    """The files are read alike by readers that have nothing to do with Pillow."""
    rows = {name: make() for name, (make, *_) in RIGHT.items() if name.startswith("tiffs: planar 16 bits")}
    assert len(rows) > 9
    for data in rows.values():
        np.testing.assert_array_equal(np.moveaxis(by_tifffile(data), 0, -1), wide(RGB))
    for name in ("pngs: a text with a wrong checksum", "pngs: a text of 3 MB", "jpegs: EXIF: garbage"):
        np.testing.assert_allclose(by_opencv(RIGHT[name][0]()).astype(int), RIGHT[name][1].astype(int), atol=1)
    for name in ("jpegs: EXIF: orientation", "jpegs: EXIF: the head twice", "pngs: orientation in EXIF"):
        data = RIGHT[name][0]()
        assert by_opencv(data).shape == RGB.shape or name.endswith("twice")


# What a file that ends early gives


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
@pytest.mark.parametrize("share", [0.98, 0.9, 0.6])
def test_a_jpeg_that_ends_early_shows_what_there_is(kind: str, share: float) -> None:
    whole = encode(DRAWING.resize((388, 484)), "JPEG", quality=90, progressive=kind == "progressive")
    cut = whole[: int(len(whole) * share)]
    with pytest.raises(ImageError, match="truncated"):
        decode(cut)
    found, expected = decode(cut, truncated="allow").astype(int), by_opencv(whole).astype(int)
    rows = int(484 * share) - 60 if kind == "baseline" else 484
    assert np.abs(found[:rows] - expected[:rows]).mean() < 12


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "JPEG2000", "WEBP", "BMP", "TIFF"])
def test_a_file_without_a_row_stays_an_error(format_: str) -> None:
    whole = encode(DRAWING, format_)
    start = {"JPEG": whole.find(b"\xff\xda") + 14, "PNG": whole.find(b"IDAT") + 4, "BMP": 54, "TIFF": 8}
    with pytest.raises(ImageError):
        decode(whole[: start.get(format_, 120)], truncated="allow")


def test_a_tiff_of_16_bits_that_ends_early() -> None:
    cut = tiff(wide(RGB), photometric="rgb")[:-20_000]
    with pytest.raises(ImageError, match="truncated"):
        decode(cut)
    found = decode(cut, truncated="allow")
    np.testing.assert_array_equal(found[:80], RGB[:80])
    assert (found[-10:] == 0).all()
    with pytest.raises(ImageError, match="truncated"):
        decode(cut[:600], truncated="allow")


def test_a_raw_stream_that_gives_little_at_a_time() -> None:
    class Slow(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.rest = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            return self.rest.read(min(1000, size))

    np.testing.assert_array_equal(decode(Slow(encode(DRAWING, "PNG"))), RGB)


# 16 bits that use few of them


def test_nearly_black_images_are_warned_of_once() -> None:
    dim = GRAY.astype(np.uint16) << 4 | 5
    for data in (
        png16(dim),
        tiff(dim),
        png16(np.dstack([dim] * 3)),
        png_of(np.dstack([dim, wide(np.full_like(GRAY, 255))]), 4),
    ):
        _process._reported.discard(levels.DARK)
        with pytest.warns(
            PretrainedCNNWarning, match=r'<bytes 0>: its 16-bit samples .* ImagePolicy\(levels="stretch"\)'
        ):
            assert decode(data, background=(0, 0, 0)).max() < 17
        decode(data)  # and not again, for a warning is an error here
        _process._reported.discard(levels.DARK)
        assert decode(data, levels="stretch", background=(0, 0, 0)).max() > 200
        decode(png16(wide(GRAY)))


def test_levels() -> None:
    dim = GRAY.astype(np.uint16) << 4
    declared = tiff(dim, extratags=[(281, "H", 1, 4095, True)])
    _process._reported.add(levels.DARK)
    np.testing.assert_allclose(decode(declared)[..., 0].astype(int), GRAY, atol=1)
    assert decode(declared, levels="full").max() < 17
    np.testing.assert_array_equal(decode(declared, levels="stretch")[..., 0], stretched(GRAY))
    floats = tiff((GRAY / 512).astype(np.float32))
    assert decode(floats, levels="full").max() == GRAY.max() // 2
    assert decode(floats).max() == 255


# What is no image, and what is no file


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100)
BASE64 = base64.b64encode(encode(DRAWING, "PNG"))


class Evil:
    """An object that raises in each of its attributes."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise TypeError("expected str, not NoneType")


async def never() -> bytes:
    return b""


class Upload:
    """As Starlette's UploadFile."""

    def __init__(self, data: bytes) -> None:
        self.file, self.filename = io.BytesIO(data), "a.png"

    async def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


class AsyncFile:
    async def read(self, size: int = -1) -> bytes:
        return b""


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "SVG": (lambda: b'<?xml version="1.0"?><svg xmlns="..."/>', "this is an SVG drawing, not of pixels; make a PNG of"),
    "SVG in UTF-8 with a mark": (lambda: b"\xef\xbb\xbf<svg/>", "this is an SVG drawing"),
    "HTML": (lambda: b"<!DOCTYPE html><html>", "this is an HTML page, as a server sends it in place of an image"),
    "XML": (lambda: b"<?xml version='1.0'?><a/>", "this is an XML document"),
    "PDF": (lambda: b"%PDF-1.7\n", "this is a PDF document; make an image of each page first"),
    "PostScript": (lambda: encode(DRAWING, "EPS"), "PostScript is a program, not an image"),
    "WMF": (lambda: b"\xd7\xcd\xc6\x9a" + bytes(40), "this is a Windows metafile (WMF)"),
    "EMF": (lambda: b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60), "this is a Windows metafile (EMF)"),
    "MP4": (lambda: b"\0\0\0\x18ftypisom" + bytes(40), "this is a video (MP4 or MOV); take frames out of it"),
    "MOV": (lambda: b"\0\0\0\x14ftypqt  " + bytes(40), "this is a video (MP4 or MOV)"),
    "AVI": (lambda: b"RIFF\0\0\0\0AVI " + bytes(40), "this is a video (AVI)"),
    "Matroska": (lambda: b"\x1aE\xdf\xa3" + bytes(40), "this is a video (Matroska or WebM)"),
    "CR2": (lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "this is a camera's raw file (CR2); export it as JPEG"),
    "CR3": (lambda: b"\0\0\0\x18ftypcrx " + bytes(40), "this is a camera's raw file (CR3)"),
    "RAF": (lambda: b"FUJIFILMCCD-RAW 0201", "this is a camera's raw file (RAF); export it as JPEG or TIFF, or give"),
    "DNG": (lambda: tiff(wide(GRAY), photometric=32803), "this is a camera's raw file (DNG)"),
    "CRW": (lambda: b"II\x1a\0\0\0HEAPCCDR", "this is a camera's raw file (CRW); export it as JPEG or TIFF"),
    "JPEG XR": (lambda: imagecodecs.jpegxr_encode(RGB), "this is a JPEG XR image, which Pillow does not read"),
    "JPEG-LS": (lambda: imagecodecs.jpegls_encode(RGB), "this is a JPEG-LS image, which Pillow does not read"),
    "JPEG of 12 bits": (
        lambda: imagecodecs.jpeg8_encode(RGB.astype(np.uint16) << 4, bitspersample=12),
        "this is a JPEG of 12 bits a sample, which Pillow does not read; save it with 8 bits",
    ),
    "Radiance": (
        lambda: cv2.imencode(".hdr", (RGB / 255).astype(np.float32))[1].tobytes(),
        "this is a Radiance HDR image; give the array",
    ),
    "PFM in color": (
        lambda: cv2.imencode(".pfm", (RGB / 255).astype(np.float32))[1].tobytes(),
        "this is a PFM image in color, which Pillow does not read",
    ),
    "PSB": (lambda: b"8BPS\0\2" + bytes(20), "this is a large Photoshop document (PSB); export it as PNG"),
    "DjVu": (lambda: b"AT&TFORM" + bytes(20), "this is a DjVu document; make an image of each page first"),
    "pickle": (lambda: pickle.dumps(RGB), "this is a pickle; load it if you trust it, and give the array in it"),
    "Parquet": (lambda: b"PAR1" + bytes(20), "this is a Parquet file; give the images in it"),
    "WAV": (lambda: b"RIFF\0\0\0\0WAVEfmt ", "this is a sound (WAV), not an image"),
    "NIfTI": (lambda: b"\x5c\1\0\0" + bytes(340) + b"n+1\0", "this is a NIfTI volume; give slices of the array"),
    "DICOM": (lambda: bytes(128) + b"DICM", "this is a DICOM file; give pydicom's pixel_array"),
    "base64": (lambda: BASE64, "this is base64 text; give base64.b64decode(...) of it"),
    "base64 as a string": (lambda: BASE64.decode(), "this is base64 text, not a path; give base64.b64decode(...)"),
    "Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid", "this is a pointer of Git LFS"),
    "zip": (lambda: b"PK\3\4" + bytes(40), "this is a zip archive; give its path"),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(40), "this is compressed by gzip; unpack it first"),
    "NumPy": (lambda: b"\x93NUMPY\1\0", "this is an array that NumPy saved; give numpy.load(...) of it"),
    "CgBI": (
        lambda: with_chunks(encode(DRAWING, "PNG"), chunk(b"CgBI", bytes(4))),
        "this is a PNG of Apple's own kind (CgBI)",
    ),
    "TIFF with WebP": (
        lambda: tiff(RGB, compression="webp", photometric="rgb"),
        "this is a TIFF with WebP compression, which Pillow cannot undo; save it uncompressed, or with LZW",
    ),
    "TIFF of JPEG in planes, with alpha": (
        lambda: tiff(
            np.stack([GRAY, ALPHA]),
            photometric="minisblack",
            planarconfig="separate",
            compression="jpeg",
            extrasamples=[2],
        ),
        "this is a TIFF of 2 samples a pixel, 8 bits each, of a kind that cannot be read",
    ),
    "TIFF of 20 bits": (
        lambda: tiff_of_12_bits(GRAY).replace(struct.pack("<HHII", 258, 4, 1, 12), struct.pack("<HHII", 258, 4, 1, 20)),
        "this is a TIFF of 20 bits a sample; save it with 8 or 16",
    ),
    "TIFF with JPEG 2000": (
        lambda: tiff(RGB, compression="jpeg2000", photometric="rgb"),
        "this is a TIFF with JPEG 2000 compression",
    ),
    "a cut TIFF": (lambda: tiff(wide(RGB))[:40], "this is a TIFF"),
    "a PNG with a broken head": (
        lambda: encode(DRAWING, "PNG")[:20] + bytes(20),
        "this is a PNG file, but its header cannot be read: ",
    ),
    "a PNG that was sent as text": (
        lambda: b"\x89PNG\r\n\n" + encode(DRAWING, "PNG")[8:],
        "this is a PNG file that cannot be read; it is cut or broken",
    ),
    "a cut AVIF": (
        lambda: encode(DRAWING, "AVIF")[:60],
        "this is an AVIF file that cannot be read; it is cut or broken",
    ),
    "a WebP that says that it is huge": (
        lambda: (data := encode(DRAWING, "WEBP", exif=SIX))[:24] + b"\xff\x3e\0\xff\x3e\0" + data[30:],
        "its 260,112,384 pixels are more than 89,478,485 (ImagePolicy.max_pixels)",
    ),
    "text": (lambda: b"Dear diary", "this is not an image in a format that can be read; it begins with b'Dear diary'"),
    "nothing": (lambda: b"", "it is empty"),
    "a file that was opened for text": (
        lambda: io.TextIOWrapper(io.BytesIO(encode(DRAWING, "PNG"))),
        'the file was opened for text; open it with "rb"',
    ),
    "a file that was opened for writing": (
        lambda: io.BufferedWriter(io.BytesIO()),  # type: ignore[arg-type]
        'the file was opened for writing; open it with "rb"',
    ),
    "an image of no pixels": (lambda: Image.new("RGB", (0, 5)), "this image of 0 x 5 pixels is empty"),
    "an array of paths": (
        lambda: np.array(["a.png", "b.png"], dtype=object),
        "this array of shape (2,) and dtype object is of Python objects; give one of them, or all to predict_batch",
    ),
    "a coroutine": (lambda: never(), "this is a coroutine; await it, and give what it returns"),
    "a file of coroutines": (AsyncFile, "its read() is a coroutine; give `await file.read()`"),
    "an object that raises": (Evil, "it cannot be decoded: expected str, not NoneType"),
    "a mapping": (lambda: {"a": 1, "b": 2}, "a dict with the keys 'a', 'b' is not an image; give the value of one"),
    "a list": (lambda: [DRAWING], "an object of type list is not an image; give a path"),
    "an unknown kind of address": (lambda: "gopher://example.org/a.png", "gopher: is no kind of address that is read"),
    "a file: address of another host": (lambda: "file://nas/a.png", "this file is on another host, nas; mount it"),
    "a data: URL without a comma": (lambda: "data:image/png;base64", "this data: URL has no comma"),
    "a data: URL that is broken": (lambda: "data:image/png;base64,/!!", "the base64 text of this data: URL is broken"),
    "a pair whose file is missing": (lambda: "no/such.png", "the file does not exist"),
    "booleans": (lambda: GRAY > 9, "is of booleans; use array.astype(np.uint8) * 255"),
    "a device": (lambda: "/dev/zero", "this is a device, not a file; only files are opened"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_a_sentence(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(ImageError) as caught:
        decode(make())
    assert caught.value.reason.startswith(reason) or (reason in caught.value.reason and reason.startswith("is "))


@pytest.mark.parametrize(
    ("data", "module", "reason"),
    [
        (HEIC, "pillow_heif", r'an HEIC image, .* pillow-heif is needed: pip install "pretrained-cnn\[heif\]"'),
        (b"\xff\x0a" + bytes(40), "pillow_jxl", r'a JPEG XL image, .* pip install "pretrained-cnn\[jxl\]"'),
    ],
)
def test_an_image_that_needs_a_package(data: bytes, module: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "has", lambda name: name != module)
    with pytest.raises(ImageError, match=reason):
        decode(data)


# What people pass


def given(tmp_path: Path) -> dict[str, Any]:
    """The drawing, in every form but those of test_images.py."""
    import fsspec
    import pyarrow as pa
    import tensorflow as tf

    data = encode(DRAWING, "PNG")
    path = tmp_path / "a b\xfc.png"
    path.write_bytes(data)
    at_end = io.BytesIO(data)
    at_end.read()
    spooled = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - the fixture closes it
    spooled.write(data)
    memory = fsspec.filesystem("memory")
    memory.pipe("/wild/a.png", data)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", data)
    return {
        "a file at its end": at_end,
        "a spooled file that was just written": spooled,
        "an UploadFile": Upload(data),
        "a record with bytes": {"bytes": data, "path": None},
        "a record with a path": {"bytes": None, "path": str(path)},
        "a row of a data set": {"image": {"bytes": data, "path": "a.png"}, "label": 3},
        "a tensor of a path": tf.constant(str(path)),
        "a tensor of a file": tf.io.read_file(str(path)),
        "a pyarrow path": pa.scalar(str(path)),
        "pyarrow bytes": pa.scalar(data),
        "a pyarrow record": pa.scalar({"bytes": data, "path": None}),
        "an fsspec.OpenFile": fsspec.open("memory://wild/a.png"),
        "an fsspec address": "memory://wild/a.png",
        "a zip's path": zipfile.Path(packed, "a.png"),
        "a data: URL": "data:image/png;base64," + BASE64.decode(),
        "a data: URL without base64": "data:image/png," + urllib.parse.quote_from_bytes(data),
        "a data: URL for URLs": "data:image/png;base64," + base64.urlsafe_b64encode(data).decode().rstrip("="),
        "a file: URL": path.as_uri(),
        "bytes in an array": np.frombuffer(data, np.uint8),
        "what OpenCV encoded": cv2.imencode(".png", RGB[..., ::-1])[1].reshape(-1),
        "a bytearray": bytearray(data),
        "bytes behind a line's end": b"\r\n" + data,
    }


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    forms = given(tmp_path_factory.mktemp("given"))
    yield forms
    forms["a spooled file that was just written"].close()


def test_every_form_that_people_hand_over(forms: dict[str, Any]) -> None:
    for name, image in forms.items():
        np.testing.assert_array_equal(decode(image), RGB, err_msg=name)
    np.testing.assert_array_equal(decode(forms["a file at its end"]), RGB)  # and again


def test_a_path_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    DRAWING.save(tmp_path / "photos" / "a.png")
    np.testing.assert_array_equal(decode("~/photos/a.png"), RGB)
    assert [item.image for item in iter_items("~/photos")] == [str(tmp_path / "photos" / "a.png")]


@pytest.mark.parametrize("address", ["file:///etc/hostname", "s3://bucket/a.png", "memory://a.png", "gs://b/a.png"])
def test_private_addresses_are_refused_of_every_kind(address: str) -> None:
    with pytest.raises(ImageError, match=r"only http and https addresses are read, .*\(ImagePolicy\.allow_private\)"):
        decode(address, allow_private=False)


def test_an_address_that_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImageError, match=r's3: .* fsspec: pip install "pretrained-cnn\[remote\]"'):
        decode("s3://bucket/a.png")


def test_several_images() -> None:
    import pandas

    frame = pandas.DataFrame({"path": ["a.png"], "label": ["b"]})
    with pytest.raises(ImageError, match=r'a table with the columns path, label; give .* such as table\["path"\]'):
        iter_items(frame)
    assert [item.name for item in iter_items(frame["path"])] == ["a.png"]
    assert [(item.name, item.image) for item in iter_items({"x": b"1"})] == [("x", b"1")]
    (pair,) = iter_items([("photo.jpg", "cat")])
    with pytest.raises(ImageError, match=r"^photo\.jpg: there is no file 'cat'$"):
        decode_item(pair, ImagePolicy())


def test_an_object_that_raises_costs_its_own_row() -> None:
    data = encode(DRAWING, "PNG")
    found = list(batches(iter_items([data, Evil(), data]), (8, 8), ResizePolicy(), ImagePolicy()))
    assert [error is None for error in found[0].errors] == [True, False, True]


# Among images


@pytest.fixture
def mess(tmp_path: Path) -> Iterator[Path]:
    """A folder as people have it."""
    folder = tmp_path / ".cache" / "mess"  # above the source, a dot means nothing
    for name in ("a.png", "sub/b.JPG", "c.tif"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        DRAWING.save(path)
    junk = ("._a.png", "__MACOSX/a.png", ".thumbnails/a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_XL.jpg")
    for name in (*junk, ".ipynb_checkpoints/a.png", ".hidden.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"junk")
    for name in ("d.dng", "e.mp4", "f.txt", "README"):
        (folder / name).write_bytes(b"something else")
    os.mkfifo(folder / "g.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "round.png").symlink_to("round.png")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(folder)  # for a socket's path may not be long
        listening.bind("h.png")
        os.chdir(here)
        yield folder


SKIPPED = "6 files were skipped: .dng, .mp4, .txt, FIFO, no suffix, socket"


def test_a_folder_as_people_have_it(mess: Path, caplog: pytest.LogCaptureFixture) -> None:
    skipped = Skipped()
    found = list(iter_items(mess, skipped=skipped))
    assert [os.path.relpath(item.image, mess) for item in found] == ["a.png", "c.tif", "round.png", "sub/b.JPG"]
    assert str(skipped) == SKIPPED
    with pytest.raises(ImageError, match="cannot be opened: Too many levels of symbolic links"):
        decode(found[2].image)
    assert not caplog.records
    list(iter_items(mess))
    assert [record.getMessage() for record in caplog.records] == [f"{mess}: {SKIPPED}"]


def test_what_is_named_is_read(mess: Path) -> None:
    def found(pattern: str) -> list[str]:
        return [os.path.relpath(item.image, mess) for item in iter_items(f"{mess}/{pattern}")]

    assert found("*.png") == ["a.png"]
    assert found("**/*.png") == ["a.png"]
    assert found(".*.png") == ["._a.png", ".hidden.png"]
    assert found("__MACOSX/*.png") == ["__MACOSX/a.png"]
    assert [item.image for item in iter_items([f"{mess}/.hidden.png"])] == [f"{mess}/.hidden.png"]
    for name, kind in {"g.jpg": "FIFO", "h.png": "socket"}.items():
        with pytest.raises(ImageError, match=f"this is a {kind}, not a file; only files are opened"):
            decode(mess / name)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_as_macos_makes_it(kind: str, tmp_path: Path) -> None:
    junk = {"__MACOSX/._a.png": b"junk", "._a.png": b"junk"}
    members = {"first.mov": b"video", "./a.png": encode(DRAWING, "PNG"), **junk, "b.mov": b"video"}
    path = tmp_path / f"mac.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w") as tar:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    skipped = Skipped()
    assert [item.name for item in iter_items(path, skipped=skipped)] == [f"{path}/./a.png"]
    assert str(skipped) == "2 files were skipped: .mov (2)", "each once, however often the archive is opened"


def test_a_stream_counts_what_it_skipped(mess: Path) -> None:
    (mess / "sub" / "more.dng").touch()
    archive = mess / "images.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.write(mess / "a.png", "a.png")
        made.writestr("b.mp4", b"")
    clf = Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32))
    stream = clf.stream(Sources((str(mess / "sub"), str(archive), str(mess / "sub"))))
    assert stream.skipped == {}
    assert len(list(stream)) == 3
    assert stream.skipped == {".dng": 2, ".mp4": 1}
    listed = clf.stream([str(mess / "a.png"), str(mess / "sub" / "more.dng")])
    assert len(list(listed)) == 2
    assert listed.skipped == {}, "what is named is not skipped"


def test_classes_as_people_have_them(mess: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = labeled(mess.parent)
    assert [os.path.relpath(image, mess) for image in found.images] == ["a.png", "c.tif", "round.png", "sub/b.JPG"]
    assert [record.getMessage() for record in caplog.records] == [f"{mess.parent}: {SKIPPED}"]


def test_skipped_files_that_a_package_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kinds, "has", lambda _: False)
    (tmp_path / "a.HEIC").touch()
    with pytest.raises(ImageError, match=r'skipped: \.heic; to read them, pip install "pretrained-cnn\[heif'):
        iter_items(tmp_path)
    DRAWING.save(tmp_path / "b.png")
    with pytest.warns(PretrainedCNNWarning, match=r"1 file was skipped: \.heic; to read them, pip install"):
        assert len(list(iter_items(tmp_path))) == 1


def test_the_suffixes_are_those_of_formats_that_are_read() -> None:
    Image.init()
    kinds.open_optional_formats()
    known = Image.registered_extensions()
    for suffix in SUFFIXES | kinds.optional_suffixes():
        assert known[suffix] in {*Image.OPEN, "MPO"} - REFUSED_FORMATS, suffix
    for suffix in (".eps", ".ps", ".wmf", ".emf", ".pdf", ".h5", ".mpg", ".grib", ".bufr"):
        assert suffix not in SUFFIXES


@pytest.mark.parametrize("format_", ["HEIF", "JXL"])
def test_images_that_an_optional_package_reads(format_: str, tmp_path: Path) -> None:
    kinds.open_optional_formats()
    options = {"quality": 90} if format_ == "HEIF" else {"lossless": True}
    even = DRAWING.resize((96, 120))
    data = encode(even, format_, **options)
    difference = np.abs(decode(data).astype(int) - np.asarray(even)).mean()
    assert difference < (4 if format_ == "HEIF" else 0.1)
    (tmp_path / f"a.{'heic' if format_ == 'HEIF' else 'jxl'}").write_bytes(data)
    assert len(list(iter_items(tmp_path))) == 1


# Addresses


class Addresses(Handler):
    def get(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        data = encode(DRAWING, "PNG")
        if self.path == "/away":
            self.send(status=302, Location=f"http://localhost:{self.server.server_address[1]}/a.png")
        elif self.path == "/here":
            self.send(status=302, Location="/a.png")
        elif self.path == "/packed.png":
            self.send(gzip.compress(data), **{"Content-Encoding": "gzip"})
        elif self.path == "/bomb.png":
            self.send(gzip.compress(bytes(10_000_000)), **{"Content-Encoding": "gzip"})
        else:
            self.send(data)


@pytest.fixture
def server() -> Iterator[Any]:
    with serve(Addresses, seen=[]) as running:
        yield running


def test_addresses_as_people_write_them(server: Any) -> None:
    address = f"http://127.0.0.1:{server.server_address[1]}"
    for path in ("/a b.png", "/\xfc.png?q=\xe9 \u65e5", "/a.png", "/packed.png"):
        np.testing.assert_array_equal(decode(address + path), RGB, err_msg=path)
    for written in (f" {address}/a.png\n", f"<{address}/a.png>"):
        np.testing.assert_array_equal(decode(written), RGB)
    assert [path for path, _ in server.seen[:2]] == ["/a%20b.png", "/%C3%BC.png?q=%C3%A9%20%E6%97%A5"]
    assert all(headers["User-Agent"].startswith("pretrained-cnn") for _, headers in server.seen)
    with pytest.raises(ImageError, match=r"it has more than 5,000,000 bytes \(ImagePolicy\.max_url_bytes\)"):
        decode(f"{address}/bomb.png", max_url_bytes=5_000_000)


def test_headers_go_to_the_host_that_was_asked_and_nowhere_else(server: Any) -> None:
    address = f"http://127.0.0.1:{server.server_address[1]}"
    headers = {"Authorization": "Bearer secret", "User-Agent": "mine"}
    for path in ("/here", "/away"):
        decode(address + path, headers=headers)
    sent = [(path, seen.get("Authorization"), seen["User-Agent"]) for path, seen in server.seen]
    assert sent[:3] == [
        ("/here", "Bearer secret", "mine"),
        ("/a.png", "Bearer secret", "mine"),
        ("/away", "Bearer secret", "mine"),
    ]
    assert sent[3][1] is None
    assert sent[3][2].startswith("pretrained-cnn")


def test_headers_are_told_to_nobody() -> None:
    policy = ImagePolicy(headers={"Authorization": "secret"})
    assert "secret" not in repr(policy) + json.dumps(policy.to_dict()) + str(hash(policy))
    assert policy == ImagePolicy()
    assert ImagePolicy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    assert pickle.loads(pickle.dumps(policy)).headers == {"Authorization": "secret"}  # for the workers of a cluster
    for headers in ({"A": "se\ncret"}, {"A": 3}, "secret", {"A": "secr\xe9t"}):
        with pytest.raises(InvalidArgumentError, match="headers is not a mapping of names to values") as caught:
            ImagePolicy(headers=headers)  # type: ignore[arg-type]
        assert "secr" not in str(caught.value)


def test_a_long_name_is_cut() -> None:
    with pytest.raises(ImageError, match=r"^/no/x+\.\.\.x+y: the file does not exist$") as caught:
        decode("/no/" + "x" * 200 + "/" + "x" * 200 + "y")
    assert len(str(caught.value)) < 340


# Ceilings


BIG = """
import sys, time
from processes import peak_bytes
from pretrained_cnn import Classifier, ImageError, ImagePolicy, ResizePolicy
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.sources import single_item
from PIL import Image
before, start = peak_bytes(), time.process_time()
try:
    print(load(single_item(sys.argv[1]), (224, 224), ResizePolicy(), ImagePolicy()).shape)
except ImageError as error:
    print(error)
print(time.process_time() - start, peak_bytes() - before)
"""


SIDE = 9_216
"""Of the bombs: 85 megapixels, a little below the limit."""
ROW = (np.arange(SIDE) // 37 % 256).astype(np.uint8)


def png_bomb(kind: int, *chunks: bytes) -> bytes:
    """A large PNG of a color type, compressed row by row."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    row, packer = b"\0" + np.repeat(ROW, channels).tobytes(), zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_bomb(width: int, times: int) -> bytes:
    """A JPEG of ``times`` times 128 rows; only the first were encoded.

    A restart marker ends each 16 rows. Markers are counted up to 8, so the first one follows again after 128 rows.
    """
    image = Image.fromarray(np.resize(ROW, (128, width)))
    data = encode(image.convert("RGB"), "JPEG", quality=30, restart_marker_rows=1)
    size = data.index(b"\xff\xc0") + 5
    start = data.index(b"\xff\xda")
    start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    head = data[:size] + struct.pack(">H", 128 * times) + data[size + 2 : start]
    return head + b"\xff\xd7".join([data[start:-2]] * times) + b"\xff\xd9"


def tiff_bomb(kind: str, channels: int = 1) -> bytes:
    """A large TIFF of equal strips of 64 rows."""
    row = np.repeat((ROW / 255).astype(kind) if kind == "f4" else wide(ROW), channels)
    strip, strips, bits = zlib.compress(np.tile(row, (64, 1)).tobytes(), 1), SIDE // 64, 8 * row.itemsize
    places, sizes = [8 + len(strip) * i for i in range(strips)], [len(strip)] * strips
    after = 8 + len(strip) * strips
    values = {256: SIDE, 257: SIDE, 258: bits, 259: 8, 262: 2 if channels > 2 else 1, 273: after, 277: channels}
    values |= {278: 64, 279: after + 4 * strips} | ({338: 2} if channels == 4 else {})
    values[339] = 3 if kind == "f4" else 1
    entries = [struct.pack("<HHII", tag, 4, strips if tag in (273, 279) else 1, value) for tag, value in values.items()]
    lists = struct.pack(f"<{2 * strips}I", *places, *sizes)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", after + len(lists)) + strip * strips + lists + directory


def webp_bomb() -> bytes:
    """A small WebP whose header says that it is large."""
    data = bytearray(encode(DRAWING, "WEBP", method=0))
    data[26:30] = struct.pack("<HH", SIDE, SIDE)
    return bytes(data)


SHAPE = "(224, 224, 3)"
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gray.png": (lambda: png_bomb(0), SHAPE),
    "colors.png": (lambda: png_bomb(2), SHAPE),
    "alpha.png": (lambda: png_bomb(6), SHAPE),
    "alpha and profile.png": (lambda: png_bomb(6, chunk(b"iCCP", b"x\0\0" + zlib.compress(LINEAR))), SHAPE),
    "gray and alpha.png": (lambda: png_bomb(4), SHAPE),
    "colors.jpg": (lambda: jpeg_bomb(SIDE, 72), SHAPE),
    "floats.tif": (lambda: tiff_bomb("f4"), SHAPE),
    "deep.tif": (lambda: tiff_bomb("u2"), SHAPE),
    "deep colors.tif": (lambda: tiff_bomb("u2", 3), SHAPE),
    "colors of floats.tif": (lambda: tiff_bomb("f4", 3), "(ImagePolicy.max_memory)"),
    "phone.jpg": (lambda: jpeg_bomb(12_000, 70), SHAPE),
    "larger.jpg": (lambda: jpeg_bomb(22_000, 136), "(ImagePolicy.max_pixels)"),
    "colors.webp": (webp_bomb, "(ImagePolicy.max_memory)"),
    "segments.jpg": (
        lambda: with_segments(encode(DRAWING, "JPEG"), *[(0xE1, b"Exif\0\0" + bytes(30))] * 100_000),
        SHAPE,
    ),
}
"""Small files with 85 megapixels or more, none of which is ever whole in the tests' own process, and what must become
of each."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_two_seconds_and_600_megabytes(name: str, tmp_path: Path, record_property: Any) -> None:
    path = tmp_path / name
    make, expected = BOMBS[name]
    path.write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer, figures = done.stdout.splitlines()
    seconds, memory = map(float, figures.split())
    record_property("figures", figures)
    assert answer.endswith(expected)
    assert memory < 600e6
    assert seconds < 2


def test_a_large_image_is_the_same_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted strip by strip, and made smaller on the way."""
    large = Image.fromarray(np.dstack([RGB, ALPHA])).resize((970, 1210))
    data = {"PNG": encode(large, "PNG", icc_profile=LINEAR), "TIFF": tiff(wide(np.asarray(large)), photometric="rgb")}
    for name, made in data.items():
        whole = decode_item(single_item(made), ImagePolicy())
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "STRIP", 10_000)
            patch.setattr(levels, "BAND", 100_000)
            np.testing.assert_array_equal(np.asarray(decode_item(single_item(made), ImagePolicy())), np.asarray(whole))
            small = decode_item(single_item(made), ImagePolicy(), (200, 200))
        assert small.size == (243, 303), name
        expected = np.asarray(whole.reduce(4)).astype(int)
        assert np.abs(np.asarray(small) - expected).mean() < 1


def test_jpeg_2000_is_read_at_the_resolution_that_is_needed() -> None:
    large = DRAWING.resize((970, 1210))
    data = encode(large, "JPEG2000", num_resolutions=3)
    small = decode_item(single_item(data), ImagePolicy(), (200, 200))
    assert small.size == (243, 303)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(large.resize((243, 303)))).mean() < 4
    assert decode_item(single_item(data), ImagePolicy(draft=False), (200, 200)).size == (970, 1210)


def test_images_in_memory_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from pretrained_cnn.images import batch

    data = encode(DRAWING, "PNG")
    monkeypatch.setattr(batch, "MAX_HELD", 3 * len(data))
    taken = 0

    def images() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield bytes(bytearray(data))

    monkeypatch.setattr(batch, "load", lambda item, size, *_: np.zeros((*size, 3), np.uint8))
    stream = batches(iter_items(images()), (8, 8), ResizePolicy(), ImagePolicy(), batch_size=16)
    group = next(stream)
    assert len(group.names) == 3
    assert taken <= 12
    assert sum(len(group.names) for group in stream) == 47


def test_scans_without_end() -> None:
    whole = encode(DRAWING.resize((3000, 3000)), "JPEG", progressive=True)
    start = whole.rindex(b"\xff\xda")
    many = whole[:start] + whole[start:-2] * 200 + whole[-2:]
    with pytest.raises(ImageError, match=r"3000 x 3000 pixels are more than .* \(ImagePolicy\.max_pixels\)"):
        decode(many)


# The command line


@pytest.mark.slow
def test_classify_ends_and_says_what_it_skipped(mess: Path) -> None:
    kinds.open_optional_formats()
    DRAWING.save(mess / "i.HEIC", "HEIF")
    DRAWING.save(mess / "j.jxl", "JXL")
    done = subprocess.run(
        [sys.executable, "-m", "pretrained_cnn", "classify", str(mess), "--model", "EfficientNetLite0", "--top", "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    named = [os.path.relpath(line.split("\t")[0], mess) for line in done.stdout.splitlines()]
    assert named == ["a.png", "c.tif", "i.HEIC", "j.jxl", "sub/b.JPG"], done.stderr
    assert done.stderr.count(SKIPPED) == 1
    assert "round.png: it cannot be opened: Too many levels of symbolic links" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert done.returncode == 1


def test_the_command_line_has_each_setting() -> None:
    options = {field.name for field in dataclasses.fields(ImageOptions)}
    assert options == {field.name for field in dataclasses.fields(ImagePolicy)}
    words = ["--max-pixels", "5", "--no-draft", "--background", "#0a0b0c", "--headers", "A: b", "--headers", "C:d"]
    command = Command("x", "X.", ImageOptions, lambda _: 0)
    assert image_policy(command.parse(words)) == ImagePolicy(max_pixels=5, draft=False, background=(10, 11, 12))
    assert image_policy(command.parse(words)).headers == {"A": "b", "C": "d"}
    assert image_policy(command.parse([])) is None
    for wrong in (["--background", "1,2"], ["--headers", "secret"], ["--url-seconds", "0"], ["--levels", "none"]):
        with pytest.raises(SystemExit):
            command.parse(wrong)


def test_names_do_not_reach_the_terminal_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    complain(ImageError("a\tb\x1b[2J\nc.jpg", "the file does not exist"))
    assert capfd.readouterr().err == "pretrained-cnn: a\\tb\\x1b[2J\\nc.jpg: the file does not exist\n"


# The table "What decoding decides"


def animation() -> bytes:
    palette = DRAWING.quantize(64)
    return encode(palette, "GIF", save_all=True, append_images=[palette.rotate(180)])


FIRST_FRAME = np.asarray(DRAWING.quantize(64).convert("RGB"))


def decisions() -> dict[str, tuple[bytes, np.ndarray | None]]:
    """For each row of the table a file, and what it becomes; None for an error."""
    row = {name.partition(": ")[2]: (make, expected) for name, (make, expected, _) in RIGHT.items()}
    found = {
        "with an orientation in EXIF or XMP": row["EXIF: orientation"],
        "with transparency": (lambda: encode(np.dstack([RGB, ALPHA]), "PNG"), ON_WHITE),
        "with an alpha channel that is zero everywhere": row["alpha zero everywhere"],
        "of 16 bits": (lambda: png16(wide(GRAY)), GRAY),
        "of 16 bits, fewer of them declared": row["12 bits in 16 RGB"],
        "of 32 bits, or of floats": (lambda: tiff((GRAY / 255).astype(np.float32)), stretched(GRAY)),
        "with white at zero (TIFF)": row["white is zero 16 bits < None strips"],
        "of separate planes of 16 bits (TIFF)": row["planar 16 bits < None strips"],
        "animated, or of several pages": (animation, FIRST_FRAME),
        "in CMYK, without Adobe's marker (JPEG)": row["CMYK without Adobe's marker"],
        "with a color profile": row["a linear profile called sRGB"],
        "with a gamma (PNG)": row["gamma of 1"],
        "with broken or huge metadata": row["a text of 3 MB"],
        "that ends early": (lambda: encode(DRAWING, "JPEG")[:2000], None),
        "in PostScript": (lambda: encode(DRAWING, "EPS"), None),
    }
    return {name: (make(), expected) for name, (make, expected) in found.items()}


def by_torchvision(data: bytes) -> np.ndarray:
    """As the loader of its ImageFolder does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def by_tensorflow(data: bytes) -> np.ndarray:
    import tensorflow as tf

    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def answer(read: Callable[[bytes], np.ndarray], data: bytes, expected: np.ndarray | None) -> str:
    """What a peer makes of a file, beside what is expected here."""
    try:
        found = read(data)
    except Exception:
        return "the same" if expected is None else "an error"
    if expected is None:
        return "an image"
    wanted = np.dstack([expected] * 3) if expected.ndim == 2 else expected
    same = found.shape == wanted.shape and np.abs(found.astype(int) - wanted.astype(int)).mean() < 7
    return "the same" if same else "other pixels"


def test_the_table_of_decisions() -> None:
    page = (ROOT / "docs" / "explanation" / "the-one-path.md").read_text("utf-8")
    section = page.partition("## What decoding decides")[2].partition("\n## ")[0]
    told = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| ")]
    peers = {"torchvision": by_torchvision, "tf.io": by_tensorflow, "OpenCV": by_opencv}
    assert told[0][3:] == list(peers)
    rows = {cells[0]: cells[3:] for cells in told[1:]}
    measured = {}
    for name, (data, expected) in decisions().items():
        assert answer(decode, data, expected) == "the same", name
        measured[name] = [answer(read, data, expected) for read in peers.values()]
    measured["in PostScript"] = ["-"] * 3  # what comes of it depends on whether there is Ghostscript
    assert rows == measured
