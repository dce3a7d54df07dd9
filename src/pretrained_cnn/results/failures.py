"""Temporary failures of images: those of the machine, its disks and its networks, not of the image itself."""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import urllib.error
from collections.abc import Iterator

from pretrained_cnn.errors import ImageError

__all__ = ["IN_A_ROW", "has_files", "is_missing", "may_pass"]

IN_A_ROW = 8
"""The number of temporary failures in a row that ends a run."""

_CODES = (
    *("ENOMEM", "EMFILE", "ENFILE", "EIO", "ESTALE", "ENOTCONN", "EREMOTEIO", "ENODEV", "ENXIO", "ETIMEDOUT"),
    *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED"),
    *("EAGAIN", "EBUSY", "ENETRESET", "ESHUTDOWN", "EPROTO", "ECOMM", "EKEYEXPIRED"),
)
PASSING = frozenset(getattr(errno, name) for name in _CODES if hasattr(errno, name))
"""The numbers of errors that say that a machine, a disk or a network does not answer now."""

PASSING_STATUSES = (408, 425, 429)
"""The answers of a server that say that it may answer later, beside those from 500 on."""

_ENDS = ("MemoryError", "timed out", "in name resolution", "Remote end closed connection without response")
_TEXT = re.compile(
    rf"HTTP Error ({'|'.join(map(str, PASSING_STATUSES))}|5\d\d)\b"
    r"|\(ImagePolicy\.url_seconds\)|the connection was cut after "
    rf"|({'|'.join(map(re.escape, (*map(os.strerror, PASSING), *_ENDS)))})$"
)
"""What the reason of such an error says: an error that comes from another process has only its text."""

_MISSING = ("the file does not exist", "no such file", os.strerror(errno.ENOENT))


def may_pass(error: ImageError | None, *, listed: bool = False) -> bool:
    """Whether the same image may be read later.

    ``listed`` says that the library found the image in a folder or by a pattern, so that a file which is missing was
    there a moment ago. A missing file that somebody named is the image's own error.

    >>> error = ImageError("a.jpg", "it cannot be opened: Input/output error")
    >>> error.__cause__ = OSError(5, "Input/output error")
    >>> may_pass(error), may_pass(ImageError("a.jpg", "it is empty"))
    (True, False)
    """
    if error is None:
        return False
    if listed and is_missing(error):
        return True
    return any(map(_passes, _causes(error))) or _TEXT.search(error.reason) is not None


def is_missing(error: ImageError) -> bool:
    """Whether the error says that a file or folder does not exist."""
    causes = list(_causes(error))
    return any(isinstance(cause, FileNotFoundError) for cause in causes) or error.reason.endswith(_MISSING)


def has_files(folder: str) -> bool:
    """Whether there is anything in a folder; an unmounted one is empty, or does not exist."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _passes(error: BaseException) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in PASSING_STATUSES or error.code >= 500
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _passes(error.reason)
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, MemoryError | TimeoutError | ConnectionError | http.client.IncompleteRead):
        return True
    return isinstance(error, OSError) and error.errno in PASSING


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What led to an error, also where the traceback does not show it."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
