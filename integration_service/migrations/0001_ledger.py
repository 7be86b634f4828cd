"""The ledger: the place in the feed, deliveries, their attempts, erasures, and the links."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0001"
down_revision = None

UNFINISHED = sa.text("state IN ('pending', 'retrying')")


def upgrade() -> None:
    create_poller()
    create_deliveries()
    create_erasures()
    create_links()


def create_poller() -> None:
    poller = op.create_table(
        "poller",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lease_holder", sa.String(200)),
        sa.Column("lease_epoch", BigInt, nullable=False),
        sa.Column("lease_until", UtcDateTime),
        sa.Column("start_from", sa.String(10)),
        sa.Column("cursor", sa.String(200)),
        sa.Column("position", BigInt),
        sa.Column("head_position", BigInt),
        sa.Column("feed_state", sa.String(10), nullable=False),
        sa.Column("last_poll_at", UtcDateTime),
        sa.Column("caught_up_at", UtcDateTime),
        sa.Column("last_error", sa.Text),
        sa.Column("last_error_at", UtcDateTime),
    )
    op.bulk_insert(poller, [{"id": 1, "lease_epoch": 0, "feed_state": "running"}])


def create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("customer_uid", sa.String(64), nullable=False, unique=True),
        sa.Column("customer_name", sa.String(200)),
        sa.Column("sequence", BigInt, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempt_count", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", UtcDateTime),
        sa.Column("claimed_epoch", BigInt),
        sa.Column("first_failed_at", UtcDateTime),
        sa.Column("down_seconds_before", sa.Float, nullable=False),
        sa.Column("request_id", sa.String(36)),
        sa.Column("error_class", sa.String(20)),
        sa.Column("error", sa.Text),
        sa.Column("problem", sa.JSON),
        sa.Column("raw", sa.Text),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("delivered_at", UtcDateTime),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["next_attempt_at", "id"],
        postgresql_where=UNFINISHED,
        sqlite_where=UNFINISHED,
    )
    op.create_index("ix_deliveries_state", "deliveries", ["state", "id"])
    op.create_table(
        "attempts",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("delivery_id", BigInt, sa.ForeignKey("deliveries.id"), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("error_class", sa.String(20)),
        sa.Column("error", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attempts_delivery", "attempts", ["delivery_id", "id"])


def create_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("customer_uid", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("done_at", UtcDateTime),
        sqlite_autoincrement=True,
    )
    unfinished = sa.text("done_at IS NULL")
    op.create_index(
        "ix_erasures_due",
        "erasures",
        ["id"],
        postgresql_where=unfinished,
        sqlite_where=unfinished,
    )


def create_links() -> None:
    links = op.create_table(
        "links",
        sa.Column("target", sa.String(20), primary_key=True),
        sa.Column("opened_at", UtcDateTime),
        sa.Column("next_probe_at", UtcDateTime),
        sa.Column("probe_seconds", sa.Float, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("down_seconds", sa.Float, nullable=False),
        sa.Column("error_class", sa.String(20)),
        sa.Column("error", sa.Text),
    )
    op.bulk_insert(
        links,
        [
            {"target": target, "probe_seconds": 0, "failures": 0, "down_seconds": 0}
            for target in ("crm", "inventory")
        ],
    )
