"""TIFF files as they are: the page that is the image, without its metadata, and samples of more than eight bits.

Pillow reads the pixels of most. This module reads the rest: samples of 12, 16, 32 and 64 bits and floats, chunky or
plane by plane, in strips or tiles, in either byte order, with black or with white at zero. To
undo a compression, Pillow's libtiff is given the strips as those of a gray image whose samples are the bytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from pretrained_cnn.images.headers import BrokenHeaderError, Facts, orientation_of
from pretrained_cnn.images.levels import BAND, Samples

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, GREATEST, PLANAR = 273, 277, 278, 279, 281, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, SUB_IFDS, EXTRA, FORMAT = 317, 322, 323, 324, 325, 330, 338, 339
SUBFILE, ORIENTATION, XMP, PROFILE, PALETTE = 254, 274, 700, 34675, 320

NEEDED = frozenset(
    {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIPS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR}
    | {PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA, FORMAT, PALETTE}
    | {292, 293, 332, 333, 334, 347, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532}
)
"""The tags on which pixels depend; Pillow does not get the others."""

RAW = 1
BYTES = {5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard"}
"""Compressions of bytes, whatever they mean; others, such as JPEG, are of pixels."""
OTHERS = {
    34712: "JPEG 2000", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34887: "LERC", 50001: "WebP",
    50002: "JPEG XL", 52546: "JPEG XL", 34892: "lossy JPEG", 65000: "Eastman Kodak's",
}  # fmt: skip
CFA, LINEAR_RAW = 32803, 34892
MAX_SAMPLES = 64
MAX_PAGES = 100
"""Pages that are looked at for one that is not a thumbnail."""

_FORMS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q", 11: "f", 12: "d"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_REVERSED = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], np.uint8)


@dataclass(slots=True)
class Page:
    """One image of a TIFF file: its tags, where they are, and the file."""

    data: bytes
    order: str
    """``<`` or ``>``."""
    big: bool
    entries: dict[int, bytes] = field(default_factory=dict)
    """Each tag's entry, as it is in the file."""
    next: int = 0
    """Where the next page is; 0 if there is none."""

    def all(self, tag: int) -> tuple[Any, ...]:
        """All values of a tag; none if it is not there or broken."""
        entry = self.entries.get(tag)
        if entry is None:
            return ()
        kind, count = struct.unpack_from(self.order + ("HQ" if self.big else "HI"), entry, 2)
        form, size = _FORMS.get(kind), _SIZES.get(kind, 0) * count
        if form is None or size == 0 or size > len(self.data):
            return ()
        inline = entry[12:] if self.big else entry[8:]
        where, place = inline, 0
        if size > len(inline):
            where, place = self.data, struct.unpack(self.order + ("Q" if self.big else "I"), inline)[0]
        if place + size > len(where):
            return ()
        return struct.unpack_from(f"{self.order}{count}{form}", where, place)

    def one(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        values = self.all(tag)
        return int(values[0]) if values else default

    def content(self, tag: int) -> bytes | None:
        """The bytes of a tag, if they are elsewhere in the file."""
        entry = self.entries.get(tag)
        if entry is None:
            return None
        kind, count = struct.unpack_from(self.order + ("HQ" if self.big else "HI"), entry, 2)
        size = _SIZES.get(kind, 1) * count
        (place,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), entry, 12 if self.big else 8)
        return self.data[place : place + size] if size > 8 and place + size <= len(self.data) else None

    @property
    def is_thumbnail(self) -> bool:
        """Whether it says of itself that it is a smaller version of another page, or a mask of one."""
        return bool(self.one(SUBFILE, 0) & 5)


