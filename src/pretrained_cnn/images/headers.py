"""The metadata of PNG and JPEG files, read defensively; and the files without metadata.

Metadata may be broken, huge or hostile while the pixels are whole. So Pillow never sees it: each reader takes what
decides how the pixels look, leaves out what is broken, and gives the file with nothing but its pixels.
"""

from __future__ import annotations

import logging
import re
import struct
import zlib
from dataclasses import dataclass

log = logging.getLogger(__name__)

ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""
MAX_PROFILE = 16 * 1024 * 1024
"""Bytes of a color profile, unpacked; larger ones count as broken."""
MAX_TEXT = 4 * 1024 * 1024
"""Bytes of a text, unpacked, in which an orientation is looked for."""
MAX_PARTS = 500_000
"""Segments or chunks in a file. Each takes about a microsecond."""

EXIF = b"Exif\0\0"
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>\s*)([1-8])")


class BrokenHeaderError(Exception):
    """A file that no reader could make sense of; the text says why."""


@dataclass(slots=True)
class Facts:
    """What decides how an image looks, beside its pixels."""

    orientation: int = 1
    """1 to 8, as in EXIF."""
    profile: bytes | None = None
    """An ICC profile."""
    gamma: float | None = None
    """PNG's gAMA: the exponent with which light was stored."""
    primaries_and_transfer: tuple[int, int] | None = None
    """PNG's cICP: code points of ITU-T H.273."""
    bits: int | None = None
    """How many bits of each sample are significant, by PNG's sBIT."""
    inverted: bool = False
    """Whether Pillow gives the samples negated."""
    scans: int = 1
    """How often a progressive JPEG goes through its pixels."""
    coefficient_bytes: int = 0
    """What a decoder of a progressive JPEG holds beside the pixels."""


def orientation_of(exif: object, xmp: object = None) -> int:
    """The orientation, 1 to 8, by EXIF or else by XMP; 1 where neither says a valid one."""
    found = _exif_orientation(exif) if isinstance(exif, bytes) else None
    if found is None and isinstance(xmp, str | bytes):
        match = XMP_ORIENTATION.search(xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp)
        found = int(match[1]) if match else None
    return found if found is not None and 1 <= found <= 8 else 1


def _exif_orientation(exif: bytes) -> int | None:
    while exif.startswith(EXIF):  # some writers put it twice
        exif = exif[len(EXIF) :]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            raise ValueError("it begins with no byte order")
        (place,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, place)
        for start in range(place + 2, place + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, start)
            if tag == ORIENTATION:
                return _exif_number(exif, order, kind, count, start + 8)
    except (struct.error, ValueError) as error:
        log.debug("EXIF is ignored: %s", error)
    return None


def _exif_number(exif: bytes, order: str, kind: int, count: int, place: int) -> int | None:
    if count < 1:
        return None
    if kind == 5:  # a fraction, elsewhere
        (place,) = struct.unpack_from(order + "I", exif, place)
        number, of = struct.unpack_from(order + "II", exif, place)
        return number // of if of and number % of == 0 else None
    form = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}.get(kind)
    if form is None:
        return None
    size = struct.calcsize(form)
    if count * size > 4:
        (place,) = struct.unpack_from(order + "I", exif, place)
    return int(struct.unpack_from(order + form, exif, place)[0])


# JPEG

_NOT_FILL = re.compile(rb"[^\xff]")
_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ICC = b"ICC_PROFILE\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def read_jpeg(data: bytes) -> tuple[bytes, Facts]:
    """A JPEG file without its APPn segments and comments, except Adobe's, and what they said."""
    facts, view = Facts(), memoryview(data)
    kept: list[bytes | memoryview] = [data[:2]]
    exif = xmp = b""
    profile: dict[int, bytes] = {}
    components, adobe, place = 0, False, 2
    for _ in range(MAX_PARTS):
        place = data.find(b"\xff", place)  # what is between two segments is nothing
        found = _NOT_FILL.search(data, place) if place > 0 else None
        if found is None:
            place = len(data)
            break
        start, place = found.start() - 1, found.start() + 1
        marker = data[start + 1]
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:  # these have no content
            continue
        length = int.from_bytes(view[place : place + 2])
        if marker in (0xDA, 0xD9) or length < 2 or place + length > len(data):
            place = start
            break
        content, place = view[place + 2 : place + length], place + length
        if marker == 0xF7:
            raise BrokenHeaderError(
                "this is a JPEG-LS image, which Pillow does not read; convert it to PNG, or give the array that "
                "imagecodecs.jpegls_decode makes of it"
            )
        if marker in _SOF:
            if len(content) > 5 and content[0] > 8:
                raise BrokenHeaderError(
                    f"this is a JPEG of {content[0]} bits a sample, which Pillow does not read; save it with 8 bits"
                )
            components = content[5] if len(content) > 5 else 0
            if marker in _PROGRESSIVE:
                facts.scans = data.count(b"\xff\xda", place)
                facts.coefficient_bytes = _coefficient_bytes(bytes(content))
        elif marker == 0xE1 and not exif and content[:6] == EXIF:
            exif = bytes(content)
        elif marker == 0xE1 and not xmp and content[: len(_XMP)] == _XMP:
            xmp = bytes(content)
        elif marker == 0xE2 and content[: len(_ICC)] == _ICC and len(content) > len(_ICC) + 2:
            profile.setdefault(content[len(_ICC)], bytes(content[len(_ICC) + 2 :]))
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            if marker != 0xEE or bytes(content[:5]) != b"Adobe":
                continue
            adobe = True
        kept.append(view[start : start + 2 + length])
    else:
        raise BrokenHeaderError(f"it has more than {MAX_PARTS:,} segments before its pixels")
    facts.orientation = orientation_of(exif, xmp)
    facts.profile = b"".join(profile[number] for number in sorted(profile)) or None
    facts.inverted = components == 4 and not adobe  # Pillow takes all of CMYK to be stored as Adobe does, negated
    return b"".join([*kept, view[place:]]), facts


