"""What a token looks like: a prefix that scanners know, 256 random bits, a checksum."""

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "crm_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
# 62 ** 43 is a little more than 2 ** 256; 62 ** 6 is more than a CRC-32 has values.
_RANDOM = 43
_CHECKSUM = 6
_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}")
# How much of a token is shown to tell it from others; 220 unknown bits are left.
_SHOWN = len(PREFIX) + 6


def mint() -> str:
    """Make a token that nobody can guess."""
    text = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return text + _checksum(text)


def is_wellformed(token: str) -> bool:
    """Check by the text alone whether this can be one of ours: a typing error or a guess is not."""
    return bool(_SHAPE.fullmatch(token)) and _checksum(token[:-_CHECKSUM]) == token[-_CHECKSUM:]


def visible_prefix(token: str) -> str:
    return token[:_SHOWN]


def digest(token: str) -> bytes:
    """Hash a token for storage; for 256 random bits a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def _checksum(text: str) -> str:
    rest, letters = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        rest, place = divmod(rest, len(_ALPHABET))
        letters = _ALPHABET[place] + letters
    return letters
