"""An image is the same however it is stored: container x depth x mode x profile x orientation x alpha."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from paths import EXAMPLES
from PIL import Image
from test_images_in_the_wild import chunk, exif, png_of, profile, with_chunks

from pretrained_cnn import Classifier, ImagePolicy
from pretrained_cnn.images import kinds
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.sources import single_item

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright image is stored that has this orientation."""

MODES = {"gray": 1, "colors": 3}
PROFILES = ("none", "gamma 1.8", "swapped")
CONTAINERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[bool, ...], tuple[str, ...], bool]] = {
    # depths, modes, with alpha, profiles, orientation
    "PNG": (("8", "16"), ("gray", "colors"), (False, True), PROFILES, True),
    "TIFF": (("8", "16", "float"), ("gray", "colors"), (False, True), PROFILES, True),
    "planar TIFF": (("8", "16"), ("colors",), (False, True), PROFILES, True),
    "JPEG": (("8",), ("gray", "colors"), (False,), PROFILES, True),
    "WEBP": (("8",), ("colors",), (False, True), PROFILES, True),
    "AVIF": (("8",), ("colors",), (False, True), PROFILES, True),
    "HEIF": (("8",), ("colors",), (False, True), PROFILES, False),
    "JPEG2000": (("8", "16"), ("gray", "colors"), (False, True), ("none",), False),
    "PPM": (("8", "16"), ("gray", "colors"), (False,), ("none",), False),
}


class Way(NamedTuple):
    """A way to store an image."""

    container: str
    depth: str
    mode: str
    alpha: bool
    profile: str
    orientation: int


def ways() -> Iterator[Way]:
    for container, (depths, modes, alphas, profiles, turned) in CONTAINERS.items():
        for way in itertools.product(depths, modes, alphas, profiles, range(1, 9) if turned else (1,)):
            depth, mode, alpha, kind, _ = way
            if (kind == "swapped" and mode == "gray") or (depth == "float" and (alpha or kind != "none")):
                continue
            if container == "JPEG2000" and depth == "16" and (alpha or mode == "colors"):
                continue  # Pillow does not write these
            yield Way(container, *way)


def drawing(way: Way) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Colors and alpha, 0 to 1, and what is seen of them on white."""
    image = Image.open(EXAMPLES / "hourglass.png").convert("RGB").resize((240, 200))
    colors = np.asarray(image if way.mode == "colors" else image.convert("L")).reshape(200, 240, -1) / 255
    colors[0, 0], colors[0, 1] = 0, 1  # floats are stretched from the least to the greatest value
    alpha = np.ones((200, 240, 1))
    if way.alpha:
        alpha[:, :40] = np.linspace(0, 1, 40)[:, np.newaxis]
    seen = colors * alpha + 1 - alpha
    return colors, alpha, np.repeat(seen, 3, axis=-1) if way.mode == "gray" else seen


def store(way: Way) -> bytes:
    colors, alpha, _ = drawing(way)
    icc = None
    if way.profile == "gamma 1.8":
        light = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
        colors = light ** (1 / 1.8)
        icc = profile(1.8, "sRGB" if way.mode == "colors" else "Gray", b"RGB " if way.mode == "colors" else b"GRAY")
    elif way.profile == "swapped":  # with the curve of sRGB, as far as one power can be it
        colors = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)[..., ::-1] ** (1 / 2.2)
        icc = profile(2.2, "sRGB", swapped=True)
    values = np.concatenate([colors, alpha], axis=-1) if way.alpha else colors
    turn = STORED[way.orientation]
    if turn is not None:
        planes = [Image.fromarray(values[..., i].astype(np.float32)).transpose(turn) for i in range(values.shape[-1])]
        values = np.dstack([np.asarray(plane) for plane in planes])
    return write(way, values, icc)


def write(way: Way, values: NDArray[np.float64], icc: bytes | None) -> bytes:
    eight, sixteen = np.rint(values * 255).astype(np.uint8), np.rint(values * 65535).astype(np.uint16)
    block = exif((0x0112, 3, 1, struct.pack("<HH", way.orientation, 0)))
    stream = io.BytesIO()
    if way.container == "PNG":
        made = png_of(sixteen if way.depth == "16" else eight, _png_kind(values), 16 if way.depth == "16" else 8)
        chunks = [chunk(b"iCCP", b"x\0\0" + zlib.compress(icc))] if icc else []
        return with_chunks(made, *chunks, chunk(b"eXIf", block))
    if way.container.endswith("TIFF"):
        array = {"8": eight, "16": sixteen, "float": values.astype(np.float32)}[way.depth]
        options: dict[str, Any] = {"photometric": "rgb" if way.mode == "colors" else "minisblack", "iccprofile": icc}
        if way.alpha:
            options["extrasamples"] = ["unassalpha"]
        if way.container.startswith("planar"):
            array, options = np.moveaxis(array, -1, 0), options | {"planarconfig": "separate"}
        elif way.mode == "gray":
            array, options = (array if way.alpha else array[..., 0]), options | {"planarconfig": "contig"}
        tifffile.imwrite(stream, array, extratags=[(274, "H", 1, way.orientation, True)], **options)
        return stream.getvalue()
    if way.container == "PPM" and way.depth == "16":
        height, width, channels = sixteen.shape
        return b"P%d %d %d 65535\n" % (6 if channels == 3 else 5, width, height) + sixteen.astype(">u2").tobytes()
    array = sixteen if way.depth == "16" else eight
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    options = {"icc_profile": icc} if icc else {}
    if CONTAINERS[way.container][4]:
        options["exif"] = b"Exif\0\0" + block
    if way.container in ("JPEG", "AVIF", "HEIF"):
        options["quality"] = 100
    options |= {"JPEG": {"subsampling": 0}, "AVIF": {"subsampling": "4:4:4"}, "HEIF": {"chroma": 444}}.get(
        way.container, {}
    )
    if way.container == "WEBP":
        options["lossless"] = True
    image.save(stream, way.container, **options)
    return stream.getvalue()


def _png_kind(values: NDArray[np.float64]) -> int:
    return {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[-1]]


def check(some: list[Way]) -> None:
    kinds.open_optional_formats()
    clf = Classifier("EfficientNetLite0")
    plain = {}
    for mode, alpha in itertools.product(MODES, (False, True)):
        seen = drawing(Way("", "", mode, alpha, "", 1))[2]
        plain[mode, alpha] = np.rint(seen * 255).astype(np.uint8)
    expected = dict(zip(plain, clf.predict_proba(list(plain.values())), strict=True))
    found = [decode(single_item(store(way)), ImagePolicy()) for way in some]
    wrong = {}
    for way, image, scores in zip(some, found, clf.predict_proba(found), strict=True):
        assert image.size == (240, 200), way
        variation = np.abs(scores - expected[way.mode, way.alpha]).sum() / 2
        if variation >= 0.05:
            wrong[way] = round(float(variation), 3)
    assert not wrong, wrong


@pytest.mark.slow
def test_every_seventh_way() -> None:
    check(list(ways())[::7])


@pytest.mark.slow
def test_all_ways() -> None:
    assert len(list(ways())) > 400
    check(list(ways()))
