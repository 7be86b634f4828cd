"""Customers, and the feed of their changes."""

import secrets

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "customers",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("uid", sa.String(36), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("email_key", sa.String(320), nullable=False, unique=True),
        sa.Column("company", sa.String(200)),
        sa.Column("phone", sa.String(50)),
        sa.Column("external_ref", sa.String(200), unique=True),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("erased_at", UtcDateTime),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "events",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(36), nullable=False),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("position", BigInt),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_events_position", "events", ["position"], unique=True)
    op.create_index(
        "ix_events_unnumbered",
        "events",
        ["id"],
        postgresql_where=sa.text("position IS NULL"),
        sqlite_where=sa.text("position IS NULL"),
    )
    op.create_index("ix_events_subject", "events", ["subject", "id"])
    head = op.create_table(
        "feed_head",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.String(16), nullable=False),
        sa.Column("last_position", BigInt, nullable=False),
        sa.Column("pruned_position", BigInt, nullable=False),
    )
    # Random, so that a cursor of one database is never taken for one of another.
    op.bulk_insert(
        head,
        [{"id": 1, "epoch": secrets.token_hex(8), "last_position": 0, "pruned_position": 0}],
    )
