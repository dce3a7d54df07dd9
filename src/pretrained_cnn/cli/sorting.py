"""``classify --copy-to`` and ``--link-to``: images into a folder for each class."""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
import shutil
from pathlib import Path

from pretrained_cnn.errors import ImageError, OutputError
from pretrained_cnn.results.result import Prediction, Result

RESERVED = ("uncertain", "unknown", "failed")
"""The folders of the images whose status is not ``"ok"``; no class has such a folder."""

MAX_NAME = 100
"""Bytes that a class may add to a path; file systems end at 255."""


class Sorter:
    """Puts images into ``folder/class/``, and overwrites nothing.

    An image that is there already, as the same link or with the same bytes, is left alone, so a run can be repeated.
    Another image of the same name gets the beginning of a hash of its path behind its own.
    """

    def __init__(self, folder: str, *, link: bool) -> None:
        self.folder = Path(folder)
        self.left_out = 0
        """How many images could not be sorted, because they are no files on disk."""
        self._same, self._put = (_same_link, _link) if link else (_same_bytes, _copy)

    def put(self, result: Result) -> None:
        """Sort one image by its best class.

        Raises ImageError for an image that is no file on disk, OutputError if the folder cannot be written to.
        """
        source = Path(result.source)
        folder = self.folder / (result.status if result.status != "ok" else folder_name(result.predictions[0]))
        other = f"{source.stem}-{_short_hash(os.path.abspath(source))}{source.suffix}"
        try:
            source.stat()
            folder.mkdir(parents=True, exist_ok=True)
            for target in (folder / source.name, folder / other):
                if not os.path.lexists(target):
                    self._put(source, target)
                    return
                if self._same(source, target):
                    return
        except OSError as error:
            if not source.is_file():
                self.left_out += 1
                raise ImageError(
                    result.source, f"it is not, or no longer, a file on disk, so it was not put into {folder}"
                ) from None
            raise OutputError(f"{source}: it cannot be sorted into {folder}: {error.strerror or error}") from error
        raise OutputError(f"{source}: it cannot be sorted into {folder}: {other} is there already, with other contents")


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
    return name if clean == name and name not in ("", *RESERVED) else f"{clean}-{_short_hash(name)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _same_bytes(source: Path, target: Path) -> bool:
    return target.is_file() and filecmp.cmp(source, target, shallow=False)


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copy2(source, part)
        os.rename(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _same_link(source: Path, target: Path) -> bool:
    return target.is_symlink() and os.readlink(target) == os.path.abspath(source)


def _link(source: Path, target: Path) -> None:
    os.symlink(os.path.abspath(source), target)
