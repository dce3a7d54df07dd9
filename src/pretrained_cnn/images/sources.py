"""From what a user hands over to items: one a picture, each with its place and its name."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pretrained_cnn.errors import ImageError

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".j2k", ".jp2", ".jpe", ".jpeg", ".jfif", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""The suffixes, in lower case, by which a folder's files count as pictures."""


@dataclass(frozen=True, slots=True)
class Item:
    """One picture, not yet decoded."""

    index: int
    """Its place among the pictures given, from 0."""
    name: str
    """What `Result.source` and errors call it."""
    picture: Any
    """What the user gave."""


def one(picture: Any) -> Item:
    """The only item of ``predict``. Nothing is read yet."""
    return Item(0, _name(picture, 0), picture)


def items(source: Any) -> Iterator[Item]:
    """The items of a source of several pictures, in order, one at a time.

    ``source`` is a folder (searched recursively, by suffix, in the order of the names), a glob, the path or
    URL of one picture, or any iterable of pictures; a single array, image or file is refused. Raises
    ImageError for a source in which there is nothing to find.
    """
    pictures: Iterable[Any]
    if isinstance(source, str | os.PathLike):
        pictures = expand(os.fspath(source))
    elif not isinstance(source, Iterable) or _is_one_picture(source):
        raise ImageError(
            _name(source, 0), "this is one picture where several are expected; give a list, or use predict for one"
        )
    else:
        pictures = source
    return (Item(index, _name(picture, index), picture) for index, picture in enumerate(pictures))


def is_url(path: object) -> bool:
    """Whether a string is an address rather than a path."""
    return isinstance(path, str) and path.lower().startswith(("http://", "https://"))


def _is_one_picture(source: Any) -> bool:
    return (
        isinstance(source, bytes | bytearray | memoryview | Image.Image)
        or hasattr(source, "read")
        or len(getattr(source, "shape", ())) in (2, 3)
    )


def expand(source: str) -> Iterator[str]:
    """The paths that a folder or a glob stands for; a path or an address stands for itself.

    Raises ImageError at once for a folder or a glob without a picture.
    """
    if is_url(source) or os.path.isfile(source):
        return iter([source])
    if os.path.isdir(source):
        found = _walk(source)
        where = f"no picture is in this folder: no file ends in {', '.join(sorted(SUFFIXES))}"
    elif glob.has_magic(source):
        found = iter(sorted(path for path in glob.iglob(source, recursive=True) if os.path.isfile(path)))
        where = "no file matches this pattern"
    else:
        return iter([source])  # a path to nothing: that is its own picture's error
    first = next(found, None)
    if first is None:
        raise ImageError(source, where)
    return itertools.chain([first], found)


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if Path(file).suffix.lower() in SUFFIXES:
                yield os.path.join(parent, file)


def _name(picture: Any, index: int) -> str:
    """The path or URL of a picture; for one in memory, what it is and its place."""
    if isinstance(picture, str | os.PathLike):
        return os.fsdecode(picture)
    for attribute in ("filename", "name"):  # an image that Pillow opened, an open file
        name = getattr(picture, attribute, None)
        if isinstance(name, str) and name and (attribute == "filename" or hasattr(picture, "read")):
            return name
    if isinstance(picture, bytes | bytearray | memoryview):
        return f"<bytes {index}>"
    if isinstance(picture, Image.Image):
        return f"<image {index}>"
    if isinstance(picture, np.ndarray):
        return f"<array {index}>"
    return f"<{type(picture).__name__} {index}>"
