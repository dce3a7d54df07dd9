"""Files among images that are no images: junk, by one rule, and other files, which are counted."""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
from collections import Counter
from collections.abc import Callable

from typing_extensions import override

from pretrained_cnn._process import warn
from pretrained_cnn.images.kinds import install_hint

log = logging.getLogger(__name__)

JUNK = frozenset({"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"})
"""Names, in lower case, of folders that systems make for themselves. Others begin with a dot: ``._a.jpg``,
``.thumbnails``, ``.ipynb_checkpoints``, ``.Trash``."""

_KINDS = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFDIR: "folder",
}


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name, without its path, is hidden or a system's own.

    >>> is_junk("._a.jpg"), is_junk("__MACOSX"), is_junk("a.jpg"), is_junk(".")
    (True, True, False, False)
    """
    return (name.startswith(".") and name not in (".", "..")) or name.lower() in JUNK


def has_junk(path: str) -> bool:
    """Whether a path below a source, such as a member's name, goes through junk or ends in it."""
    return any(is_junk(part) for part in re.split(r"[/\\]", path))


def kind_of(mode: int) -> str | None:
    """What is no regular file, by the mode that ``os.stat`` gives; None for a regular file."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "special file")


class Skipped:
    """The files that a source left out, counted by suffix or kind. Junk is not counted.

    >>> skipped = Skipped()
    >>> for name in ("a.HEIC", "b.heic", "c.dng", "README"):
    ...     skipped.add(name)
    >>> skipped.count, str(skipped)
    (4, '4 files were skipped: .heic (2), .dng, no suffix')
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.count_images: Callable[[], int] | None = None
        """Counts all images of the source, where these are listed before the first one is taken: in a folder without
        subfolders."""

    def add(self, path: str, kind: str | None = None) -> None:
        """Count a file, by what it is if that is not a regular file, else by its suffix."""
        with self._lock:
            self._counts[kind or os.path.splitext(path)[1].lower() or "no suffix"] += 1

    def clear(self) -> None:
        """Forget what was counted, when the source is read from its beginning again."""
        with self._lock:
            self._counts.clear()

    @property
    def count(self) -> int:
        """How many."""
        return self._counts.total()

    @property
    def counts(self) -> Counter[str]:
        """How many of each suffix or kind: a copy."""
        with self._lock:
            return self._counts.copy()

    @override
    def __str__(self) -> str:
        listed = sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))
        shown = [f"{kind} ({count:,})" if count > 1 else kind for kind, count in listed[:10]]
        more = f" and {len(listed) - 10} other kinds" if len(listed) > 10 else ""
        files = "1 file was" if self.count == 1 else f"{self.count:,} files were"
        hints = sorted({hint for kind, _ in listed if (hint := install_hint(kind))})
        return f"{files} skipped: {', '.join(shown)}{more}" + "".join(f"; to read them, {hint}" for hint in hints)

    def report(self, source: str) -> None:
        """Log once what was skipped, if anything was; a warning where a package that is not installed reads some."""
        if any(install_hint(kind) for kind in self.counts):
            warn(f"{source}: {self}")
        elif self.count:
            log.warning("%s: %s", source, self)
