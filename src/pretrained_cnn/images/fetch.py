"""The bytes behind an http(s) address, within limits of size, time and network."""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.policy import ImagePolicy

CHUNK = 64 * 1024


def fetch(url: str, policy: ImagePolicy) -> io.BytesIO:
    """Read an address within the limits of ``policy``. Raises ImageError, which names the address."""
    with contextlib.closing(_Connections(policy)) as connections:
        handlers: list[Any] = [_Redirects, _HTTP(connections), _HTTPS(connections)]
        if not policy.allow_private:
            handlers.append(urllib.request.ProxyHandler({}))
        try:
            with urllib.request.build_opener(*handlers).open(url, timeout=policy.url_seconds) as response:
                data = _read(response, policy)
            if not connections.late:
                return io.BytesIO(data)
            reason = _too_slow(policy)
        except _RefusedError as error:
            reason = str(error)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = _too_slow(policy) if connections.late else _reason(error, policy)
    raise ImageError(url, reason)


class _RefusedError(Exception):
    """The policy forbids it. Not an OSError, so that nothing on the way tries again."""


def _too_slow(policy: ImagePolicy) -> str:
    return f"it took more than {policy.url_seconds:g} seconds (ImagePolicy.url_seconds)"


def _reason(error: Exception, policy: ImagePolicy) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"it cannot be fetched: {error}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return _too_slow(policy)
    return f"it cannot be fetched: {str(cause) or type(cause).__name__}"


def _read(response: Any, policy: ImagePolicy) -> bytes:
    """All that comes, up to the limit."""
    data = bytearray()
    declared = response.headers.get("Content-Length")
    while chunk := response.read1(CHUNK):
        data += chunk
        if len(data) > policy.max_url_bytes:
            raise _RefusedError(f"it has more than {policy.max_url_bytes:,} bytes (ImagePolicy.max_url_bytes)")
    if declared is not None and declared.isdigit() and len(data) < int(declared):
        raise OSError(f"the connection was cut after {len(data):,} of {int(declared):,} bytes")
    return bytes(data)


class _Connections:
    """The connections of one fetch: where they may go, and that they end in time.

    A socket's own timeout counts from the last byte, so a server that trickles could go on for ever. When the time
    is up, whatever is open is shut down, through copies that TLS does not take away.
    """

    def __init__(self, policy: ImagePolicy) -> None:
        self._connect = socket.create_connection if policy.allow_private else _connect_public
        self._copies: list[socket.socket] = []
        self._timer = threading.Timer(policy.url_seconds, self._end)
        self._timer.daemon = True
        self._timer.start()
        self.late = False
        """Whether the time is up."""

    def connect(self, address: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
        """Like ``socket.create_connection``."""
        connection = self._connect(address, timeout, source_address)
        self._copies.append(connection.dup())
        if self.late:
            connection.close()
            raise TimeoutError
        return connection

    def open(self, kind: Callable[..., Any]) -> Callable[..., Any]:
        """A maker of connections of this kind that go through `connect`."""

        def make(*args: Any, **kwargs: Any) -> Any:
            connection = kind(*args, **kwargs)
            connection._create_connection = self.connect
            return connection

        return make

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


class _HTTP(urllib.request.HTTPHandler):
    def __init__(self, connections: _Connections) -> None:
        super().__init__()
        self._connections = connections

    def http_open(self, req: Any) -> Any:
        return self.do_open(self._connections.open(http.client.HTTPConnection), req)


class _HTTPS(urllib.request.HTTPSHandler):
    def __init__(self, connections: _Connections) -> None:
        super().__init__()
        self._connections = connections

    def https_open(self, req: Any) -> Any:
        return self.do_open(self._connections.open(http.client.HTTPSConnection), req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only."""

    def redirect_request(self, request: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith(("http://", "https://")):
            fp.close()
            raise _RefusedError(f"it redirects to {newurl.partition(':')[0]}:, and only http and https are followed")
        return super().redirect_request(request, fp, code, msg, headers, newurl)


def _connect_public(address: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
    """Like ``socket.create_connection``, but only to addresses of the public internet."""
    host, port = address
    error: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _name, target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = ipaddress.ip_address(str(target[0]).partition("%")[0])
        mapped = getattr(ip, "ipv4_mapped", None) or ip
        if not mapped.is_global or mapped.is_multicast:
            raise _RefusedError(f"{host} is at {ip}, which is not a public address (ImagePolicy.allow_private)")
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(target)
            return connection
        except OSError as failure:
            connection.close()
            error = failure
    raise error
