"""How images are read, and how much of them: `ImagePolicy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pretrained_cnn.errors import InvalidArgumentError

__all__ = ["ImagePolicy"]

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ImagePolicy:
    """How images are decoded, and the limits within which they are.

    An image beyond a limit is an ImageError that names the limit and the setting. Raises InvalidArgumentError
    for a setting that cannot be right.

    >>> ImagePolicy(max_pixels=1_000_000).max_pixels
    1000000
    """

    max_pixels: int = 89_478_485
    """Width times height at most; the default is where Pillow begins to warn of decompression bombs. Pillow itself
    refuses images of more than twice ``PIL.Image.MAX_IMAGE_PIXELS``, whatever is set here."""
    max_bytes: int = 256 * MIB
    """Size at most of a file, of bytes, or of what an open file gives."""
    max_url_bytes: int = 64 * MIB
    """Size at most of what an address gives."""
    url_seconds: float = 30.0
    """Time at most for one address, redirects included, from connecting to the last byte; how long a name server takes
    is up to the system."""
    allow_private: bool = True
    """Whether an address may lead to a loopback, link-local or private network. A server that takes addresses from
    strangers wants False: then each connection, those after a redirect included, is checked before it is made,
    on the address that it is made to, and no proxy is used."""
    background: tuple[int, int, int] = (255, 255, 255)
    """RGB, 0 to 255, what shows through where an image is transparent."""
    color_profile: Literal["convert", "ignore"] = "convert"
    """What to do with an embedded color profile: convert the image to sRGB, or take its numbers as they are,
    as ``keras.utils.load_img`` does."""
    truncated: Literal["error", "allow"] = "error"
    """Whether a file that ends early is an error, or what is there is taken."""
    draft: bool = True
    """Whether a large JPEG may be decoded at a half, a quarter or an eighth of its size, where at least three times
    the pixels are left, each way, that the network needs. It is several times as fast; nearest-neighbor
    interpolation never does it."""

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_bytes", "max_url_bytes", "url_seconds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise InvalidArgumentError(f"{name}={value!r} is not a number above 0")
        if self.color_profile not in ("convert", "ignore"):
            raise InvalidArgumentError(
                f'color_profile={self.color_profile!r} is not known; choose "convert" or "ignore"'
            )
        if self.truncated not in ("error", "allow"):
            raise InvalidArgumentError(f'truncated={self.truncated!r} is not known; choose "error" or "allow"')
        color = self.background
        if not (isinstance(color, tuple) and len(color) == 3 and all(map(_is_byte, color))):
            raise InvalidArgumentError(f"background={color!r} is not (red, green, blue), each 0 to 255")


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
