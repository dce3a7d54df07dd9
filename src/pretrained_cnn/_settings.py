"""Environment variables, each read and checked in one place."""

from __future__ import annotations

import os
import re
import sys
import urllib.parse
from pathlib import Path

from pretrained_cnn.errors import InvalidArgumentError

__all__ = [
    "API_KEY",
    "CACHE",
    "CACHE_BYTES",
    "MIRROR",
    "OFFLINE",
    "api_key",
    "cache_bytes",
    "cache_home",
    "check",
    "mirror",
    "offline",
]

API_KEY = "PRETRAINED_CNN_API_KEY"
"""The key that requests to ``pretrained-cnn serve`` must send as ``Authorization: Bearer``."""
CACHE = "PRETRAINED_CNN_CACHE"
"""The folder of what was computed once and may be needed again."""
CACHE_BYTES = "PRETRAINED_CNN_CACHE_BYTES"
"""The size at most of that folder: what was not used for longest is removed first."""
MIRROR = "PRETRAINED_CNN_MIRROR"
"""An http(s) address in place of scheme and host of every weights file."""
OFFLINE = "PRETRAINED_CNN_OFFLINE"
"""Whether downloads of weights are forbidden."""

DEFAULT_CACHE_BYTES = 10 * 2**30

WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def check() -> None:
    """Read every variable, so that nonsense is refused before any work. Raises InvalidArgumentError, which names it."""
    for read in (api_key, cache_home, cache_bytes, mirror, offline):
        read()


def api_key() -> str | None:
    """The key of a service; None if it asks for none."""
    text = _get(API_KEY)
    if text is not None and not (text.isascii() and text.isprintable() and " " not in text):
        raise InvalidArgumentError(f"{API_KEY} has blanks or other characters than printable ASCII; choose another key")
    return text


def cache_home() -> Path:
    """The folder: ``$PRETRAINED_CNN_CACHE``, else ``pretrained_cnn`` where the system keeps caches.

    That is ``%LOCALAPPDATA%\\pretrained_cnn\\Cache`` on Windows, ``~/Library/Caches`` on macOS, and ``~/.cache``
    elsewhere, or ``$XDG_CACHE_HOME`` on both of these.

    Whatever is in it may be deleted at any time. Weights files are not in it: they are where Keras keeps them
    (`weights.cache_dir`).
    """
    named = _get(CACHE)
    if named is not None:
        return _folder(CACHE, named)
    if sys.platform == "win32":
        return Path(_get("LOCALAPPDATA") or "~/AppData/Local").expanduser() / "pretrained_cnn" / "Cache"
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(_get("XDG_CACHE_HOME") or usual).expanduser() / "pretrained_cnn"


def cache_bytes() -> int:
    """The bound of `cache_home`, such as ``10GB`` (10**10), ``10 GiB`` (10 * 2**30) or a number of bytes."""
    text = _get(CACHE_BYTES)
    if text is None:
        return DEFAULT_CACHE_BYTES
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", text.casefold())
    if found is None or (found[3] and not found[2]):
        raise InvalidArgumentError(f"{CACHE_BYTES}={text!r} is not a size; give bytes, or a number with a unit: 10GB")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** UNITS[found[2]])


def offline() -> bool:
    """Whether downloads of weights are forbidden."""
    text = _get(OFFLINE)
    if text is None:
        return False
    try:
        return WORDS[text.casefold()]
    except KeyError:
        raise InvalidArgumentError(f"{OFFLINE}={text!r} is neither yes nor no; give 1 or 0") from None


def mirror() -> str | None:
    """The address of the mirror without a slash at its end; None if there is none."""
    text = _get(MIRROR)
    if text is None:
        return None
    try:
        parts = urllib.parse.urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:  # of the port
        valid = False
    if not valid:
        raise InvalidArgumentError(
            f"{MIRROR}={text!r} is not an http(s) address without a user's name, such as https://mirror.example/keras"
        )
    return text.rstrip("/")


def _get(name: str) -> str | None:
    """The variable's value without blanks around it; None if it is not set or empty."""
    return os.environ.get(name, "").strip() or None


def _folder(name: str, value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # "~nobody" of a user who does not exist
        raise InvalidArgumentError(f"{name}={value!r} is not a folder: {error}") from None
