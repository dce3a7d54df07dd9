"""The bytes behind an http(s) address, within limits of size, time and network."""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import time
import urllib.error
import urllib.request
from typing import Any

from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.policy import ImagePolicy

CHUNK = 64 * 1024


def fetch(url: str, policy: ImagePolicy) -> io.BytesIO:
    """Read an address within the limits of ``policy``. Raises ImageError, which names the address."""
    deadline = time.monotonic() + policy.url_seconds
    handlers: list[Any] = [_Redirects]
    if not policy.allow_private:
        handlers += [urllib.request.ProxyHandler({}), _PublicHTTP, _PublicHTTPS]
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=policy.url_seconds) as response:
            return io.BytesIO(_read(response, deadline, policy))
    except _RefusedError as error:
        raise ImageError(url, str(error)) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if isinstance(error, urllib.error.URLError) and error.reason else error
        if isinstance(reason, _RefusedError):
            raise ImageError(url, str(reason)) from None
        if isinstance(reason, TimeoutError):
            reason = _too_slow(policy)
        if isinstance(error, urllib.error.HTTPError):
            reason = error
        raise ImageError(url, f"it cannot be fetched: {reason or type(error).__name__}") from None


class _RefusedError(Exception):
    """The policy forbids it. Not an OSError, so that nothing on the way tries again."""


def _too_slow(policy: ImagePolicy) -> str:
    return f"it took more than {policy.url_seconds:g} seconds (ImagePolicy.url_seconds)"


def _read(response: Any, deadline: float, policy: ImagePolicy) -> bytes:
    """All that comes, in pieces, so that a server that trickles is cut off too."""
    data = bytearray()
    declared = response.headers.get("Content-Length")
    while chunk := response.read1(CHUNK):
        data += chunk
        if len(data) > policy.max_url_bytes:
            raise _RefusedError(f"it has more than {policy.max_url_bytes:,} bytes (ImagePolicy.max_url_bytes)")
        if time.monotonic() > deadline:
            raise TimeoutError
    if declared is not None and declared.isdigit() and len(data) < int(declared):
        raise OSError(f"the connection was cut after {len(data):,} of {int(declared):,} bytes")
    return bytes(data)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only."""

    def redirect_request(self, request: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith(("http://", "https://")):
            fp.close()
            raise _RefusedError(f"it redirects to {newurl.partition(':')[0]}:, and only http and https are followed")
        return super().redirect_request(request, fp, code, msg, headers, newurl)


def _connect_public(
    address: tuple[str, int], timeout: Any = None, source_address: Any = None, **_: Any
) -> socket.socket:
    """Like ``socket.create_connection``, but only to addresses of the public internet."""
    host, port = address
    error: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _name, target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = ipaddress.ip_address(str(target[0]).partition("%")[0])
        mapped = getattr(ip, "ipv4_mapped", None) or ip
        if not mapped.is_global or mapped.is_multicast:
            raise _RefusedError(f"{host} is at {ip}, which is not a public address (ImagePolicy.allow_private)")
        try:
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(timeout)
            connection.connect(target)
            return connection
        except OSError as failure:
            connection.close()
            error = failure
    raise error


class _PublicHTTPConnection(http.client.HTTPConnection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._create_connection = _connect_public


class _PublicHTTPSConnection(http.client.HTTPSConnection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._create_connection = _connect_public


class _PublicHTTP(urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> Any:
        return self.do_open(_PublicHTTPConnection, req)


class _PublicHTTPS(urllib.request.HTTPSHandler):
    def https_open(self, req: Any) -> Any:
        return self.do_open(_PublicHTTPSConnection, req)
