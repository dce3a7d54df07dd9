"""The images within a tar or zip archive, one after the other, in the archive's order.

An archive may come from anywhere, so whatever is wrong with it is an ImageError: of the member, and the others
follow, or of the archive where it cannot be read any further. One image is in memory at a time. Nothing is
unpacked to disk; the names of members are only names.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator

from pretrained_cnn._compat import forget_members
from pretrained_cnn.errors import ImageError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
"""The suffixes of archives, in lower case."""

HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
MAX_HEADER = 1024 * 1024
"""Bytes of a tar's header for a long name or extended attributes, beyond which the archive is broken or hostile."""


def is_archive(path: str) -> bool:
    """Whether a file of this name counts as an archive."""
    return path.lower().endswith(SUFFIXES)


def members(
    path: str, max_bytes: int, wanted: Callable[[str], bool]
) -> Generator[tuple[str, bytes | ImageError], None, None]:
    """``(archive/member, bytes)`` for each file in the archive whose name is ``wanted``.

    Where the bytes cannot be had, an ImageError is in their place; that of the archive itself comes last. A member
    that is said to have more than ``max_bytes`` is not read, and of one that has more than it is said to have, no more.
    """
    what = "this archive"
    try:
        for member in (_zip if path.lower().endswith(".zip") else _tar)(path, max_bytes, wanted):
            yield member
            what = "the rest of this archive"
    except Exception as error:  # a decompressor given nonsense can raise anything
        yield path, ImageError(path, f"{what} cannot be read: {_reason(error)}")


def _zip(path: str, max_bytes: int, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes | ImageError]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir() or not wanted(member.filename):
                continue
            name = f"{path}/{member.filename}"
            if member.flag_bits & 1:
                yield name, ImageError(name, "it is encrypted; unpack the archive first")
                continue
            if member.file_size > max_bytes:
                yield name, _too_large(name, max_bytes)
                continue
            try:
                with archive.open(member) as file:
                    data = file.read(max_bytes + 1)
            except Exception as error:  # as above; the other members may be whole
                yield name, ImageError(name, f"it cannot be read from the archive: {_reason(error)}")
            else:
                yield name, data


def _tar(path: str, max_bytes: int, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes | ImageError]]:
    with tarfile.open(path, tarinfo=_Header) as archive:
        while (member := archive.next()) is not None:
            forget_members(archive)
            if member.isdir() or not wanted(member.name):
                continue
            name = f"{path}/{member.name}"
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                yield name, ImageError(name, "it is a link or a device; only files are read from an archive")
                continue
            if member.size > max_bytes:
                yield name, _too_large(name, max_bytes)
                continue
            with file:
                data = file.read(max_bytes + 1)
            yield name, data
        _check_end(archive)


def _too_large(name: str, max_bytes: int) -> ImageError:
    return ImageError(name, f"it has more than {max_bytes:,} bytes (ImagePolicy.max_bytes)")


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise ReadError unless the archive ended with its mark: tarfile also takes a broken header for the end."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    block = archive.fileobj.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends without the mark of its end, so something may be missing")
    if any(block):
        raise tarfile.ReadError("bad header")


class _Header(tarfile.TarInfo):
    """A member whose header may not fill the memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in HEADERS and self.size > MAX_HEADER:
            # No ReadError, on which tarfile would try the other compressions.
            raise ValueError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition(":\n")[0] or type(error).__name__  # of tarfile's list of what it tried, the headline
