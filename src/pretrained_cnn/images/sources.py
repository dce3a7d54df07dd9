"""From what a user hands over to items: one an image, each with its place and its name."""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.archives import is_archive, members
from pretrained_cnn.images.policy import ImagePolicy

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".j2k", ".jp2", ".jpe", ".jpeg", ".jfif", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""The suffixes, in lower case, by which a folder's files count as images."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image, not yet decoded."""

    index: int
    """Its place among the images given, from 0."""
    name: str
    """What `Result.source` and errors call it."""
    image: Any
    """What the user gave."""

    @property
    def path(self) -> str | None:
        """Where the image can be read again: its path or address; None for one in memory."""
        return str(os.fsdecode(self.image)) if isinstance(self.image, str | os.PathLike) else None


def one(image: Any) -> Item:
    """The only item of ``predict``. Nothing is read yet."""
    return Item(0, _name(image, 0), image)


def items(source: Any, policy: ImagePolicy = ImagePolicy()) -> Generator[Item]:
    """The items of a source of several images, in order, one at a time.

    ``source`` is what `expand` takes, or any iterable of images or of ``(name, image)`` pairs; a single array,
    image or file is refused. Raises ImageError for a source in which there is nothing to find.
    """
    if isinstance(source, str | os.PathLike):
        return _numbered(expand(os.fspath(source), policy))
    if not isinstance(source, Iterable) or _is_one_image(source):
        raise ImageError(
            _name(source, 0), "this is one image where several are expected; give a list, or use predict for one"
        )
    return _numbered(source)


def _numbered(images: Iterable[Any]) -> Generator[Item]:
    for index, image in enumerate(images):
        if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], str | os.PathLike):
            yield Item(index, os.fsdecode(image[0]), image[1])
        else:
            yield Item(index, _name(image, index), image)


def is_url(path: object) -> bool:
    """Whether a string is an address rather than a path."""
    return isinstance(path, str) and path.lower().startswith(("http://", "https://"))


def _is_one_image(source: Any) -> bool:
    return (
        isinstance(source, bytes | bytearray | memoryview | Image.Image)
        or hasattr(source, "read")
        or len(getattr(source, "shape", ())) in (2, 3)
    )


def expand(source: str, policy: ImagePolicy = ImagePolicy()) -> Generator[Any]:
    """The images that a string stands for, found and read no faster than they are taken.

    - A folder: its files whose names end in one of `SUFFIXES`, those of its subfolders included, in the order of the
      names. Links to folders are not followed.
    - A glob: the files that match, archives opened; folder by folder, in the order of the names.
    - A tar or zip archive: its members by suffix, each as ``(archive/member, bytes)``.
    - A file whose name ends in ``.txt``, and ``-`` for standard input: the path or URL in each line.
    - Anything else is the path or URL of one image.

    What is wrong with a part of it, such as a folder that vanished, is an ImageError in the place of an image.
    Raises ImageError at once for a source without an image.
    """
    if is_url(source):
        return _all(source)
    if source == "-":
        return _lines(sys.stdin.buffer)
    start: Callable[[str], Generator[Any]]
    if os.path.isdir(source):
        start, nothing = _walk, f"no image is in this folder: no file ends in {', '.join(sorted(SUFFIXES))}"
    elif not os.path.isfile(source) and glob.has_magic(source):
        start, nothing = partial(_match, policy=policy), "no file matches this pattern"
    elif not os.path.isfile(source):
        return _all(source)  # a path to nothing: that is its own image's error
    elif is_archive(source):
        start = partial(members, max_bytes=policy.max_bytes, wanted=_is_image)
        nothing = f"no image is in this archive: no member ends in {', '.join(sorted(SUFFIXES))}"
    elif source.lower().endswith(".txt"):
        start, nothing = _read_lines, "no path is in this file; give it one in each line"
    else:
        return _all(source)
    with contextlib.closing(start(source)) as found:
        first = next(found, None)
    if first is None:
        raise ImageError(source, nothing)
    if isinstance(first, tuple) and isinstance(first[1], ImageError) and first[1].source == source:
        raise first[1]
    return start(source)  # anew: a million archives, found to have something, are not all to stay open


def count(source: str) -> int | None:
    """How many images `expand` would find, or None if only reading them, or standard input, would tell."""
    opened = source == "-" or is_archive(source) or (glob.has_magic(source) and not _is_image(source))
    return None if opened else sum(1 for _ in expand(source))


def _all(*images: Any) -> Generator[Any]:
    yield from images


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in SUFFIXES


def _walk(folder: str) -> Generator[Any]:
    failed: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=failed.append):
        yield from map(_unlisted, failed)
        failed.clear()
        folders.sort()
        yield from (os.path.join(parent, file) for file in sorted(files) if _is_image(file))
    yield from map(_unlisted, failed)


def _unlisted(error: OSError) -> tuple[str, ImageError]:
    return error.filename, ImageError(error.filename, f"this folder cannot be listed: {error.strerror}")


def _match(pattern: str, policy: ImagePolicy) -> Generator[Any]:
    for path in _paths(os.path.join(pattern, "*") if os.path.basename(pattern) == "**" else pattern):
        if os.path.isfile(path):
            yield from members(path, policy.max_bytes, _is_image) if is_archive(path) else [path]


def _paths(pattern: str) -> Iterator[str]:
    """What ``glob.iglob(pattern, recursive=True)`` gives, folder by folder, in the order of the names.

    ``**`` goes through no links: they might lead in a circle.
    """
    parent, name = os.path.split(pattern)
    for folder in _paths(parent) if parent != pattern and glob.has_magic(parent) else [parent]:
        if name == "**":
            for subfolder, folders, _ in os.walk(folder or os.curdir):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                yield subfolder if folder else subfolder[2:]
        else:
            yield from sorted(glob.iglob(os.path.join(glob.escape(folder), name)))


def _read_lines(path: str) -> Generator[str]:
    with open(path, "rb") as file:
        yield from _lines(file)


def _lines(file: BinaryIO) -> Generator[str]:
    for number, line in enumerate(file):
        if number == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        if path := line.rstrip(b"\r\n"):
            yield os.fsdecode(path)


def _name(image: Any, index: int) -> str:
    """The path or URL of an image; for one in memory, what it is and its place."""
    if isinstance(image, str | os.PathLike):
        return os.fsdecode(image)
    for attribute in ("filename", "name"):  # an image that Pillow opened, an open file
        name = getattr(image, attribute, None)
        if isinstance(name, str) and name and (attribute == "filename" or hasattr(image, "read")):
            return name
    if isinstance(image, bytes | bytearray | memoryview):
        return f"<bytes {index}>"
    if isinstance(image, Image.Image):
        return f"<image {index}>"
    if isinstance(image, np.ndarray):
        return f"<array {index}>"
    return f"<{type(image).__name__} {index}>"
