"""Whose address it is that a request or a connection comes from."""

import ipaddress
from functools import lru_cache

REMEMBERED = 20_000


@lru_cache(REMEMBERED)
def client_of(host: str) -> str:
    """Return the address; of IPv6 the /64 network, which one client has as a whole.

    What a proxy forwards may be no address at all: all such clients count as one.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
