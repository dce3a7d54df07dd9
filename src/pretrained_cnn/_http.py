"""Opens http(s) addresses, for weights files and for images."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from typing_extensions import override

from pretrained_cnn._compat import connect_through

__all__ = [
    "Connect",
    "NotPublicError",
    "cause",
    "connect_public",
    "declared_length",
    "is_public",
    "open_url",
]

Connect = Callable[..., socket.socket]
"""Like ``socket.create_connection``: ``(address, timeout, source_address) -> socket``."""

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All that IANA has assigned of IPv6 for public addresses
(https://www.iana.org/assignments/ipv6-address-space)."""

NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        # https://www.iana.org/assignments/iana-ipv4-special-registry
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared address space of providers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, where clouds keep their metadata
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, deprecated by RFC 7526
        "192.168.0.0/16",  # private use
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "240.0.0.0/4",  # reserved, and limited broadcast
        # https://www.iana.org/assignments/multicast-addresses
        "224.0.0.0/4",
        # https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
        "168.63.129.16/32",  # looks public and reaches the platform of an Azure machine
        # https://www.iana.org/assignments/iana-ipv6-special-registry, within 2000::/3
        "2001::/23",  # IETF protocol assignments: Teredo (RFC 4380), benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 (RFC 3056): the next 32 bits are an IPv4 address
        "3fff::/20",  # documentation
    )
)
"""Networks whose addresses are not on the public internet, or lead to others that are not."""

IPV4_INSIDE = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "::ffff:0:0/96",  # IPv4-mapped (RFC 4291): the system connects to the IPv4 address
        "64:ff9b::/96",  # NAT64 (RFC 6052): on networks without IPv4, all IPv4 hosts have such addresses
    )
)
"""Networks whose addresses are as public as the IPv4 address in their last 32 bits."""

ISATAP = (0x00005EFE, 0x02005EFE)
"""The beginning of an interface identifier that holds an IPv4 address (RFC 5214)."""


class NotPublicError(Exception):
    """An address is not on the public internet. Not an OSError, so that nothing on the way tries another."""


def open_url(
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] = {},
    private_headers: Mapping[str, str] = {},
    connect: Connect = socket.create_connection,
    proxies: bool = True,
) -> http.client.HTTPResponse:
    """The response to a request for ``url``, and for what it redirects to, over http and https only.

    ``timeout`` is in seconds without a byte. ``private_headers`` are sent to the host of ``url`` only. ``connect``
    makes each connection. Characters that an address cannot have are quoted. Raises OSError, ValueError or
    HTTPException for what goes wrong, a redirect to another scheme included.
    """
    request = urllib.request.Request(_quoted(url), headers=dict(headers))
    for name, value in private_headers.items():
        request.add_unredirected_header(name.capitalize(), value)
    opener = urllib.request.OpenerDirector()
    opener.addheaders = [("User-agent", _user_agent())]
    for handler in (
        urllib.request.ProxyHandler(None if proxies else {}),
        urllib.request.UnknownHandler(),
        _HTTPHandler(connect),
        _HTTPSHandler(connect),
        urllib.request.HTTPDefaultErrorHandler(),
        _RedirectHandler(request.full_url, private_headers),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    return response


def declared_length(response: http.client.HTTPResponse) -> int | None:
    """How many bytes the server announced; None if it did not."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def cause(error: Exception) -> object:
    """What urllib has wrapped, in words or as an exception; else the error itself. Closes what is open."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return error
    return error.reason if isinstance(error, urllib.error.URLError) else error


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is on the public internet, and neither holds nor leads to one that is not.

    Only `GLOBAL_UNICAST` counts of IPv6, without loopback, IPv4-compatible, IPv4-translated, local NAT64, unique local,
    link-local, site-local and multicast addresses. NAT64 with a prefix of a network's own cannot be told from others.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in IPV4_INSIDE):
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in GLOBAL_UNICAST or int(address) >> 32 & 0xFFFF_FFFF in ISATAP:
            return False
    return not any(address in network for network in NOT_PUBLIC)


def connect_public(address: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
    """Like ``socket.create_connection``, but raises NotPublicError for a host with an address that is not public."""
    host, port = address
    error: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _name, target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = ipaddress.ip_address(str(target[0]).partition("%")[0])
        if not is_public(ip):
            raise NotPublicError(f"{host} is at {ip}, which is not a public address")
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(target)
            return connection
        except OSError as failure:
            connection.close()
            error = failure
    raise error


def _quoted(url: str) -> str:
    """The address with what it cannot have quoted: spaces and letters beyond ASCII, in the host as IDNA."""
    parts = urllib.parse.urlsplit(url)
    if parts.username is not None:
        raise ValueError("an address with a user's name and password is not supported")
    if parts.port == 0:
        raise ValueError("there is no port 0")
    host = parts.netloc
    if not host.isascii():
        host = host.encode("idna").decode()
    path, query = (urllib.parse.quote(part, safe="%/:=&?~#+!$,;'@()*[]") for part in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, host, path, query, ""))


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, connect: Connect) -> None:
        super().__init__()
        self._connect = connect

    @override
    def http_open(self, req: Any) -> Any:
        return self.do_open(connect_through(http.client.HTTPConnection, self._connect), req)


class _HTTPSHandler(urllib.request.AbstractHTTPHandler):  # a Python without ssl has no HTTPSHandler
    https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, connect: Connect) -> None:
        super().__init__()
        self._connect = connect

    def https_open(self, req: Any) -> Any:
        if not hasattr(http.client, "HTTPSConnection"):
            raise OSError("this Python was built without ssl, so it opens no https address")
        return self.do_open(connect_through(http.client.HTTPSConnection, self._connect), req)


def _user_agent() -> str:
    """The user agent: some servers refuse Python's own."""
    try:
        return f"pretrained-cnn/{version('pretrained-cnn')}"
    except PackageNotFoundError:  # used without having been installed
        return "pretrained-cnn"


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    def __init__(self, url: str, private_headers: Mapping[str, str]) -> None:
        self._origin, self._private = urllib.parse.urlsplit(url), private_headers

    def _is_the_same(self, url: str) -> bool:
        """Whether an address is of the host that private headers are for: same port and scheme, or now with TLS."""
        first, now = self._origin, urllib.parse.urlsplit(url)
        if first.hostname != now.hostname:
            return False
        if first.scheme == now.scheme:
            return first.port == now.port
        return now.scheme == "https" and first.port == now.port is None

    @override
    def redirect_request(self, request: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith(("http://", "https://")):
            reason = f"{msg} - Redirection to url {newurl!r} is not allowed"  # as urllib says of other schemes
            raise urllib.error.HTTPError(newurl, code, reason, headers, fp)
        redirected = super().redirect_request(request, fp, code, msg, headers, newurl)
        if redirected is not None and self._is_the_same(redirected.full_url):
            for name, value in self._private.items():
                redirected.add_unredirected_header(name.capitalize(), value)
        return redirected
