"""From what a user passes to items: one an image, each with its place and its name."""

from __future__ import annotations

import codecs
import contextlib
import glob
import itertools
import os
import re
import stat
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.archives import is_archive, members
from pretrained_cnn.images.kinds import optional_suffixes
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.skipping import Skipped, has_junk, is_junk, kind_of

SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dds", ".dib", ".gif", ".ico", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg"}
    | {".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".sgi"}
    | {".tga", ".tif", ".tiff", ".webp"}
)
"""The suffixes of images in a folder, in lower case. Those of HEIC and JPEG XL come to them where
the packages are installed that read these, see `kinds`."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image, not yet decoded."""

    index: int
    """Its place among the images given, from 0."""
    name: str
    """The name in `Result.source` and in error messages."""
    image: Any
    """The input of the user."""

    @property
    def path(self) -> str | None:
        """The path or address for reading the image again; None for an image in memory."""
        try:
            return str(os.fsdecode(self.image)) if isinstance(self.image, str | os.PathLike) else None
        except Exception:  # of someone else's object
            return None


def single_item(image: Any) -> Item:
    """The only item of ``predict``. Nothing is read yet."""
    return Item(0, _name(image, 0), image)


def iter_items(source: Any, policy: ImagePolicy = ImagePolicy(), skipped: Skipped | None = None) -> Generator[Item]:
    """The items of a source of several images, in order, one at a time.

    ``source`` is what `expand` takes, or any iterable of images or of ``(name, image)`` pairs, or a mapping of names
    to images; a single array, image or file is refused. Files that are left out are counted in ``skipped``; without
    it, they are logged in one line at the end. Raises ImageError for a source in which there is nothing to find.
    """
    if isinstance(source, str | os.PathLike):
        return _numbered(expand(os.fspath(source), policy, skipped))
    if hasattr(source, "columns") and hasattr(source, "dtypes"):
        columns = ", ".join(map(str, list(source.columns)[:10]))
        reason = f'this is a table with the columns {columns}; give one of them, such as table["path"]'
        raise ImageError(_name(source, 0), reason)
    if isinstance(source, Mapping) and not is_record(source):
        return _numbered((_text(name), image) for name, image in source.items())
    if not isinstance(source, Iterable) or isinstance(source, Mapping) or _is_one_image(source):
        rows = (
            "; if each row is an image, give array.reshape(-1, h, w)" if len(getattr(source, "shape", ())) == 2 else ""
        )
        raise ImageError(
            _name(source, 0), f"this is one image where several are expected; give a list, or use predict for one{rows}"
        )
    return _numbered(source)


def is_record(image: Any) -> bool:
    """Whether a mapping is one image in the form of Hugging Face's datasets: its bytes and its path, or a row."""
    return isinstance(image, Mapping) and bool(image) and (set(image) <= {"bytes", "path"} or "image" in image)


def _text(name: Any) -> str:
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else str(name)


def _numbered(images: Iterable[Any]) -> Generator[Item]:
    for index, image in enumerate(images):
        if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], str | os.PathLike):
            yield Item(index, os.fsdecode(image[0]), image[1])
        else:
            yield Item(index, _name(image, index), image)


def is_url(path: object) -> bool:
    """Whether a string is an http(s) address rather than a path."""
    return isinstance(path, str) and path.lower().startswith(("http://", "https://"))


_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]+://|data:|file:)", re.IGNORECASE)


def is_address(path: object) -> bool:
    """Whether a string begins as an address of any kind, such as ``s3://`` or ``data:``; no file may have its name."""
    return isinstance(path, str) and bool(_ADDRESS.match(path)) and (is_url(path) or not os.path.lexists(path[:4000]))


def _is_one_image(source: Any) -> bool:
    return hasattr(source, "as_py") or (
        isinstance(source, bytes | bytearray | memoryview | Image.Image)
        or hasattr(source, "read")
        or len(getattr(source, "shape", ())) in (2, 3)
    )


