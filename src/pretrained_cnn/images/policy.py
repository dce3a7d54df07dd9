"""How images are decoded, and the limits: `ImagePolicy`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pretrained_cnn._check import choice, number
from pretrained_cnn.errors import InvalidArgumentError

__all__ = ["ImagePolicy", "check_policy"]

MIB = 1024 * 1024
FULL_SIZE = 4
"""How many times as many pixels as `ImagePolicy.max_pixels` a file may have if fewer of them are decoded."""


@dataclass(frozen=True, kw_only=True)
class ImagePolicy:
    """How images are decoded, and the limits of size, time and memory.

    An image beyond a limit raises ImageError, which names the limit and the setting. Raises InvalidArgumentError for
    an invalid setting.

    >>> ImagePolicy(max_pixels=1_000_000).max_pixels
    1000000
    """

    max_pixels: int = 89_478_485
    """Maximum width times height of the decoded image. For a large JPEG that may be a draft, see ``draft``. The default
    is the size from which Pillow warns of decompression bombs. An image with more than ``FULL_SIZE`` times as many
    pixels is always rejected."""
    max_memory: int = 512 * MIB
    """Maximum number of bytes for decoding one image, calculated from its header. The samples of a TIFF that is
    unpacked in bands may take three times as many."""
    max_bytes: int = 256 * MIB
    """Maximum size in bytes of a file, of a bytes object, or of the content of an open file."""
    max_url_bytes: int = 64 * MIB
    """Maximum size in bytes of a download."""
    url_seconds: float = 30.0
    """Maximum time for one address, redirects included, from connecting to the last byte. The time of the name server
    does not count."""
    allow_private: bool = True
    """Whether an address may lead to a loopback, link-local or private network. Set it to False on a
    server that accepts addresses from unknown users. Then the target of each connection is checked before the
    connection is made, also after a redirect, and no proxy is used."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Request headers for addresses, such as ``{"Authorization": "Bearer ..."}``. They are sent only to the host of
    the address, and never shown, saved or compared."""
    background: tuple[int, int, int] = (255, 255, 255)
    """RGB, 0 to 255: the background behind transparent pixels."""
    color_profile: Literal["convert", "ignore"] = "convert"
    """What to do with an embedded color profile: convert the image to sRGB, or ignore the profile, as
    ``keras.utils.load_img`` does."""
    levels: Literal["declared", "full", "stretch"] = "declared"
    """Which values of more than eight bits are black and white. ``"declared"``: 0 and 65,535 for 16 bits, or the range
    that the file declares, such as 12 significant bits. 32-bit integers and floats have no standard range, so their
    least and greatest values are used. ``"full"``: the whole range of the type, 0 to 1 for floats. ``"stretch"``:
    always from the least to the greatest value of the image."""
    truncated: Literal["error", "allow"] = "error"
    """Whether a file that ends early is an error, or the available part is used."""
    draft: bool = True
    """Whether a large image may be reduced while it is decoded, where at least twice the pixels that the network needs
    are left, each way, and 640. A JPEG is decoded at a half, a quarter or an eighth of its size, any other image is
    averaged. This takes up to several times less; nearest-neighbor interpolation never does it."""

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_memory", "max_bytes", "max_url_bytes", "url_seconds"):
            number(name, getattr(self, name), above=0)
        choice("color_profile", self.color_profile, ("convert", "ignore"))
        choice("levels", self.levels, ("declared", "full", "stretch"))
        choice("truncated", self.truncated, ("error", "allow"))
        headers = self.headers
        words = [word for pair in headers.items() for word in pair] if isinstance(headers, Mapping) else [None]
        if not all(isinstance(word, str) and word.isascii() and word.isprintable() for word in words):
            raise InvalidArgumentError(
                "headers is not a mapping of names to values, both printable ASCII, "
                'such as {"Authorization": "Bearer ..."}'
            )
        object.__setattr__(self, "headers", dict(headers))
        color = self.background
        if not (isinstance(color, tuple) and len(color) == 3 and all(map(_is_byte, color))):
            raise InvalidArgumentError(f"background={color!r} is not (red, green, blue), each 0 to 255")

    def to_dict(self) -> dict[str, Any]:
        """All settings but ``headers``, as JSON has them: for files and for comparisons.

        >>> ImagePolicy(headers={"Authorization": "secret"}).to_dict()["background"]
        [255, 255, 255]
        """
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "headers"}
        return fields | {"background": list(self.background)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> ImagePolicy:
        """The policy from the data of `to_dict`.

        >>> ImagePolicy.from_dict(ImagePolicy(max_pixels=1_000_000).to_dict()).max_pixels
        1000000
        """
        return cls(**{**settings, "background": tuple(settings["background"])})


def check_policy(value: object) -> ImagePolicy:
    """``value``, if it is an `ImagePolicy`. Raises InvalidArgumentError for anything else."""
    if not isinstance(value, ImagePolicy):
        raise InvalidArgumentError(f"image_policy={value!r} is not an ImagePolicy")
    return value


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
