"""From a request's body to images, within limits of size: multipart, JSON, or an image's own bytes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pretrained_cnn.images.sources import is_url
from pretrained_cnn.serve.batching import Room
from pretrained_cnn.serve.model import Upload
from pretrained_cnn.serve.settings import Settings

__all__ = ["Uploads"]

EXPECTED = (
    "send an image as the body, a form with files (multipart/form-data), or JSON such as "
    '{"image": "<base64>"} (application/json)'
)
BYTES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Types of a body that is taken for an image; the last is what curl says of ``--data-binary``."""
FIELDS = {"image", "url", "name"}
"""What JSON may say of an image."""
MOST = 1000
"""Parts of a form that are looked at."""


class Uploads:
    """Reads the images of requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._room = Room(settings.max_held)

    async def read(self, request: Request, most: int) -> list[Upload]:
        """Up to ``most`` images, in order.

        Raises HTTPException: 400 for a body that cannot be read, 413 for too much, 415 for another kind of body, 422
        for what is no image; and FullError while other requests fill the memory.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if int(request.headers.get("content-length") or 0) > self._settings.max_body:
            raise self._too_large()
        with self._room.share() as take:
            if kind == "multipart/form-data":
                uploads = await self._of_form(request, take)
            elif kind == "application/json":
                uploads = self._of_json(await self._body(request, take))
            elif kind.startswith("image/") or kind in BYTES:
                uploads = [Upload("image", await self._body(request, take))]
            else:
                raise HTTPException(415, f"a body of type {kind!r} is not read; {EXPECTED}")
        if not uploads:
            raise HTTPException(422, f"the request holds no image; {EXPECTED}")
        if len(uploads) > most:
            raise HTTPException(413, f"the request holds {len(uploads)} images; {most} at most are taken")
        return uploads

    async def _body(self, request: Request, take: Callable[[int], None]) -> bytes:
        return b"".join([chunk async for chunk in self._chunks(request, take)])

    async def _chunks(self, request: Request, take: Callable[[int], None]) -> AsyncGenerator[bytes]:
        """The body as it comes. Raises HTTPException for too much of it."""
        came = 0
        async for chunk in request.stream():
            came += len(chunk)
            if came > self._settings.max_body:
                raise self._too_large()
            take(len(chunk))
            yield chunk

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the request has more than {self._settings.max_body:,} bytes")

    async def _of_form(self, request: Request, take: Callable[[int], None]) -> list[Upload]:
        parser = _InMemory(request.headers, self._chunks(request, take), max_files=MOST, max_fields=MOST)
        try:
            form = (await parser.parse()).multi_items()
        except MultiPartException as error:
            raise HTTPException(400, f"the form cannot be read: {error.message}") from None
        _refuse_more(name for name, value in form if isinstance(value, str))
        files = [value for _, value in form if isinstance(value, UploadFile)]
        return [Upload(file.filename or "image", file.file.read()) for file in files]

    def _of_json(self, body: bytes) -> list[Upload]:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise HTTPException(422, 'the JSON is not an object such as {"image": "<base64>"}')
        if "images" not in data:
            _refuse_more(data.keys() - FIELDS)
            return [self._of_object(data)]
        _refuse_more(data.keys() - {"images"})
        if not isinstance(data["images"], list):
            raise HTTPException(422, '"images" is not a list')
        return list(map(self._of_object, data["images"]))

    def _of_object(self, given: Any) -> Upload:
        given = {"image": given} if isinstance(given, str) else given
        if not isinstance(given, dict) or not given.keys() <= FIELDS or len(given.keys() - {"name"}) != 1:
            raise HTTPException(422, 'an image is base64 text, {"image": "<base64>"} or {"url": "https://..."}')
        if not all(isinstance(value, str) for value in given.values()):
            raise HTTPException(422, '"image", "url" and "name" are texts')
        if "image" in given:
            return Upload(given.get("name") or "image", _of_base64(given["image"]))
        url = given["url"]
        if not self._settings.allow_urls:
            raise HTTPException(403, "this service opens no addresses; send the image itself")
        if not is_url(url):
            raise HTTPException(422, f"{url[:100]!r} is not an http or https address")
        return Upload(given.get("name") or url, url=url)


def _refuse_more(names: Iterable[str]) -> None:
    """Settings belong into the address: what else a body says would be overlooked."""
    for name in names:
        raise HTTPException(422, f"{name!r} is not a part of the body; settings go into the address: ?top=3")


def _of_base64(text: str) -> bytes:
    """The bytes; a ``data:`` URL is taken for what it holds."""
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    packed = "".join(text.split()).translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(422, f"the image is not base64: {error}") from None


class _InMemory(MultiPartParser):
    """Keeps files in memory, where their size is counted, and writes none to the disk."""

    spool_max_size = 2**62