def expand(source: str, policy: ImagePolicy = ImagePolicy(), skipped: Skipped | None = None) -> Generator[Any]:
    """The images that a string stands for, found and read no faster than they are taken.

    - A folder: its files whose names end in one of `SUFFIXES`, those of its subfolders included, in the order of the
      names. Links to folders are not followed.
    - A glob: the files that match, archives opened; folder by folder, in the order of the names.
    - A tar or zip archive: its members by suffix, each as ``(archive/member, bytes)``.
    - A file whose name ends in ``.txt``, and ``-`` for standard input: the path or URL in each line.
    - Anything else is the path or URL of one image.

    In folders, archives and matches of a wildcard, junk is skipped (`skipping.is_junk`), and files that are
    no images or not regular are counted in ``skipped``, or else logged in one line at the end. What is wrong with a
    part of a source, such as a folder that vanished, is an ImageError in the place of an image. Raises ImageError at
    once for a source without an image.
    """
    if is_address(source):
        return _all(source)
    if source == "-":
        return _lines(sys.stdin.buffer)
    path = os.path.expanduser(source)
    start: Callable[[str, Skipped], Generator[Any]]
    suffixes = ", ".join(sorted(SUFFIXES | optional_suffixes()))
    if os.path.isdir(path):
        start, nothing = walk, f"no image is in this folder: no file ends in {suffixes}"
    elif not os.path.isfile(path) and glob.has_magic(path):
        start, nothing = partial(_match, policy=policy), "no file matches this pattern"
    elif not os.path.isfile(path):
        return _all(source)  # a path to nothing: that is its own image's error
    elif is_archive(path):
        start = partial(_members, policy=policy)
        nothing = f"no image is in this archive: no member ends in {suffixes}"
    elif path.lower().endswith(".txt"):
        start, nothing = _read_lines, "no path is in this file; give it one in each line"
    else:
        return _all(source)
    seen = Skipped() if skipped is None else skipped
    found = start(path, seen)
    first = next(found, None)
    if first is None:
        raise ImageError(source, f"{nothing}; {seen}" if seen.count else nothing)
    if isinstance(first, tuple) and isinstance(first[1], ImageError) and first[1].source == path:
        found.close()
        raise first[1]
    if is_archive(path):  # again: a million archives, found to have something, are not all to stay open
        found.close()
        seen.clear()
        found, first = start(path, seen), None
    return _reported(first, found, source, seen if skipped is None else None)


def _reported(first: Any, found: Generator[Any], source: str, skipped: Skipped | None) -> Generator[Any]:
    """``first``, unless it is None, and the others that are found; what was skipped is logged at the end."""
    if first is not None:
        yield first
    yield from found
    if skipped is not None:
        skipped.report(source)


def count(source: str) -> int | None:
    """How many images `expand` would find, or None if only reading them, or standard input, would tell."""
    opened = source == "-" or is_archive(source) or (glob.has_magic(source) and not is_image(source))
    return None if opened else sum(1 for _ in expand(source, skipped=Skipped()))


def _all(*images: Any) -> Generator[Any]:
    yield from images


def is_image(path: str) -> bool:
    """Whether a file counts as an image by the suffix of its name."""
    suffix = os.path.splitext(path)[1].lower()
    return suffix in SUFFIXES or suffix in optional_suffixes()


def walk(folder: str, skipped: Skipped) -> Generator[Any]:
    """The images in a folder and its subfolders: paths, or a name and an ImageError for what cannot be listed."""
    waiting = [folder]
    while waiting:
        parent = waiting.pop()
        try:
            entries = _listed(parent)
        except OSError as error:
            failure = ImageError(parent, f"this folder cannot be listed: {error.strerror}")
            failure.__cause__ = error
            yield parent, failure
            continue
        if parent == folder and all(isinstance(entry, str) for entry in entries):
            skipped.count_images = partial(_count, entries)
        folders = []
        for entry in entries:
            if isinstance(entry, str):
                if is_image(entry):
                    yield os.path.join(parent, entry)
                else:
                    skipped.add(entry)
            elif _is_folder(entry):
                folders += [entry.path] if not entry.is_symlink() else []
            elif not is_image(entry.name):
                skipped.add(entry.name, _kind(entry))
            elif kind := _kind(entry):
                skipped.add(entry.name, kind)
            else:
                yield entry.path
        waiting += reversed(folders)


def _count(entries: list[str | os.DirEntry[str]]) -> int:
    return sum(isinstance(entry, str) and is_image(entry) for entry in entries)


