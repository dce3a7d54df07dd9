"""How images are read, as options: one for each field of `ImagePolicy`, of the same name."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from pretrained_cnn.cli.options import count, number, option
from pretrained_cnn.images.policy import ImagePolicy

GROUP = "images"
OTHERWISE = "or the bundle's own"


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


def _switch(name: str, help: str) -> Any:
    return option(f"--{name}", group=GROUP, action=argparse.BooleanOptionalAction, help=help)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are read; None is the default of `ImagePolicy`, or what a bundle says."""

    max_pixels: int | None = option(
        "--max-pixels",
        group=GROUP,
        type=count,
        metavar="N",
        help=f"Pixels at most that are decoded of an image (default: 89478485, {OTHERWISE}).",
    )
    max_memory: int | None = option(
        "--max-memory",
        group=GROUP,
        type=count,
        metavar="N",
        help=f"Bytes of memory at most to decode an image (default: 536870912, {OTHERWISE}).",
    )
    max_bytes: int | None = option(
        "--max-bytes",
        group=GROUP,
        type=count,
        metavar="N",
        help=f"Bytes at most of a file (default: 268435456, {OTHERWISE}).",
    )
    max_url_bytes: int | None = option(
        "--max-url-bytes",
        group=GROUP,
        type=count,
        metavar="N",
        help=f"Bytes at most of what an address gives (default: 67108864, {OTHERWISE}).",
    )
    url_seconds: float | None = option(
        "--url-seconds",
        group=GROUP,
        type=number,
        metavar="S",
        help=f"Seconds at most for an address (default: 30, {OTHERWISE}).",
    )
    allow_private: bool | None = _switch(
        "allow-private", f"Whether addresses may lead to a private network (default: yes, {OTHERWISE})."
    )
    headers: tuple[tuple[str, str], ...] | None = option(
        "--headers",
        group=GROUP,
        type=header,
        action="append",
        metavar="HEADER",
        help="Request header for addresses, as 'Name: value'; may be repeated (default: none).",
    )
    background: tuple[int, int, int] | None = option(
        "--background",
        group=GROUP,
        type=color,
        metavar="R,G,B",
        help=f"Color behind transparent pixels (default: 255,255,255, {OTHERWISE}).",
    )
    color_profile: Literal["convert", "ignore"] | None = option(
        "--color-profile",
        group=GROUP,
        choices=("convert", "ignore"),
        help=f"What to do with color profiles (default: convert, {OTHERWISE}).",
    )
    levels: Literal["declared", "full", "stretch"] | None = option(
        "--levels",
        group=GROUP,
        choices=("declared", "full", "stretch"),
        help=f"Which values of more than 8 bits are black and white (default: declared, {OTHERWISE}).",
    )
    truncated: Literal["error", "allow"] | None = option(
        "--truncated",
        group=GROUP,
        choices=("error", "allow"),
        help=f"Whether a file that ends early is an error, or shows what it has (default: error, {OTHERWISE}).",
    )
    draft: bool | None = _switch(
        "draft", f"Whether large images may be decoded at a lower resolution (default: yes, {OTHERWISE})."
    )


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
