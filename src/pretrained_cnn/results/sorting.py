"""Images into a folder for each class: ``classify --copy-to`` and ``--link-to``."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pretrained_cnn._files import create_part, is_too_long
from pretrained_cnn.errors import ImageError, OutputError
from pretrained_cnn.labels import Label
from pretrained_cnn.results.result import Prediction, Result

__all__ = ["Sorter", "folder_name"]

DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\xb9\xb2\xb3])\s*(\..*)?")
"""Names that mean a device on Windows, whatever suffix they have."""

LONG_PATH = "\\\\?\\"
"""What Windows puts before the target of a link."""

RESERVED = ("uncertain", "unknown", "failed")
"""The folders of the images whose status is not ``"ok"``; no class has such a folder."""

MAX_NAME = 100
"""Bytes that a class may add to a path."""

MAX_FILE_NAME = 255
"""Bytes of a file's name, at most, in nearly all file systems."""


class Sorter:
    """Puts images into ``folder/class/``, and overwrites nothing, even if others put files there meanwhile.

    An image that is there already, as the same link or with the same bytes, is left alone, so a run can be repeated.
    Another image of the same name gets the beginning of a hash of its path behind its own. So does a class whose name
    is another's on a file system that takes ``Cat`` and ``cat``, or two forms of ``é``, for the same; ``labels`` are
    those of all classes. With ``unknown``, images of none of the classes are put there and not into
    ``folder/unknown/``; without ``folder``, only these are put anywhere.
    """

    def __init__(
        self, folder: str | None, *, link: bool, labels: Iterable[Label] = (), unknown: str | None = None
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self._unknown = None if unknown is None else Path(unknown)
        names = [folder_name(Prediction(*label, 0.0)) for label in labels]
        self._names = Counter(_folded(name) for name in set(names))
        self._first: dict[str, str] = {}
        self.left_out = 0
        """How many images could not be sorted, because they are no files on disk, or for their names."""
        self._same, self._put = (_same_link, _link) if link else (_same_bytes, _copy)

    def put(self, result: Result) -> None:
        """Sort one image by its best class, or by its status if that is not ``"ok"``.

        Raises ImageError for an image that is no file on disk, or whose name is too long there; OutputError if the
        folder cannot be written to.
        """
        source, folder = Path(result.source), self._folder_of(result)
        if folder is None:
            return
        try:
            source.stat()
            folder.mkdir(parents=True, exist_ok=True)
            for target in (folder / source.name, folder / _other_name(source)):
                if self._put_once(source, target):
                    return
        except OSError as error:
            if not source.is_file():
                self.left_out += 1
                raise ImageError(
                    result.source, f"it is not, or no longer, a file on disk, so it was not put into {folder}"
                ) from None
            if error.errno == errno.ENAMETOOLONG or is_too_long(folder / _other_name(source)):
                self.left_out += 1
                raise ImageError(result.source, f"its name is too long, so it was not put into {folder}") from None
            raise OutputError(f"{source}: it cannot be sorted into {folder}: {error.strerror or error}") from error
        raise OutputError(
            f"{source}: it cannot be sorted into {folder}: {_other_name(source)} is there already, with other contents"
        )

    def _folder_of(self, result: Result) -> Path | None:
        """Where an image belongs; None if it is not to be put anywhere."""
        if result.status == "unknown" and self._unknown is not None:
            return self._unknown
        if self.folder is None:
            return None
        return self.folder / (result.status if result.status != "ok" else self._class(result.predictions[0]))

    def _class(self, prediction: Prediction) -> str:
        """The name of a class's folder, which is no other class's on any file system."""
        name = folder_name(prediction)
        folded = _folded(name)
        if self._names[folded] > 1 or self._first.setdefault(folded, name) != name:
            return f"{name}-{_short_hash(name)}"
        return name

    def _put_once(self, source: Path, target: Path) -> bool:
        """Put an image there unless another file has that name; whether the image is there."""
        if not os.path.lexists(target):
            try:
                self._put(source, target)
            except FileExistsError:  # another process was faster
                pass
            else:
                return True
        return self._same(source, target)


def folder_name(prediction: Prediction) -> str:
    """The folder of a class: its id and its label, since a label alone need not be unique.

    What a file system might not take is replaced by ``_``; then a hash keeps the class apart from others.

    >>> folder_name(Prediction("n02123045", "tabby", 0.83, 281))
    'n02123045_tabby'
    >>> folder_name(Prediction("a/b", "a/b", 0.83, 0))
    'a_b-c14cddc0'
    """
    id_, label = prediction.id, prediction.label
    name = label if label == id_ else f"{id_}_{label}"
    clean = re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f\ud800-\udfff]', "_", name).strip(". ")
    clean = clean.encode()[:MAX_NAME].decode(errors="ignore")
    taken = _folded(name) in ("", *RESERVED) or DEVICES.fullmatch(_folded(name))
    if clean == name and not taken:
        return name
    return f"{clean.replace('.', '_')}-{_short_hash(name)}" if taken else f"{clean}-{_short_hash(name)}"


def _folded(name: str) -> str:
    """What file systems of Windows and macOS may take a name for: without case, in one of Unicode's forms."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _other_name(source: Path) -> str:
    """The name of an image whose own is taken; its beginning is cut to what a file system takes."""
    end = os.fsencode(f"-{_short_hash(os.path.abspath(source))}{source.suffix}")
    stem = os.fsencode(source.stem)[: max(0, MAX_FILE_NAME - len(end))]
    while stem and stem[-1] & 0xC0 == 0x80 and not _is_text(stem):  # not in the middle of a letter
        stem = stem[:-1]
    return os.fsdecode(stem + end)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _same_bytes(source: Path, target: Path) -> bool:
    return target.is_file() and filecmp.cmp(source, target, shallow=False)


def _copy(source: Path, target: Path) -> None:
    file, part = create_part(target)
    try:
        with file, open(source, "rb") as original:
            shutil.copyfileobj(original, file)
        shutil.copystat(source, part)
        _name(part, target)
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, target: Path) -> None:
    """Give a whole file its name. Raises FileExistsError if another file has it."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # the name is ours now
        os.replace(part, target)


def _same_link(source: Path, target: Path) -> bool:
    return target.is_symlink() and _plain(os.readlink(target)) == _plain(os.path.abspath(source))


def _plain(path: str) -> str:
    """A path without what Windows puts before the target of a link, and in its usual spelling."""
    if path.startswith(LONG_PATH):
        path = path.removeprefix(LONG_PATH)
        path = f"\\\\{path[4:]}" if path.startswith("UNC\\") else path
    return os.path.normcase(path)


def _link(source: Path, target: Path) -> None:
    os.symlink(os.path.abspath(source), target)
