"""Tokens as the environment gives them: as text or as SHA-256, and which of them are no secret."""

import hashlib
import re
from functools import cache
from itertools import product

# RFC 6750, section 2.1: what may stand after "Bearer", with a length that bounds the work.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,512}=*")
# A token has no colon, so the two forms can't be confused.
HASHED = re.compile(r"sha256:([0-9A-Fa-f]{64})")
# Shorter ones may be guessed. Random text of this length has 190 bits, a hexadecimal one 128.
SHORTEST = 32

_DEMO_ROLES = ("agent", "admin", "viewer", "clerk", "integration")


def demo_token(role: str) -> str:
    return f"{role}123"


def digest_of(configured: str) -> bytes:
    """Return the SHA-256 of a token that is given in either form."""
    hashed = HASHED.fullmatch(configured)
    if hashed is not None:
        return bytes.fromhex(hashed[1])
    return hashlib.sha256(configured.encode()).digest()


def is_demo(configured: str) -> bool:
    """Tell a demo token of any of the services; they stand in the README, so anyone has them.

    In any letter case: Admin123 is what somebody tries next.
    """
    if HASHED.fullmatch(configured):
        return digest_of(configured) in _demo_digests()
    return configured.lower() in {demo_token(role) for role in _DEMO_ROLES}


def is_short(configured: str) -> bool:
    """Tell a token that is too short. How long a hashed one is can't be known."""
    return not HASHED.fullmatch(configured) and len(configured) < SHORTEST


@cache
def _demo_digests() -> frozenset[bytes]:
    letters = (zip(role, role.upper(), strict=True) for role in _DEMO_ROLES)
    roles = ("".join(chosen) for pairs in letters for chosen in product(*pairs))
    return frozenset(digest_of(demo_token(role)) for role in roles)
