"""The table of tokens."""

from sqlalchemy import JSON, Column, Index, LargeBinary, String, Table

from crm_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

tokens = Table(
    "tokens",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("role", String(20), nullable=False),
    # A part of the role's scopes; null for all of them, those of later releases included.
    Column("scopes", JSON(none_as_null=True)),
    # How it begins, so that its owner can tell it from others.
    Column("prefix", String(12), nullable=False),
    # Its SHA-256. The token itself is nowhere.
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    # To the minute or so, which is what it costs little to know.
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    # The revoked ones as well: the audit names them by it.
    Index("uq_tokens_name", "name", unique=True),
    # Never hand out an id again: the audit names tokens by it.
    sqlite_autoincrement=True,
)
