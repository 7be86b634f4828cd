"""The one table of a console that runs by itself, and its rows."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, Index, LargeBinary, MetaData, String, Table

from service_kit.database.types import BigInt, UtcDateTime

metadata = MetaData()
sessions = Table(
    "console_sessions",
    metadata,
    Column("id", BigInt, primary_key=True),
    # The SHA-256 of the browser's cookie, which is nowhere here.
    Column("key", LargeBinary(32), nullable=False, unique=True),
    Column("owner", String(200), nullable=False),
    # The token, encrypted with a key that is derived from the cookie.
    Column("sealed", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_console_sessions_owner", "owner"),
    Index("ix_console_sessions_expires_at", "expires_at"),
    sqlite_autoincrement=True,
)


class Session(NamedTuple):
    """A row of the sessions."""

    id: int
    key: bytes
    owner: str
    sealed: bytes
    expires_at: datetime
