"""Sessions of the console, and where they are kept.

A browser has a cookie of 256 random bits. The store has the cookie's SHA-256 and the token,
encrypted with a key that is derived from the cookie: a copy of the database opens nothing.
"""

import hashlib
import json
import os
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from console.identity import Identity
from service_kit.process import clock

LONGEST = timedelta(hours=12)
_NONCE = 12


class StoredSession(Protocol):
    """A session as the store has it."""

    @property
    def key(self) -> bytes: ...

    @property
    def owner(self) -> str: ...

    @property
    def sealed(self) -> bytes: ...

    @property
    def expires_at(self) -> datetime: ...


class SessionStore(Protocol):
    """Keeps sessions; whoever mounts the console brings one."""

    async def add(
        self, *, key: bytes, owner: str, role: str, sealed: bytes, expires_at: datetime
    ) -> None:
        """Keep a session. `owner` and `role` are those of its token."""

    async def find(self, key: bytes) -> StoredSession | None:
        """Look up a session that has not expired."""

    async def remove(self, key: bytes) -> None:
        """End a session, if there is one."""

    async def remove_all_of(self, owner: str) -> None:
        """End every session of this owner."""


class Links(Protocol):
    """The one-time links by which somebody without a token signs in."""

    async def role_of(self, secret: str) -> str | None:
        """Return which role a link is for; None for one that is unknown, spent or too old."""

    async def spend(self, secret: str) -> str | None:
        """Return a new token for a link, this once; None for one that `role_of` does not know."""


class Session(NamedTuple):
    """A session that its cookie has opened.

    `home` is the service that the token was checked with, which is asked again at each request.
    """

    key: bytes
    owner: str
    token: str
    home: str
    expires_at: datetime


class NewSession(NamedTuple):
    """What is stored of a new session."""

    key: bytes
    owner: str
    role: str
    sealed: bytes
    expires_at: datetime


def new_session(token: str, who: Identity) -> tuple[str, NewSession]:
    """Make a session that ends with its token, and after twelve hours at most.

    Returns the cookie and what is stored.
    """
    cookie = secrets.token_urlsafe(32)
    key, nonce = key_of(cookie), os.urandom(_NONCE)
    plain = json.dumps({"token": token, "home": who.home}).encode()
    sealed = nonce + _cipher(cookie).encrypt(nonce, plain, key)
    end = clock.now() + LONGEST
    if who.expires_at is not None:
        end = min(end, who.expires_at)
    return cookie, NewSession(key, who.name, who.role, sealed, end)


def open_session(cookie: str, stored: StoredSession) -> Session | None:
    """Decrypt what is stored; None where it is not what this cookie was given for."""
    nonce, encrypted = stored.sealed[:_NONCE], stored.sealed[_NONCE:]
    try:
        plain = json.loads(_cipher(cookie).decrypt(nonce, encrypted, stored.key))
    except InvalidTag:
        return None
    return Session(stored.key, stored.owner, plain["token"], plain["home"], stored.expires_at)


def key_of(cookie: str) -> bytes:
    """Return what the store knows a session by."""
    return hashlib.sha256(cookie.encode()).digest()


def _cipher(cookie: str) -> AESGCM:
    derive = HKDF(SHA256(), length=32, salt=None, info=b"crmsys console session")
    return AESGCM(derive.derive(cookie.encode()))
