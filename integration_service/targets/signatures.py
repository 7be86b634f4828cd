"""Signatures of webhooks, as of Standard Webhooks: who has the secret can tell that it is ours."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
SHORTEST_KEY = 24
LONGEST_KEY = 64


def key_of(secret: str) -> bytes:
    """Read a secret. Raises ValueError, in words that don't show it, for one that is malformed."""
    if not secret.startswith(PREFIX):
        raise ValueError(f"a webhook secret starts with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a webhook secret is {PREFIX} and base64") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ValueError(
            f"a webhook secret holds {SHORTEST_KEY} to {LONGEST_KEY} bytes, not {len(key)}"
        )
    return key


def sign(keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """Sign with each key: while secrets are rotated, a receiver may know either."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
