"""The tables of sessions and links."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, Index, LargeBinary, String, Table

from crm_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

sessions = Table(
    "console_sessions",
    metadata,
    Column("id", BigInt, primary_key=True),
    # The SHA-256 of the browser's cookie, which is nowhere here.
    Column("key", LargeBinary(32), nullable=False, unique=True),
    Column("owner", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    # The token, encrypted with a key that is derived from the cookie.
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_console_sessions_owner", "owner"),
    Index("ix_console_sessions_expires_at", "expires_at"),
    # Never hand out an id again: the audit names sessions by it.
    sqlite_autoincrement=True,
)
links = Table(
    "console_links",
    metadata,
    Column("id", BigInt, primary_key=True),
    # The SHA-256 of the link's secret part.
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("role", String(20), nullable=False),
    # What the token will be called.
    Column("name", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)


class Session(NamedTuple):
    """A row of the sessions."""

    id: int
    key: bytes
    owner: str
    role: str
    sealed: bytes
    created_at: datetime
    expires_at: datetime


class Link(NamedTuple):
    """A row of the links: what it gives is a token with this role, under this name."""

    id: int
    digest: bytes
    role: str
    name: str
    created_at: datetime
    expires_at: datetime
