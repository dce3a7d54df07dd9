"""How images are read, as options: one for each field of `ImagePolicy`, of the same name."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from pretrained_cnn.cli.options import Count, Number, option
from pretrained_cnn.images.policy import ImagePolicy

GROUP = "images"


def color(text: str) -> tuple[int, ...]:
    """A color as ``255,255,255`` or ``#ffffff``."""
    try:
        if text.startswith("#") and len(text) == 7:
            return tuple(bytes.fromhex(text[1:]))
        parts = tuple(int(part) for part in text.split(","))
        if len(parts) == 3 and all(0 <= part <= 255 for part in parts):
            return parts
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a color; expected R,G,B of 0 to 255 each, or #rrggbb")


def header(text: str) -> tuple[str, str]:
    """A request header as ``Name: value``."""
    name, colon, value = text.partition(":")
    if not (colon and name.strip()):  # the value may be secret, so it is not repeated
        raise argparse.ArgumentTypeError("expected 'Name: value'")
    return name.strip(), value.strip()


def _setting(default: object, help: str, **keywords: Any) -> Any:
    """An option that is None unless given: then the policy's ``default`` holds, or what a bundle says."""
    shown = "yes" if default is True else f"{default:g}" if isinstance(default, float) else str(default)
    return option(
        f"{help} (default: {shown.strip('()').replace(' ', '')}, or the bundle's own).", group=GROUP, **keywords
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are read; None is the default of `ImagePolicy`, or what a bundle says."""

    max_pixels: Count | None = _setting(ImagePolicy.max_pixels, "Pixels at most that are decoded of an image")
    max_memory: Count | None = _setting(ImagePolicy.max_memory, "Bytes of memory at most to decode an image")
    max_bytes: Count | None = _setting(ImagePolicy.max_bytes, "Bytes at most of a file")
    max_url_bytes: Count | None = _setting(ImagePolicy.max_url_bytes, "Bytes at most of what an address gives")
    url_seconds: Number | None = _setting(ImagePolicy.url_seconds, "Seconds at most for an address", metavar="S")
    allow_private: bool | None = _setting(ImagePolicy.allow_private, "Whether addresses may lead to a private network")
    headers: tuple[tuple[str, str], ...] | None = option(
        "Request header for addresses, as 'Name: value'; may be repeated (default: none).",
        group=GROUP,
        type=header,
        action="append",
        metavar="HEADER",
    )
    background: tuple[int, int, int] | None = _setting(
        ImagePolicy.background, "Color behind transparent pixels", type=color, metavar="R,G,B"
    )
    color_profile: Literal["convert", "ignore"] | None = _setting(
        ImagePolicy.color_profile, "What to do with color profiles"
    )
    levels: Literal["declared", "full", "stretch"] | None = _setting(
        ImagePolicy.levels, "Which values of more than 8 bits are black and white"
    )
    truncated: Literal["error", "allow"] | None = _setting(
        ImagePolicy.truncated, "Whether a file that ends early is an error, or shows what it has"
    )
    draft: bool | None = _setting(ImagePolicy.draft, "Whether large images may be decoded at a lower resolution")


def image_policy(options: ImageOptions, bundle: Path | None = None) -> ImagePolicy | None:
    """The policy that the options mean, on top of that of a bundle; None if there is no option."""
    fields = {field.name for field in dataclasses.fields(ImagePolicy)}
    given = {name: getattr(options, name) for name in fields if getattr(options, name) is not None}
    if not given:
        return None
    if "headers" in given:
        given["headers"] = dict(given["headers"])
    base = ImagePolicy()
    if bundle is not None:
        try:
            base = ImagePolicy.from_dict(json.loads((bundle / "manifest.json").read_text("utf-8"))["image_policy"])
        except (OSError, ValueError, TypeError, KeyError):
            return None  # loading the bundle finds the words for it
    return dataclasses.replace(base, **given)