def _coefficient_bytes(sof: bytes) -> int:
    """What libjpeg keeps of a progressive file: two bytes a sample."""
    height, width = map(int, struct.unpack_from(">HH", sof, 1))
    sampling = [(byte >> 4, byte & 15) for byte in sof[7::3]]
    across, down = (max((side[axis] for side in sampling), default=1) or 1 for axis in (0, 1))
    return 2 * sum(height * width * h * v // (across * down) for h, v in sampling)


# PNG

_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def read_png(data: bytes) -> tuple[bytes, Facts]:
    """A PNG file with nothing but its pixels, and what its other chunks said."""
    facts, view = Facts(), memoryview(data)
    kept: list[bytes | memoryview] = [data[:8]]
    exif = xmp = b""
    srgb, place = False, 8
    for _ in range(MAX_PARTS):
        kind = data[place + 4 : place + 8]
        end = place + 12 + int.from_bytes(view[place : place + 4])
        if end > len(data) or not kind.isalpha():  # it was cut, or is broken here: Pillow sees how far it gets
            kept.append(view[place:])
            break
        content = view[place + 8 : end - 4]
        sound = kind == b"IDAT" or zlib.crc32(view[place + 4 : end - 4]) == int.from_bytes(view[end - 4 : end])
        if kind == b"CgBI":
            raise BrokenHeaderError(
                "this is a PNG of Apple's own kind (CgBI), which only Apple's programs read; "
                "convert it with `xcrun pngcrush -revert-iphone-optimizations`"
            )
        if kind in _PIXELS and (sound or kind != b"tRNS"):
            kept.append(view[place:end])
        elif not sound:
            log.debug("a chunk %r with a wrong checksum is ignored", kind)
        elif kind == b"eXIf":
            exif = exif or bytes(content)
        elif kind in (b"iTXt", b"zTXt", b"tEXt"):
            found = _text(kind, bytes(content))
            if found and found[0] == b"XML:com.adobe.xmp":
                xmp = found[1]
            elif found and found[0] == b"Raw profile type exif":
                exif = exif or _raw_profile(found[1])
        elif kind == b"iCCP":
            facts.profile = _unpacked(bytes(content).partition(b"\0")[2][1:], MAX_PROFILE)
        elif kind == b"sRGB":
            srgb = True
        elif kind == b"gAMA" and len(content) == 4:
            facts.gamma = int.from_bytes(content) / 100_000 or None
        elif kind == b"cICP" and len(content) == 4:
            facts.primaries_and_transfer = content[0], content[1]
        elif kind == b"sBIT" and len(content):
            facts.bits = max(content)
        place = end
        if kind == b"IEND":
            break
    else:
        raise BrokenHeaderError(f"it has more than {MAX_PARTS:,} chunks")
    if srgb:
        facts.gamma = None
    facts.orientation = orientation_of(exif, xmp)
    return b"".join(kept), facts


def _text(kind: bytes, content: bytes) -> tuple[bytes, bytes] | None:
    """The key and the text of a chunk of text; None for one that is broken or of no use here."""
    key, _, text = content.partition(b"\0")
    if key not in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
        return None
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":
        packed = text[:1] == b"\1"
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    unpacked = _unpacked(text, MAX_TEXT) if packed else text
    return (key, unpacked) if unpacked else None


def _unpacked(data: bytes, most: int) -> bytes | None:
    """What zlib packed; at most the first ``most`` bytes; None if that is nothing."""
    try:
        return zlib.decompressobj().decompress(data, most) or None
    except zlib.error as error:
        log.debug("packed metadata is ignored: %s", error)
        return None


def _raw_profile(text: bytes) -> bytes:
    """EXIF as ImageMagick writes it into a text: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.decode("ascii").split("\n")[3:]))
    except ValueError as error:
        log.debug("EXIF in a text is ignored: %s", error)
        return b""
