"""Files on disk: written completely or not at all, never through a foreign link, and their checksums."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "POINTER",
    "atomic_write",
    "create_part",
    "is_lfs_pointer",
    "is_path",
    "is_too_long",
    "open_regular",
    "sha256",
]

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""What a file begins with that Git LFS leaves in place of one that it has not fetched."""
LONGEST_PATH = 259
"""Characters of a path that Windows takes, unless long paths are switched on for machine and program."""
POINTER = "a pointer of Git LFS, not the file; fetch it with `git lfs pull`"
"""What a message calls such a file."""


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path`` when the block ends without an error.

    The bytes go to a temporary file beside ``path``, reach the disk, and only then take its name; a link at
    ``path`` is replaced, and what it points to is left alone. After an error nothing is left of the temporary file,
    and ``path`` is as it was. Raises OSError for what cannot be written.
    """
    path = Path(path)
    file, part = create_part(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:  # Ctrl-C included: no temporary file is left behind
        part.unlink(missing_ok=True)
        raise


def create_part(path: str | os.PathLike[str]) -> tuple[BinaryIO, Path]:
    """A new, empty file beside ``path``, open for reading and writing, and its path.

    Its hidden name is random, short enough for any file system and differs from that of every other process. The
    file is created exclusively: a link or a file that waits under that name is never written to.
    """
    path = Path(path)
    part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    return open(part, "x+b"), part


def open_regular(path: str | os.PathLike[str], mode: str) -> BinaryIO:
    """``open(path, mode)`` for a binary file under a name that somebody may have planted something at.

    Raises OSError for a symbolic link, for a file that has a second name (a hard link), and for anything but a regular
    file. Nothing of such a file is changed.
    """

    def opener(name: str, flags: int) -> int:
        handle = os.open(name, flags & ~os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise OSError(f"{name} is a link or not a regular file; remove it")
            if flags & os.O_TRUNC:
                os.ftruncate(handle, 0)
        except BaseException:  # Ctrl-C included: nobody else closes the handle
            os.close(handle)
            raise
        return handle

    return open(path, mode, opener=opener)  # type: ignore[return-value]  # binary, by its mode


def is_lfs_pointer(path: str | os.PathLike[str]) -> bool:
    """Whether a file only says where Git LFS keeps the content. Raises OSError for a file that cannot be read."""
    with open(path, "rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def is_path(name: str) -> bool:
    """Whether a string names a place in a file system rather than a thing: it has a separator or a drive.

    >>> is_path("models/lite"), is_path("ResNet50")
    (True, False)
    """
    separators = {"/", os.sep, os.altsep or os.sep}
    return any(separator in name for separator in separators) or bool(os.path.splitdrive(name)[0])


def is_too_long(path: str | os.PathLike[str]) -> bool:
    """Whether Windows refuses a path for its length: Windows then reports that the file does not exist."""
    return os.name == "nt" and len(os.path.abspath(path)) > LONGEST_PATH


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises OSError for a file that cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
