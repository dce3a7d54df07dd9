"""Names of images: how any name is written as Unicode, and when two names are of one image."""

from __future__ import annotations

import os
import re

__all__ = ["absolute", "escape", "unescape"]

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def escape(name: str) -> str:
    """A name as any format can hold it: Unicode. `unescape` gives the name back, byte for byte.

    A byte of a file name that is not UTF-8 is written as ``\\xHH``. So that a name which looks like that also
    comes back, its backslash is written as ``\\x5c``.

    >>> print(escape("caf\\udce9.jpg"), escape("a\\\\b.jpg"), escape("a\\\\x41.jpg"))
    caf\\xe9.jpg a\\b.jpg a\\x5cx41.jpg
    """
    if "\\x" in name:
        name = _ESCAPE.sub(r"\\x5cx\1", name)
    try:
        name.encode()
    except UnicodeEncodeError:
        return _bytes(name).decode("utf-8", "backslashreplace")
    return name


def unescape(name: str) -> str:
    """The name that `escape` wrote, as ``os.fsdecode`` gives it.

    >>> unescape("caf\\\\xe9.jpg") == "caf\\udce9.jpg"
    True
    """
    if "\\x" not in name:
        return name
    written = _ESCAPE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), name)
    return b"".join(
        bytes([ord(letter) - 0xDC00]) if "\udc00" <= letter <= "\udcff" else letter.encode() for letter in written
    ).decode("utf-8", "surrogateescape")


def absolute(name: str, folder: str) -> str:
    """What tells an image apart: its path, absolute and normalized, as seen from ``folder``; else its name.

    >>> absolute("./few/../few/a.png", "/data"), absolute("https://example.org/a.png", "/data")
    ('/data/few/a.png', 'https://example.org/a.png')
    """
    if "://" in name or name.startswith("<"):
        return name
    return os.path.normpath(os.path.join(folder, name))


def _bytes(name: str) -> bytes:
    """The bytes of a file name; half a character that comes from no file name counts as what UTF-8 would make of it."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")
