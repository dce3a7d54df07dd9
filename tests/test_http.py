"""Which addresses are public, range by range, and how an address is asked for."""

from __future__ import annotations

import ipaddress
import socket
import urllib.error
from collections.abc import Iterator

import pytest
from servers import Handler, serve

from pretrained_cnn._http import NotPublicError, connect_public, is_public, open_url

NOT_PUBLIC = {
    "this network": ("0.0.0.0", "0.255.255.255"),
    "private use, 10/8": ("10.0.0.0", "10.255.255.255"),
    "shared by providers": ("100.64.0.0", "100.127.255.255"),
    "loopback": ("127.0.0.0", "127.255.255.255"),
    "link-local": ("169.254.0.0", "169.254.255.255"),
    "cloud metadata": ("169.254.169.254", "169.254.170.2"),
    "private use, 172.16/12": ("172.16.0.0", "172.31.255.255"),
    "protocol assignments": ("192.0.0.0", "192.0.0.192"),
    "documentation 1": ("192.0.2.0", "192.0.2.255"),
    "6to4 relays": ("192.88.99.0", "192.88.99.255"),
    "private use, 192.168/16": ("192.168.0.0", "192.168.255.255"),
    "benchmarking": ("198.18.0.0", "198.19.255.255"),
    "documentation 2": ("198.51.100.0", "198.51.100.255"),
    "documentation 3": ("203.0.113.0", "203.0.113.255"),
    "multicast": ("224.0.0.0", "239.255.255.255"),
    "reserved and broadcast": ("240.0.0.0", "255.255.255.255"),
    "platform of Azure": ("168.63.129.16",),
    "unspecified, loopback": ("::", "::1"),
    "IPv4-compatible": ("::10.0.0.1", "::8.8.8.8", "::ffff:ffff"),
    "IPv4-mapped": ("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16"),
    "IPv4-translated": ("::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8"),
    "NAT64": ("64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::224.0.0.1"),
    "local NAT64": ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:8.8.8.8"),
    "discard only": ("100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::"),
    "Teredo": ("2001::", "2001:0:ffff::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    "other protocol assignments": ("2001:1::1", "2001:2::", "2001:10::", "2001:20::", "2001:1ff:ffff::"),
    "documentation, IPv6": ("2001:db8::", "2001:db8:ffff::1", "3fff::", "3fff:fff::1"),
    "6to4": ("2002::", "2002:a00:1::", "2002:a9fe:a9fe::1", "2002:ffff:ffff::"),
    "segment routing": ("5f00::", "5f00:ffff::1"),
    "unassigned": ("4000::1", "1000::1", "a000::1", "fe00::1"),
    "unique local": ("fc00::", "fd00:ec2::254", "fdff:ffff::1"),
    "link-local, IPv6": ("fe80::", "febf:ffff::1"),
    "site-local": ("fec0::", "feff:ffff::1"),
    "multicast, IPv6": ("ff00::", "ff02::1", "ffff::1"),
    "ISATAP": ("2a00:1450::5efe:10.0.0.1", "2a00:1450::200:5efe:10.0.0.1"),
}

PUBLIC = (
    *(
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
    ),
    *("169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0"),
    *("198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15", "168.63.129.17"),
    *("2001:200::1", "2001:4860:4860::8888", "2a00:1450::1", "2606:4700::1111", "2003::1", "3ffe::1"),
    *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
)


@pytest.mark.parametrize("network", NOT_PUBLIC)
def test_addresses_that_are_not_public(network: str) -> None:
    for address in NOT_PUBLIC[network]:
        assert not is_public(ipaddress.ip_address(address)), address


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("first", ["93.184.216.34", "10.0.0.1"])
def test_one_private_address_among_public_ones_is_not_connected_to(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = []

    def refuse(_: socket.socket, target: tuple[str, int]) -> None:
        connected.append(target[0])
        raise ConnectionRefusedError

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in (first, "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(NotPublicError, match=r"^a\.example is at 10\.0\.0\.1, which is not a public address$"):
        connect_public(("a.example", 80))
    assert "10.0.0.1" not in connected


class Echo(Handler):
    """Answers with the path that was asked for, or redirects to what stands behind ``/to/``."""

    def get(self) -> None:
        if self.path.startswith("/to/"):
            self.send(status=302, Location=self.path.removeprefix("/to/"))
        else:
            self.send(self.path.encode())


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve(Echo) as running:
        yield running.url


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/a b.png", "/a%20b.png"),
        ("/Käse.png", "/K%C3%A4se.png"),
        ("/a%20b.png?x=1&y=%41#part", "/a%20b.png?x=1&y=%41"),
        ("/猫?q=猫", "/%E7%8C%AB?q=%E7%8C%AB"),
        ("/w(1)/@v1;a=b,c!~'*.png", "/w(1)/@v1;a=b,c!~'*.png"),
    ],
)
def test_what_an_address_cannot_have_is_quoted(server: str, path: str, asked: str) -> None:
    with open_url(server + path, timeout=5) as response:
        assert response.read().decode() == asked


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,a"])
def test_a_redirect_to_another_scheme_is_not_followed(server: str, target: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match=f"302: Found - Redirection to url '{target}.* is not") as caught:
        open_url(f"{server}/to/{target}", timeout=5)
    caught.value.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/hostname", "unknown url type: file"),
        ("ftp://127.0.0.1/a", "unknown url type: ftp"),
        ("http://user:password@127.0.0.1/a", "a user's name and password is not supported"),
        ("http://127.0.0.1:99999/a", "Port out of range 0-65535"),
        ("http://127.0.0.1:0/a", "there is no port 0"),
    ],
)
def test_an_address_that_cannot_be_asked_for(url: str, message: str) -> None:
    with pytest.raises((OSError, ValueError), match=message):
        open_url(url, timeout=5)