def read_tiff(data: bytes, *, allow_cut: bool = False) -> tuple[bytes | Samples, Facts]:
    """A TIFF file of one page, without its metadata, or that page's samples; and what the metadata said.

    Raises BrokenHeaderError for a file in which there is no page, or one of a kind that cannot be read.
    """
    page = _page(data)
    facts = Facts(profile=page.content(PROFILE))
    value = page.one(ORIENTATION, 1)
    facts.orientation = value if 1 <= value <= 8 else 1
    if ORIENTATION not in page.entries:
        facts.orientation = orientation_of(None, page.content(XMP))
    samples = _samples(page, allow_cut)
    return (samples if samples is not None else _alone(page)), facts


def _page(data: bytes) -> Page:
    """The first page that is no thumbnail; the first of all if each says that it is one."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "<")
    if data[2:4] in (b"\0\x2a", b"\x2a\0"):
        big, place = False, struct.unpack_from(order + "I", data + bytes(4), 4)[0]
    else:
        big, place = True, struct.unpack_from(order + "Q", data + bytes(8), 8)[0]
    first, seen = None, set[int]()
    queue = [place]
    while queue and len(seen) < MAX_PAGES:
        place = queue.pop(0)
        if place in seen or not 0 < place < len(data):
            continue
        seen.add(place)
        page = _directory(data, order, big, place)
        if WIDTH not in page.entries:
            continue
        if not page.is_thumbnail and page.one(PHOTOMETRIC, 1) not in (CFA, LINEAR_RAW):
            return page
        first = first or page
        queue.append(page.next)
        queue.extend(int(sub) for sub in page.all(SUB_IFDS)[:MAX_PAGES])
    if first is None:
        raise BrokenHeaderError("this is a TIFF without a page that can be read; it is cut or broken")
    if any(_directory(data, order, big, place).one(PHOTOMETRIC, 1) in (CFA, LINEAR_RAW) for place in seen):
        raise BrokenHeaderError(
            "this is a camera's raw file (DNG), whose image must be developed first; export it as JPEG or TIFF, or "
            "give the array that rawpy makes of it"
        )
    return first


def _directory(data: bytes, order: str, big: bool, place: int) -> Page:
    page = Page(data, order, big)
    try:
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, place)
        place, size = place + (8 if big else 2), 20 if big else 12
        for start in range(place, place + min(count, 65_535) * size, size):
            if start + size > len(data):
                return page
            page.entries.setdefault(struct.unpack_from(order + "H", data, start)[0], data[start : start + size])
        (page.next,) = struct.unpack_from(order + ("Q" if big else "I"), data, place + count * size)
    except struct.error:  # it ends here
        pass
    return page


def _alone(page: Page) -> bytes:
    """The file with nothing but this page, for Pillow: the tags that it needs, where they were."""
    order, entries, place = page.order, [], len(page.data) + len(page.data) % 2
    moved = bytearray()
    for tag, entry in sorted(page.entries.items()):
        if tag not in NEEDED:
            continue
        colors = page.all(tag) if tag == PALETTE else ()
        if len(colors) > 2 and max(colors) < 256:  # of 8 bits, where 16 are the rule: libtiff also takes them for that
            entry = struct.pack(order + "HHII", tag, 3, len(colors), place + len(moved))
            moved += struct.pack(f"{order}{len(colors)}H", *(257 * int(color) for color in colors))
        elif page.big:  # Pillow reads those of one byte order only; so it gets what a classic file would have
            kind, count = struct.unpack_from(order + "HQ", entry, 2)
            values = page.all(tag) if kind in (13, 16, 17, 18) else ()
            value = struct.pack(f"{order}{count}I", *values) if values else page.content(tag) or entry[12:]
            where = value[:4].ljust(4, b"\0")
            if len(value := value[: count * (4 if values else _SIZES.get(kind, 1))]) > 4:
                where = struct.pack(order + "I", place + len(moved))
                moved += value + bytes(len(value) % 2)
            entry = struct.pack(order + "HHI", tag, 4 if values else kind, count) + where
        entries.append(entry)
    header = page.data[:2] + struct.pack(order + "HI", 42, place + len(moved))
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return b"".join([header, memoryview(page.data)[8:], bytes(len(page.data) % 2), moved, directory])


# Samples


def _samples(page: Page, allow_cut: bool) -> Samples | None:
    """The samples of a page that Pillow would read wrongly or not at all; None if it reads it well."""
    count = page.one(SAMPLES, 1)
    bits = page.all(BITS) or (1,)
    compression, photometric = page.one(COMPRESSION, 1), page.one(PHOTOMETRIC, 0)
    if compression in OTHERS:
        raise BrokenHeaderError(
            f"this is a TIFF with {OTHERS[compression]} compression, which Pillow cannot undo; "
            "save it uncompressed, or with LZW or deflate"
        )
    if not 1 <= count <= MAX_SAMPLES:
        raise BrokenHeaderError(f"this is a TIFF of {count:,} samples a pixel; save it as RGB")
    pillow_reads = _pillow_reads(page, photometric, count, bits[0])
    if pillow_reads and not (page.one(PLANAR, 1) == 2 and count > 1 and _is_of_bytes(compression)):
        return None
    kind = {1: "u", 2: "i", 3: "f"}.get(page.one(FORMAT, 1))
    mode, extra = _mode(page, photometric, count)
    sound = len(set(bits)) == 1 and len(set(page.all(FORMAT) or (1,))) == 1
    if not _is_of_bytes(compression) or mode is None or kind is None or not sound:
        if pillow_reads:
            return None
        raise BrokenHeaderError(
            f"this is a TIFF of {count} samples a pixel, {bits[0]} bits each, of a kind that cannot be read "
            f"(photometric interpretation {photometric}); save it as RGB of 8 or 16 bits"
        )
    if bits[0] not in {"f": (16, 32, 64), "i": (8, 16, 32, 64), "u": (*range(1, 17), 32, 64)}[kind]:
        raise BrokenHeaderError(f"this is a TIFF of {bits[0]} bits a sample; save it with 8 or 16")
    if bits[0] % 8 and compression != RAW and page.one(PREDICTOR, 1) != 1:
        raise BrokenHeaderError(
            f"this is a TIFF of {bits[0]} bits a sample with a predictor; save it with 8 or 16 bits"
        )
    layout = _Layout(page, count, bits[0], kind, compression, allow_cut)
    band = layout.row_bytes * layout.across * max(layout.rows, min(layout.size[1], BAND // max(1, layout.row_bytes)))
    channels = [*range(4 if mode == "CMYK" else 3 if mode.startswith("RGB") else 1), *extra]
    greatest = max(page.all(GREATEST), default=None)
    full = 2 ** bits[0] - 1
    return Samples(
        layout.size,
        lambda: layout.bands(channels),
        mode,
        bits[0],
        greatest=greatest if greatest and greatest > 0 and (kind == "f" or greatest < full) else None,
        white_is_zero=photometric == 0 and PHOTOMETRIC in page.entries,
        band_bytes=3 * band,
        unpacked=layout.size[0] * layout.size[1] * count * bits[0] // 8 * (1 if kind == "u" and bits[0] <= 16 else 2),
    )


def _pillow_reads(page: Page, photometric: int, count: int, bits: int) -> bool:
    """Whether Pillow knows such samples, in one plane or, as libtiff gives them, in several."""
    if bits < 8:
        return bits in (1, 2, 4) and count == 1
    if bits > 8 or count > 4 or page.one(FORMAT, 1) == 2:  # it takes signed samples for unsigned ones
        return False
    return photometric > 1 or count == 1 or (count == 2 and page.one(PLANAR, 1) == 1)


def _is_of_bytes(compression: int) -> bool:
    return compression == RAW or compression in BYTES


def _mode(page: Page, photometric: int, count: int) -> tuple[str | None, list[int]]:
    """Pillow's mode for the channels, and which of the extra ones is the alpha."""
    colors, mode = {0: (1, "L"), 1: (1, "L"), 2: (3, "RGB"), 5: (4, "CMYK")}.get(photometric, (0, ""))
    extra = page.all(EXTRA)
    if not colors or count < colors or (colors == 1 and count - 2 > len(extra)):
        return None, []
    if not extra and mode == "RGB" and count == 4:  # as Pillow has it: what would a fourth be?
        extra = (2,)
    for place, meaning in enumerate(extra[: count - colors], start=colors):
        if meaning in (1, 2, 999) and mode != "CMYK":  # 999 is CorelDRAW's
            return mode + ("a" if meaning == 1 else "A"), [place]
    return mode, []


