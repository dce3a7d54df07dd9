"""The bytes behind an http(s) address, within limits of size, time and network."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import zlib
from typing import Any

from pretrained_cnn._http import NotPublicError, cause, connect_public, declared_length, open_url
from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.policy import ImagePolicy

CHUNK = 64 * 1024


def fetch(url: str, policy: ImagePolicy) -> io.BytesIO:
    """Read an address within the limits of ``policy``. Raises ImageError, which names the address."""
    with contextlib.closing(_Connections(policy)) as connections:
        try:
            with open_url(
                url,
                timeout=policy.url_seconds,
                private_headers=policy.headers,
                connect=connections.connect,
                proxies=policy.allow_private,
            ) as response:
                data = _read(response, policy)
            if not connections.late:
                return io.BytesIO(data)
            reason = _too_slow(policy)
        except NotPublicError as error:
            reason = f"{error} (ImagePolicy.allow_private)"
        except _TooLargeError as error:
            reason = str(error)
        except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
            reason = _too_slow(policy) if connections.late else _reason(error, policy)
    raise ImageError(url, reason)


class _TooLargeError(Exception):
    """More came than the policy allows."""


def _too_slow(policy: ImagePolicy) -> str:
    return f"it took more than {policy.url_seconds:g} seconds (ImagePolicy.url_seconds)"


def _reason(error: Exception, policy: ImagePolicy) -> str:
    reason = cause(error)
    if isinstance(reason, TimeoutError):
        return _too_slow(policy)
    return f"it cannot be fetched: {str(reason) or type(reason).__name__}"


def _read(response: http.client.HTTPResponse, policy: ImagePolicy) -> bytes:
    """All that comes, up to the limit."""
    data = bytearray()
    while chunk := response.read1(CHUNK):
        data += chunk
        if len(data) > policy.max_url_bytes:
            raise _TooLargeError(f"it has more than {policy.max_url_bytes:,} bytes (ImagePolicy.max_url_bytes)")
    declared = declared_length(response)
    if declared is not None and len(data) < declared:
        raise ConnectionError(f"the connection was cut after {len(data):,} of {declared:,} bytes")
    if response.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip", "deflate"):  # nobody asked for it
        return _unpacked(bytes(data), policy)
    return bytes(data)


def _unpacked(data: bytes, policy: ImagePolicy) -> bytes:
    try:
        unpacked = zlib.decompressobj(wbits=47).decompress(data, policy.max_url_bytes + 1)
    except zlib.error as error:
        raise OSError(f"what came cannot be unpacked: {error}") from None
    if len(unpacked) > policy.max_url_bytes:
        raise _TooLargeError(f"it has more than {policy.max_url_bytes:,} bytes (ImagePolicy.max_url_bytes)")
    return unpacked


class _Connections:
    """The connections of one fetch: where they may go, and that they end in time.

    A socket's own timeout counts from the last byte, so a server that trickles could continue for ever. When the time
    is up, whatever is open is shut down, through copies that TLS does not take away.
    """

    def __init__(self, policy: ImagePolicy) -> None:
        self.late = False
        """Whether the time is up."""
        self._connect = socket.create_connection if policy.allow_private else connect_public
        self._copies: list[socket.socket] = []
        self._timer = threading.Timer(policy.url_seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def connect(self, address: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
        """Like ``socket.create_connection``."""
        connection = self._connect(address, timeout, source_address)
        self._copies.append(connection.dup())
        if self.late:
            connection.close()
            raise TimeoutError
        return connection

    def _end(self) -> None:
        self.late = True
        for copy in self._copies:
            with contextlib.suppress(OSError):  # closed by the other side already
                copy.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._timer.cancel()
        self._timer.join()
        for copy in self._copies:
            copy.close()
