"""A delivery is identified by its route, its subject and which occurrence it is."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0011"
down_revision = "0010"

UNFINISHED = sa.text("next_attempt_at IS NOT NULL")
RETRYING = sa.text("next_attempt_at IS NOT NULL AND attempt_count > 0")
IDENTITY = ("subject", "route", "occurrence")


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        rebuild()
        return
    op.alter_column("deliveries", "customer_uid", new_column_name="subject")
    for column in new_columns():
        op.add_column("deliveries", column)
    op.drop_constraint("deliveries_customer_uid_key", "deliveries")
    op.create_unique_constraint("uq_deliveries_identity", "deliveries", IDENTITY)


def new_columns() -> list[sa.Column[str] | sa.Column[int]]:
    return [
        sa.Column("route", sa.String(40), nullable=False, server_default="welcome-package"),
        sa.Column("occurrence", sa.Integer, nullable=False, server_default=sa.text("1")),
    ]


def rebuild() -> None:
    """Copy both tables, since SQLite can't drop a constraint, nor a table that another names."""
    create_deliveries()
    op.execute(
        f"INSERT INTO new_deliveries (subject, {KEPT}) SELECT customer_uid, {KEPT} FROM deliveries"  # noqa: S608 (both are above)
    )
    op.create_table(
        "new_attempts",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("delivery_id", BigInt, sa.ForeignKey("new_deliveries.id"), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("error_class", sa.String(20)),
        sa.Column("error", sa.Text),
        sqlite_autoincrement=True,
    )
    op.execute(
        "INSERT INTO new_attempts (id, delivery_id, at, status, duration_ms, error_class, error)"
        " SELECT id, delivery_id, at, status, duration_ms, error_class, error FROM attempts"
    )
    for name in ("attempts", "deliveries"):
        op.drop_table(name)
    for name in ("deliveries", "attempts"):
        op.rename_table(f"new_{name}", name)
    due = ["next_attempt_at", "id"]
    op.create_index("ix_deliveries_due", "deliveries", due, sqlite_where=UNFINISHED)
    op.create_index("ix_deliveries_retrying", "deliveries", due, sqlite_where=RETRYING)
    op.create_index("ix_deliveries_state", "deliveries", ["state", "id"])
    op.create_index("ix_attempts_delivery", "attempts", ["delivery_id", "id"])


KEPT = (
    "id, customer_name, sequence, state, attempt_count, next_attempt_at, claimed_epoch,"
    " never_claimed, first_failed_at, tried_seconds_before, request_id, error_class, error,"
    " problem, raw, traceparent, created_at, updated_at, delivered_at, skip_reason, enqueued_at,"
    " dismissed_at, dismissed_by, dismissed_reason"
)


def create_deliveries() -> None:
    op.create_table(
        "new_deliveries",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("subject", sa.String(64), nullable=False),
        *new_columns(),
        sa.Column("customer_name", sa.String(200)),
        sa.Column("sequence", BigInt, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempt_count", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", UtcDateTime),
        sa.Column("claimed_epoch", BigInt),
        sa.Column("never_claimed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("first_failed_at", UtcDateTime),
        sa.Column("tried_seconds_before", sa.Float, nullable=False),
        sa.Column("request_id", sa.String(36)),
        sa.Column("error_class", sa.String(20)),
        sa.Column("error", sa.Text),
        sa.Column("problem", sa.JSON),
        sa.Column("raw", sa.Text),
        sa.Column("traceparent", sa.String(55)),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("delivered_at", UtcDateTime),
        sa.Column("skip_reason", sa.String(20)),
        sa.Column("enqueued_at", UtcDateTime),
        sa.Column("dismissed_at", UtcDateTime),
        sa.Column("dismissed_by", sa.String(200)),
        sa.Column("dismissed_reason", sa.String(500)),
        sa.UniqueConstraint(*IDENTITY, name="uq_deliveries_identity"),
        sqlite_autoincrement=True,
    )
