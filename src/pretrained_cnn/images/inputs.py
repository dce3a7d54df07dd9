"""From what a user passes to bytes, a Pillow image or an array; or one sentence that says what to give instead."""

from __future__ import annotations

import base64
import binascii
import glob
import inspect
import io
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretrained_cnn._files import LONGEST_PATH, is_too_long
from pretrained_cnn.errors import ImageError, install_line
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.skipping import kind_of
from pretrained_cnn.images.sources import Item, is_address, is_record, is_url

FORMS = (
    "a path, an http(s) address, bytes, a binary file, a PIL image, or an array of shape (h, w), (h, w, 1), "
    "(h, w, 3) or (h, w, 4)"
)
CHUNK = 8 * 1024 * 1024
MAX_PATH = 4096
"""Characters; no system has longer paths."""

_SURROUNDED = re.compile(r"\s*<?\s*(https?://[^\s<>]+)\s*>?\s*", re.IGNORECASE)


def content(item: Item, policy: ImagePolicy) -> bytes | Image.Image | NDArray[Any]:
    """The bytes, the Pillow image or the array that an item stands for. Raises ImageError for anything else."""
    image = item.image
    for _ in range(4):  # a row of a data set holds a record, which holds bytes
        if isinstance(image, ImageError):  # what its source met in place of it
            raise image
        if isinstance(image, bytes | bytearray | memoryview):
            return limited(item, image, policy)
        if isinstance(image, str | os.PathLike):
            return _of_text(item, os.fspath(image), policy)
        if isinstance(image, Image.Image):
            return image
        inner = _inner(item, image)
        if inner is image:
            break
        image = inner
    if inspect.isawaitable(image):
        if inspect.iscoroutine(image):
            image.close()  # else Python warns that it was never awaited
        raise ImageError(item.name, "this is a coroutine; await it, and give what it returns")
    if hasattr(image, "__array__"):
        return _as_numpy(image)
    if hasattr(image, "read"):
        return limited(item, _read_file(item, image, policy.max_bytes + 1), policy)
    if hasattr(image, "open"):  # zipfile.Path and other paths that are none of this system; fsspec.OpenFile
        with image.open() if hasattr(image, "fs") else image.open("rb") as file:
            return limited(item, _read_file(item, file, policy.max_bytes + 1), policy)
    kind = type(image).__name__
    if isinstance(image, Mapping):
        keys = ", ".join(repr(key) for key in list(image)[:10])
        raise ImageError(item.name, f"a {kind} with the keys {keys} is not an image; give the value of one of them")
    several = "; give several images to predict_batch" if isinstance(image, Iterable) else ""
    raise ImageError(item.name, f"an object of type {kind} is not an image; give {FORMS}{several}")


def _inner(item: Item, image: Any) -> Any:
    """What a container of one image holds; the image itself if it is none."""
    if is_record(image):
        if "image" in image:
            return image["image"]
        return image["path"] if image.get("bytes") is None else image["bytes"]
    if hasattr(image, "as_py"):  # a scalar of pyarrow
        return image.as_py()
    if getattr(image, "shape", None) == () and hasattr(image, "dtype"):  # a tensor of TensorFlow, or numpy's
        value = _as_numpy(image)[()]
        if isinstance(value, bytes):
            return value if is_content(value) else os.fsdecode(value)
        return value if isinstance(value, str) else image
    if hasattr(image, "read") and inspect.iscoroutinefunction(image.read):
        if hasattr(image, "file") and hasattr(image.file, "read"):  # an UploadFile of Starlette or FastAPI
            return image.file
        raise ImageError(item.name, "its read() is a coroutine; give `await file.read()`")
    return image


def is_content(value: bytes) -> bool:
    """Whether bytes are those of a file rather than its path."""
    return len(value) > MAX_PATH or b"\0" in value or value[:2] in (b"\xff\xd8", b"BM") or value.startswith(b"GIF8")


def is_seekable(file: Any) -> bool:
    """Whether an open file can be read more than once."""
    return hasattr(file, "seek") and bool(getattr(file, "seekable", lambda: True)())


def limited(item: Item, data: bytes | bytearray | memoryview, policy: ImagePolicy) -> bytes:
    """The bytes. Raises ImageError if they are more than the policy allows."""
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size > policy.max_bytes:
        raise ImageError(item.name, f"it has more than {policy.max_bytes:,} bytes (ImagePolicy.max_bytes)")
    return bytes(data)


def _read_file(item: Item, file: Any, most: int) -> bytes:
    """What an open file gives, which may be less at a time than it is asked for. At its end it is rewound."""
    if isinstance(file, io.TextIOBase):
        raise ImageError(item.name, 'the file was opened for text; open it with "rb"')
    data = _read_on(item, file, most)
    if not data and is_seekable(file):
        file.seek(0)
        data = _read_on(item, file, most)
    return data


def _read_on(item: Item, file: Any, most: int) -> bytes:
    data = bytearray()
    while len(data) < most:
        try:
            chunk = file.read(min(CHUNK, most - len(data)))
        except io.UnsupportedOperation:
            raise ImageError(item.name, 'the file was opened for writing; open it with "rb"') from None
        if isinstance(chunk, str):
            raise ImageError(item.name, 'the file was opened for text; open it with "rb"')
        if not isinstance(chunk, bytes | bytearray | memoryview):
            if inspect.iscoroutine(chunk):
                chunk.close()
            raise ImageError(item.name, f"its read() gives a {type(chunk).__name__}, not bytes")
        if not len(chunk):
            break
        data += chunk
    return bytes(data)


