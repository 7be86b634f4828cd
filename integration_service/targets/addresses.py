"""Which addresses a webhook may go to. An operator's typing error must not open a network to it.

Whatever a name resolves to is checked at each try, since a name's owner can change it at any time.
"""

import asyncio
import re
import socket
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

Address = IPv4Address | IPv6Address

LONGEST_NAME = 253
HIGHEST_PORT = 65535
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}", re.IGNORECASE)
# What the resolver takes for an IPv4 address: 127.1, 0x7f.1, 2130706433.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)

# Written out, since what `ipaddress` calls private differs between versions of Python.
_NEVER = {
    "that of a cloud's metadata service": (
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "fd00:42::42/128",
        "fd00:c1::a9fe:a9fe/128",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
    ),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "reserved": (
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    ),
}
_IF_PRIVATE_ALLOWED = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "fc00::/7",
        "fec0::/10",
    ),
}
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_THIS_NETWORK = IPv4Network("0.0.0.0/8")

Networks = tuple[tuple[str, IPv4Network | IPv6Network], ...]


def _networks(table: dict[str, tuple[str, ...]]) -> Networks:
    return tuple((kind, ip_network(network)) for kind, row in table.items() for network in row)


_NEVER_NETWORKS = _networks(_NEVER)
_PRIVATE_NETWORKS = _networks(_IF_PRIVATE_ALLOWED)


class AddressRefused(Exception):
    """A webhook's name leads to where none may go."""


def checked_url(text: str, *, allow_private: bool) -> httpx.URL:
    """Read a webhook's URL. Raises ValueError, in words that don't show it: it may hold a secret.

    What an address in it leads to is checked here, what a name leads to at each try.
    """
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError("a webhook's URL is malformed") from None
    if url.scheme not in {"http", "https"}:
        raise ValueError("a webhook's URL starts with https:// or http://")
    if url.userinfo:
        raise ValueError("a webhook's URL holds no user name or password; it is signed instead")
    if "#" in text:
        raise ValueError("a webhook's URL has no fragment (#…), which would not be sent")
    if url.port is not None and not 0 < url.port <= HIGHEST_PORT:
        raise ValueError(f"a webhook's port is 1 to {HIGHEST_PORT}")
    _check_host(host_of(url), allow_private=allow_private)
    return url


def _check_host(host: str, *, allow_private: bool) -> None:
    address = _literal(host)
    if address is not None:
        if reason := refusal(address, allow_private=allow_private):
            raise ValueError(f"a webhook's address may not be {reason}")
    elif _NUMERIC.fullmatch(host):
        raise ValueError("a webhook's address is written as four decimal numbers, as in 192.0.2.1")
    elif len(host) > LONGEST_NAME or not _NAME.fullmatch(host):
        raise ValueError("a webhook's URL names no host, or one that is malformed")


def host_of(url: httpx.URL) -> str:
    """Return the name or address, without the dot that may end a name."""
    return url.raw_host.decode("ascii").removesuffix(".")


def host_header_of(url: httpx.URL) -> str:
    host = host_of(url)
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if url.port is None else f"{bracketed}:{url.port}"


async def resolve(url: httpx.URL, *, allow_private: bool) -> list[str]:
    """Look a webhook's name up, once. Returns addresses, of which each may be connected to.

    Raises AddressRefused where one of them is none to go to, and socket.gaierror.
    """
    host = url.raw_host.decode("ascii")  # with its last dot, which keeps search domains out
    if (address := _literal(host_of(url))) is not None:
        found = [str(address)]
    else:
        loop = asyncio.get_running_loop()
        rows = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(row[4][0]) for row in rows))
    for one in found:
        if reason := _refusal_of(one, allow_private=allow_private):
            raise AddressRefused(f"its name leads to {one}, whose address is {reason}")
    return found


# Receivers' names lead to few addresses, and they are judged anew at each try.
@lru_cache(maxsize=1000)
def _refusal_of(address: str, *, allow_private: bool) -> str | None:
    return refusal(ip_address(address), allow_private=allow_private)


def refusal(address: Address, *, allow_private: bool) -> str | None:
    """Say why nothing may be sent to an address; None where it may.

    An address that holds another is judged by that one, to which a gateway would carry it on.
    """
    inner = _embedded(address)
    if inner is not None:
        reasons = (refusal(one, allow_private=allow_private) for one in inner)
        return next(filter(None, reasons), None if inner else "reserved")
    if kind := _kind_in(_NEVER_NETWORKS, address):
        return kind
    if kind := _kind_in(_PRIVATE_NETWORKS, address):
        return None if allow_private else f"{kind} (WEBHOOK_ALLOW_PRIVATE=true allows it)"
    if isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6:
        return "reserved"
    return None


def _kind_in(networks: Networks, address: Address) -> str | None:
    return next((kind for kind, network in networks if address in network), None)


def _embedded(address: Address) -> list[IPv4Address] | None:
    """Return the IPv4 addresses that an IPv6 address stands for; None where it is for itself."""
    if isinstance(address, IPv4Address):
        return None
    if inner := address.ipv4_mapped or address.sixtofour:
        return [inner]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    if address in _NAT64_LOCAL:
        return [one for one in _local_nat64(int(address)) if one not in _THIS_NETWORK]
    return list(address.teredo) if address.teredo else None


def _local_nat64(bits: int) -> Iterator[IPv4Address]:
    """Read what it may stand for: how long its prefix is, only its network knows (RFC 6052)."""
    yield IPv4Address(bits & 0xFFFF_FFFF)
    yield IPv4Address(bits >> 24 & 0xFFFF_FFFF)
    yield IPv4Address((bits >> 64 & 0xFF) << 24 | bits >> 32 & 0xFF_FFFF)
    yield IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)


@lru_cache(maxsize=1000)
def _literal(host: str) -> Address | None:
    if "%" in host:
        return None  # an interface of ours is nobody's address
    try:
        return ip_address(host)
    except ValueError:
        return None
