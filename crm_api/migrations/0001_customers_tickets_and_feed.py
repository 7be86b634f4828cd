"""Customers, tickets, the feed of their changes, and idempotency keys."""

import secrets

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_customers()
    create_feed()
    create_tickets()
    create_idempotency_keys()


def create_customers() -> None:
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


def create_feed() -> None:
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


def create_tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("uid", sa.String(36), nullable=False, unique=True),
        sa.Column("customer_id", BigInt, sa.ForeignKey("customers.id"), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("priority", sa.String(10), nullable=False),
        sa.Column("assignee", sa.String(200)),
        sa.Column("follow_up_of", BigInt, sa.ForeignKey("tickets.id")),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("resolved_at", UtcDateTime),
        sa.Column("closed_at", UtcDateTime),
        sa.Column("due_at", UtcDateTime),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tickets_customer", "tickets", ["customer_id", "id"])
    op.create_index("ix_tickets_status", "tickets", ["status", "id"])
    op.create_index("ix_tickets_assignee", "tickets", ["assignee", "id"])
    op.create_index("ix_tickets_due", "tickets", ["due_at"])
    op.create_table(
        "ticket_tags",
        sa.Column("ticket_id", BigInt, sa.ForeignKey("tickets.id"), primary_key=True),
        sa.Column("tag", sa.String(50), primary_key=True),
    )
    op.create_index("ix_ticket_tags_tag", "ticket_tags", ["tag", "ticket_id"])
    op.create_table(
        "notes",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("ticket_id", BigInt, sa.ForeignKey("tickets.id"), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("visibility", sa.String(10), nullable=False),
        sa.Column("author_kind", sa.String(10), nullable=False),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notes_ticket", "notes", ["ticket_id", "id"])
    op.create_table(
        "ticket_history",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("ticket_id", BigInt, sa.ForeignKey("tickets.id"), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("field", sa.String(20), nullable=False),
        sa.Column("old", sa.Text),
        sa.Column("new", sa.Text),
        sa.Column("request_id", sa.String(128), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ticket_history_ticket", "ticket_history", ["ticket_id", "id"])


def create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("caller", sa.String(200), nullable=False),
        sa.Column("route", sa.String(200), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("caller", "route", "key", name="uq_idempotency_keys"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