# Paths and addresses


def _of_text(item: Item, text: str | bytes, policy: ImagePolicy) -> bytes:
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if surrounded := _SURROUNDED.fullmatch(text):
        return _fetched(surrounded[1], policy)
    if is_url(text):
        return _fetched(text, policy)
    if is_address(text):
        return _of_address(item, text, policy)
    path = os.path.expanduser(text)
    if len(path) > MAX_PATH:
        _refuse_text(item, text)
    return read_path(item, path, policy)


def read_path(item: Item, path: str, policy: ImagePolicy) -> bytes:
    """The bytes of a regular file. Nothing else is opened: a FIFO would wait for somebody who writes."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if kind := kind_of(os.fstat(file.fileno()).st_mode):
                raise ImageError(item.name, _no_file(kind))
            data = file.read(policy.max_bytes + 1)
    except ImageError:
        raise
    except FileNotFoundError:
        missing = _missing(path) if item.name in (path, item.path) else f"there is no file {path[:300]!r}"
        raise ImageError(item.name, missing) from None
    except IsADirectoryError:
        raise ImageError(item.name, _no_file("folder")) from None
    except (OSError, ValueError) as error:
        kind = _kind_at(path)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(item.name, _no_file(kind) if kind else f"it cannot be opened: {reason}") from None
    return limited(item, data, policy)


def _missing(path: str) -> str:
    if is_too_long(path):
        return f"its path has {len(os.path.abspath(path))} characters, and Windows takes {LONGEST_PATH}"
    if glob.has_magic(path):
        return "the file does not exist; give a pattern to predict_batch or stream"
    return "the file does not exist"


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _kind_at(path: str) -> str | None:
    try:
        return kind_of(os.stat(path).st_mode)
    except (OSError, ValueError):
        return None


def _no_file(kind: str) -> str:
    if kind == "folder":
        return "this is a folder, not an image; give it to stream or predict_batch"
    return f"this is a {kind}, not a file; only files are opened"


def _fetched(address: str, policy: ImagePolicy) -> bytes:
    from pretrained_cnn.images.fetch import fetch

    return fetch(address, policy).getvalue()


def _of_address(item: Item, address: str, policy: ImagePolicy) -> bytes:
    scheme = address.partition(":")[0].lower()
    if scheme == "data":
        return limited(item, _of_data_url(item, address), policy)
    if not policy.allow_private:
        reason = f"only http and https addresses are read, and {scheme}: is another (ImagePolicy.allow_private)"
        raise ImageError(item.name, reason)
    if scheme == "file":
        parts = urllib.parse.urlsplit(address)
        if parts.netloc not in ("", "localhost"):
            raise ImageError(item.name, f"this file is on another host, {parts.netloc}; mount it, and give its path")
        from urllib.request import url2pathname

        return read_path(item, url2pathname(parts.path), policy)
    return _by_fsspec(item, address, scheme, policy)


def _of_data_url(item: Item, address: str) -> bytes:
    head, comma, body = address.partition(",")
    if not comma:
        raise ImageError(item.name, "this data: URL has no comma, behind which its data would be")
    data = urllib.parse.unquote_to_bytes(body)
    if not head.lower().endswith(";base64"):
        return data
    packed = b"".join(data.split()).translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(item.name, f"the base64 text of this data: URL is broken: {error}") from None


def _by_fsspec(item: Item, address: str, scheme: str, policy: ImagePolicy) -> bytes:
    try:
        import fsspec
    except ImportError:
        line = install_line("fsspec", "remote")
        raise ImageError(item.name, f"{scheme}: addresses are read by the package fsspec: {line}") from None
    if scheme not in fsspec.available_protocols():
        raise ImageError(item.name, f"{scheme}: is no kind of address that is read; give http, https or a path")
    try:
        with fsspec.open(address, "rb") as file:
            return limited(item, _read_file(item, file, policy.max_bytes + 1), policy)
    except ImageError:
        raise
    except ImportError as error:  # s3fs, gcsfs and others are packages of their own, and it says which
        raise ImageError(item.name, f"{scheme}: addresses need another package: {error}") from None
    except FileNotFoundError:
        raise ImageError(item.name, "the file does not exist") from None
    except Exception as error:  # of any kind of store
        raise ImageError(item.name, f"it cannot be read: {str(error) or type(error).__name__}") from error


def _refuse_text(item: Item, text: str) -> NoReturn:
    packed = re.sub(r"\s", "", text[:4000])
    if re.fullmatch(r"[A-Za-z0-9+/=_-]+", packed):
        raise ImageError(item.name, "this is base64 text, not a path; give base64.b64decode(...) of it")
    raise ImageError(item.name, f"this text of {len(text):,} characters is not a path")


# Arrays


def _as_numpy(image: Any) -> NDArray[Any]:
    if isinstance(image, np.ndarray):
        return image
    if hasattr(image, "detach"):  # torch: off the graph and the GPU
        image = image.detach().cpu()
        if str(image.dtype) == "torch.bfloat16":  # which numpy does not know
            image = image.float()
    return np.asarray(image)
