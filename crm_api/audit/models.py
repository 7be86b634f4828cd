"""The table of the audit."""

from sqlalchemy import Column, Index, String, Table

from crm_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

# Append-only, and nothing personal: a subject is named by its uid alone.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(36), nullable=False),
    Column("request_id", String(128), nullable=False),
    Index("ix_audit_entries_subject", "subject", "id"),
    sqlite_autoincrement=True,
)
