"""The table of tokens, and its rows."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, LargeBinary, String, Table

from crm_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

tokens = Table(
    "tokens",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("role", String(20), nullable=False),
    # How it begins, so that its owner can tell it from others.
    Column("prefix", String(12), nullable=False),
    # Its SHA-256. The token itself is nowhere.
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    # To the minute or so, which is what it costs little to know.
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    # Never hand out an id again: the audit names tokens by it.
    sqlite_autoincrement=True,
)


class Token(NamedTuple):
    id: int
    name: str
    role: str
    prefix: str
    digest: bytes
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
