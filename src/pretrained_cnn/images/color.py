"""From the colors that a file means to sRGB: by its ICC profile, or by the numbers that a PNG gives."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pretrained_cnn.images.headers import Facts

log = logging.getLogger(__name__)

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From values 0..1 to values 0..1."""
Change = Callable[[Image.Image], Image.Image]
"""From an image of mode ``L``, ``RGB``, ``CMYK`` or ``LAB`` to one of mode ``RGB`` in sRGB."""

NEAR = 3
"""How far, in values of 255, a profile may differ from sRGB and still count as sRGB. The profiles of that name differ
from each other by this much."""
MAX_PROBED = 64 * 1024
"""Bytes of a profile beyond which it is not remembered whether it is sRGB's."""


def change(facts: Facts, mode: str) -> Change | None:
    """What makes an image of that mode sRGB; None if it is so already, or if nothing valid says what it is."""
    if facts.primaries_and_transfer is not None:
        return _by_numbers(*facts.primaries_and_transfer) if mode == "RGB" else None
    if facts.profile:
        return by_profile(facts.profile, mode)
    decoded = by_gamma(facts.gamma)
    if decoded is None:
        return None
    table = np.rint(255 * decoded(np.arange(256) / 255)).astype(int).tolist()
    return lambda image: image.point(table * len(image.getbands())).convert("RGB")


def by_profile(profile: bytes, mode: str) -> Change | None:
    """Convert by an ICC profile. None if it is sRGB's by what it does, is broken, or is of another kind of colors."""
    if mode not in ("L", "RGB", "CMYK", "LAB"):
        return None
    is_srgb = _is_srgb if len(profile) <= MAX_PROBED else _is_srgb.__wrapped__
    if mode == "RGB" and is_srgb(profile):
        return None
    if mode == "L":
        table = gray_table(profile, 256)
        return None if table is None else lambda image: image.point(table.tolist()).convert("RGB")
    try:
        transform = _transform(profile, mode)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.debug("a color profile is ignored: %s", error)
        return None

    def apply(image: Image.Image) -> Image.Image:
        try:
            converted = ImageCms.applyTransform(image, transform)
        except (ImageCms.PyCMSError, ValueError) as error:
            log.debug("a color profile is ignored: %s", error)
            converted = None
        return image.convert("RGB") if converted is None else converted

    return apply


def gray_table(profile: bytes, steps: Literal[256, 65536]) -> NDArray[np.uint8] | None:
    """The gray of sRGB for each gray value that a profile is for; None if it is broken or not for grays."""
    ramp = np.arange(steps).astype(np.uint8 if steps == 256 else np.uint16)[np.newaxis]
    try:
        # By default LittleCMS interpolates between a few values, which is wrong for the dark ones of a linear profile.
        transform = _transform(profile, "L" if steps == 256 else "I;16", ImageCms.Flags.NOOPTIMIZE)
        found = ImageCms.applyTransform(Image.fromarray(ramp), transform)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.debug("a color profile is ignored: %s", error)
        return None
    return None if found is None else np.asarray(found)[0, :, 1]


def _transform(profile: bytes, mode: str, flags: ImageCms.Flags = ImageCms.Flags.NONE) -> ImageCms.ImageCmsTransform:
    """Made again for each image: LittleCMS's are not for several threads."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)


@lru_cache(maxsize=64)
def _is_srgb(profile: bytes) -> bool:
    """Whether a profile leaves RGB colors as they are. Its name does not count: some linear profiles are called
    sRGB.
    """
    steps = np.arange(0, 256, 51).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    probe = np.concatenate([grid, np.repeat(np.arange(256).astype(np.uint8)[:, np.newaxis], 3, axis=1)])[np.newaxis]
    try:
        found = ImageCms.applyTransform(Image.fromarray(probe), _transform(profile, "RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return found is not None and int(np.abs(np.asarray(found).astype(int) - probe).max()) <= NEAR


def decoded(facts: Facts, mode: str) -> Curve | None:
    """What makes samples of more than eight bits, 0..1, sRGB before they lose their lower bits; None if nothing does.

    After that, ``facts`` say nothing of colors anymore.
    """
    found = by_gamma(facts.gamma) if facts.profile is None and facts.primaries_and_transfer is None else None
    if facts.profile is not None and mode in ("L", "LA", "La"):
        table = gray_table(facts.profile, 65536)
        if table is not None:
            found = partial(_looked_up, table)
    if found is not None:
        facts.profile = facts.gamma = None
    return found


def _looked_up(table: NDArray[np.uint8], samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return table[np.rint(samples * 65535).astype(np.uint16)] / 255.0


def by_gamma(gamma: float | None) -> Curve | None:
    """From samples 0..1 that are light to the power of ``gamma`` to sRGB; None if that is about what sRGB is."""
    if gamma is None or not 0.1 <= gamma <= 10 or abs(gamma * 2.2 - 1) < 0.05:
        return None
    return lambda samples: _encoded(samples ** (1 / gamma))


def _encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB's own curve."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


# ITU-T H.273, as in PNG's cICP

_TO_SRGB = {
    9: [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],  # BT.2020
    12: [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]],  # Display P3
}
WHITE = 203.0
"""Candela per square meter of white in HDR images, by ITU-R BT.2408; what is brighter becomes white."""


def _srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _pq(values: NDArray[np.float64]) -> NDArray[np.float64]:
    power = values ** (1 / 78.84375)
    return 10_000 / WHITE * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)


def _hlg(values: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    return light**1.2 * 1000 / WHITE


_LIGHT: dict[int, Curve] = {
    4: lambda values: values**2.2,
    5: lambda values: values**2.8,
    8: lambda values: values,
    16: _pq,
    18: _hlg,
}


def _by_numbers(primaries: int, transfer: int) -> Change | None:
    """By code points; other primaries and transfers than those above count as sRGB's."""
    matrix, light = _TO_SRGB.get(primaries), _LIGHT.get(transfer)
    if matrix is None and light is None:
        return None
    table = (light or _srgb)(np.arange(256) / 255).astype(np.float32)
    # By the root of the light, which leaves the dark colors, where sRGB's curve is steep, steps enough.
    encoded = np.rint(255 * _encoded((np.arange(4096) / 4095) ** 2)).astype(np.uint8)
    back = np.asarray(matrix if matrix is not None else np.eye(3), np.float32).T

    def apply(image: Image.Image) -> Image.Image:
        colors = np.clip(table[np.asarray(image)] @ back, 0, 1)
        return Image.fromarray(encoded[(np.sqrt(colors) * 4095 + 0.5).astype(np.uint16)])

    return apply