def _listed(folder: str) -> list[str | os.DirEntry[str]]:
    """The entries of a folder without junk, sorted by name. Regular files are names only, because a folder may have
    millions of them.
    """
    with os.scandir(folder) as listed:
        entries = [
            entry.name if entry.is_file(follow_symlinks=False) else entry for entry in listed if not is_junk(entry.name)
        ]
    entries.sort(key=lambda entry: entry if isinstance(entry, str) else entry.name)
    return entries


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _kind(entry: os.DirEntry[str]) -> str | None:
    """What is not a regular file; None for one, and for a link to nothing, whose image says so."""
    try:
        return None if entry.is_file() else kind_of(entry.stat().st_mode)
    except OSError:
        return None


def _members(path: str, skipped: Skipped, policy: ImagePolicy) -> Generator[Any]:
    def wanted(name: str) -> bool:
        if has_junk(name):
            return False
        if not is_image(name):
            skipped.add(name)
            return False
        return True

    return members(path, policy.max_bytes, wanted)


def _match(pattern: str, skipped: Skipped, policy: ImagePolicy) -> Generator[Any]:
    for path in _paths(os.path.join(pattern, "*") if os.path.basename(pattern) == "**" else pattern):
        try:
            mode = os.stat(path).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode):
            yield from _members(path, skipped, policy) if is_archive(path) else [path]
        elif not stat.S_ISDIR(mode):
            skipped.add(path, kind_of(mode))


def _paths(pattern: str) -> Iterator[str]:
    """What ``glob.iglob(pattern, recursive=True)`` gives but junk, folder by folder, in the order of the names.

    ``**`` goes through no links: they might lead in a circle. What a name without a wildcard says is taken, and what
    a wildcard with the first letter of junk finds, such as ``.*``.
    """
    parent, name = os.path.split(pattern)
    for folder in _paths(parent) if parent != pattern and glob.has_magic(parent) else [parent]:
        if name == "**":
            yield from _folders(folder)
        else:
            for path in sorted(glob.iglob(os.path.join(glob.escape(folder), name))):
                found = os.path.basename(path)
                if not (glob.has_magic(name) and is_junk(found) and found[0] != name[0]):
                    yield path


def _folders(folder: str) -> Iterator[str]:
    """A folder and those below it, in the order of the names; links to folders are not followed."""
    waiting = [folder]
    while waiting:
        parent = waiting.pop()
        yield parent
        with contextlib.suppress(OSError), os.scandir(parent or os.curdir) as listed:
            names = [entry.name for entry in listed if entry.is_dir(follow_symlinks=False) and not is_junk(entry.name)]
            waiting += [os.path.join(parent, name) for name in sorted(names, reverse=True)]


def _read_lines(path: str, _: Skipped) -> Generator[Any]:
    with open(path, "rb") as file:
        yield from _lines(file)


def _lines(file: BinaryIO) -> Generator[Any]:
    """The lines of a list: UTF-8 or whatever bytes names have here; UTF-16, as PowerShell writes it, by its mark."""
    lines: Iterable[bytes] = file
    first = file.readline()
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = (first + file.read()).decode("utf-16", "surrogatepass")
        first, lines = b"", (os.fsencode(line) for line in text.splitlines())
    for line in itertools.chain([first.removeprefix(codecs.BOM_UTF8)], lines):
        if path := line.rstrip(b"\r\n"):
            try:
                yield os.fsdecode(path)
            except UnicodeDecodeError:  # on Windows, where names are no bytes
                name = path.decode("utf-8", "backslashreplace")
                yield name, ImageError(name, "this line of the list is not UTF-8; save the list as UTF-8")


def _name(image: Any, index: int) -> str:
    """The path or URL of an image; for one in memory, what it is and its place."""
    try:
        if isinstance(image, str) and image.startswith("data:"):
            return f"<data URL {index}>"
        if isinstance(image, str | os.PathLike):
            return os.fsdecode(image)
        for attribute in ("filename", "name"):  # an image that Pillow opened, an open file
            name = getattr(image, attribute, None)
            if isinstance(name, str) and name and (attribute == "filename" or hasattr(image, "read")):
                return name
    except Exception:  # of someone else's object; what is wrong with it is the error of its own row
        return f"<{type(image).__name__} {index}>"
    if isinstance(image, bytes | bytearray | memoryview):
        return f"<bytes {index}>"
    if isinstance(image, Image.Image):
        return f"<image {index}>"
    if isinstance(image, np.ndarray):
        return f"<array {index}>"
    return f"<{type(image).__name__} {index}>"