class _Layout:
    """How the samples of a page lie in its file."""

    def __init__(self, page: Page, count: int, bits: int, kind: str, compression: int, allow_cut: bool) -> None:
        self.page, self.count, self.bits, self.kind, self.compression = page, count, bits, kind, compression
        self.size = width, height = page.one(WIDTH, 0), page.one(HEIGHT, 0)
        self.planes = count if page.one(PLANAR, 1) == 2 else 1
        self.tiled = TILES in page.entries
        self.places = page.all(TILES if self.tiled else STRIPS)
        self.lengths = page.all(TILE_BYTES if self.tiled else STRIP_BYTES)
        self.rows = min(page.one(TILE_HEIGHT if self.tiled else ROWS_PER_STRIP, height), 2**31)
        self.width = page.one(TILE_WIDTH, 0) if self.tiled else width
        self.rows = self.rows if self.tiled else min(self.rows, height)
        if min(width, height, self.rows, self.width) < 1:
            raise BrokenHeaderError("this is a TIFF without a size")
        if self.tiled and (self.rows > 2 * height + 4096 or self.width > 2 * width + 4096):
            raise BrokenHeaderError(f"this is a TIFF with tiles of {self.width} x {self.rows} pixels")
        self.across, self.down = -(-width // self.width), -(-height // self.rows)
        self.each = count // self.planes
        self.row_bytes = -(-self.width * self.each * bits // 8)
        self.allow_cut = allow_cut and bool(self.places) and self.places[0] + self.row_bytes <= len(page.data)
        """Whether what is missing at the end of the file, except a first row, is black."""
        if not self.lengths and compression == RAW:
            self.lengths = (self.row_bytes * self.rows,) * len(self.places)
        if not len(self.places) == len(self.lengths) == self.across * self.down * self.planes:
            raise BrokenHeaderError("this is a TIFF whose strips do not add up to its size; it is cut or broken")

    def bands(self, channels: list[int]) -> Iterator[NDArray[Any]]:
        """Bands of rows, ``(rows, width, channels)``."""
        width, height = self.size
        together = max(1, BAND // max(1, self.row_bytes * self.rows * self.across))
        planes = channels if self.planes > 1 else [0]
        is_run = channels == list(range(channels[0], channels[0] + len(channels)))
        wanted = slice(channels[0], channels[0] + len(channels)) if is_run else channels  # a slice makes no copy
        for first in range(0, self.down, together):
            last = min(first + together, self.down)
            rows = min(last * self.rows, height) - first * self.rows
            parts = [self._rows(plane, first, last)[:rows, :width] for plane in planes]
            yield parts[0][..., wanted] if self.planes == 1 else np.concatenate(parts, axis=-1)

    def _rows(self, plane: int, first: int, last: int) -> NDArray[Any]:
        """The rows of some rows of strips or tiles, ``(rows, width, samples)``."""
        start = plane * self.across * self.down
        chosen = range(start + first * self.across, start + last * self.across)
        data = self.page.data
        chunks = [data[self.places[i] : self.places[i] + self.lengths[i]] for i in chosen]
        height = (last - first) * self.rows
        if not self.tiled:
            height = min(height, self.size[1] - first * self.rows)
        flat = self._unpacked(chunks, height * self.across)
        if self.page.one(FILL_ORDER, 1) == 2 and self.compression == RAW:
            flat = _REVERSED[flat]
        rows = self._values(flat.reshape(-1, self.row_bytes))
        if self.tiled:
            rows = rows.reshape(last - first, self.across, self.rows, self.width, self.each)
            rows = rows.transpose(0, 2, 1, 3, 4)
        return rows.reshape(height, -1, self.each)

    def _unpacked(self, chunks: list[bytes], rows: int) -> NDArray[np.uint8]:
        """The bytes of strips or tiles, one after the other, without their compression."""
        wanted = rows * self.row_bytes
        if self.compression == RAW:
            flat = np.frombuffer(b"".join(chunks), np.uint8)
            if len(flat) < wanted and not self.allow_cut:
                raise OSError("image file is truncated")
            return flat[:wanted] if len(flat) >= wanted else np.pad(flat, (0, wanted - len(flat)))
        return np.asarray(_gray(chunks, self.row_bytes, rows, self.rows, self.compression, self.page)).reshape(-1)

    def _values(self, rows: NDArray[np.uint8]) -> NDArray[Any]:
        """The samples in rows of bytes, ``(rows, width, samples)``, in native byte order."""
        predictor = self.page.one(PREDICTOR, 1) if self.compression != RAW else 1
        shape = len(rows), self.width, self.each
        if self.bits < 16 and self.bits != 8:
            unpacked = np.unpackbits(rows, axis=1)[:, : self.width * self.each * self.bits]
            weights = (1 << np.arange(self.bits - 1, -1, -1)).astype(np.uint16)
            numbers: NDArray[Any] = (unpacked.reshape(*shape, self.bits) * weights).sum(axis=-1, dtype=np.uint16)
            return numbers
        size = self.bits // 8
        if predictor == 3 and self.kind == "f":
            added = np.cumsum(rows.reshape(len(rows), -1, self.each), axis=1, dtype=np.uint8)
            planes = np.ascontiguousarray(added.reshape(len(rows), size, -1).transpose(0, 2, 1))
            floats: NDArray[Any] = planes.view(f">f{size}").reshape(shape).astype(f"f{size}")
            return floats
        kind = np.dtype(f"{self.page.order}{'u' if predictor == 2 else self.kind}{size}")
        values = np.ascontiguousarray(rows).view(kind).reshape(shape).astype(kind.newbyteorder("="), copy=False)
        if predictor == 2:
            values = np.cumsum(values, axis=1, dtype=values.dtype).view(f"{self.kind}{size}")
        return values


def _gray(chunks: list[bytes], width: int, height: int, rows: int, compression: int, page: Page) -> Image.Image:
    """What libtiff makes of strips of bytes: a gray image of ``height`` rows, ``rows`` in each strip."""
    count = len(chunks)
    lengths = [len(chunk) for chunk in chunks]
    places, end = [], 8
    for length in lengths:
        places.append(end)
        end += length
    end += end % 2
    tables = struct.pack(f"<{count}I{count}I", *places, *lengths)
    here = end + len(tables)

    def listed(tag: int, values: list[int], place: int) -> bytes:
        return struct.pack("<HHII", tag, 4, count, values[0] if count == 1 else place)

    def single(tag: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, 4, 1, value)

    entries = [
        single(WIDTH, width), single(HEIGHT, height), single(BITS, 8), single(COMPRESSION, compression),
        single(PHOTOMETRIC, 1), single(FILL_ORDER, page.one(FILL_ORDER, 1)), listed(STRIPS, places, end),
        single(SAMPLES, 1), single(ROWS_PER_STRIP, rows), listed(STRIP_BYTES, lengths, end + 4 * count),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    body = b"".join(chunks)
    file = b"".join([b"II*\0", struct.pack("<I", here), body, bytes(end - 8 - len(body)), tables, directory])
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(file))
    image.load()
    return image
