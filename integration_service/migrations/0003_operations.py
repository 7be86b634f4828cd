"""Pausing, recovery from a feed that can't be gone on with, and reconciliation."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    add_to_poller()
    op.add_column("links", sa.Column("stands_since", UtcDateTime))
    op.execute("UPDATE links SET stands_since = opened_at")
    op.add_column("deliveries", sa.Column("enqueued_at", UtcDateTime))
    create_reconciliations()


def add_to_poller() -> None:
    zero = sa.text("0")
    op.add_column("poller", sa.Column("started_at", UtcDateTime))
    op.add_column("poller", sa.Column("paused_at", UtcDateTime))
    op.add_column("poller", sa.Column("wake_count", BigInt, nullable=False, server_default=zero))
    op.add_column("poller", sa.Column("repairs", BigInt, nullable=False, server_default=zero))
    op.add_column("poller", sa.Column("recoveries", BigInt, nullable=False, server_default=zero))
    op.add_column("poller", sa.Column("recovered_at", UtcDateTime))
    op.add_column("poller", sa.Column("recovery_reason", sa.String(10)))
    op.add_column("poller", sa.Column("recovery_began_at", UtcDateTime))
    op.add_column("poller", sa.Column("recovery_cursor", sa.String(200)))
    op.add_column("poller", sa.Column("recovery_page", sa.String(200)))
    op.add_column("poller", sa.Column("recovery_read", BigInt, nullable=False, server_default=zero))
    op.add_column("poller", sa.Column("recovery_new", BigInt, nullable=False, server_default=zero))
    # The first start was not noted until now; the first delivery is the closest to it.
    op.execute(
        "UPDATE poller SET started_at ="
        " COALESCE((SELECT min(created_at) FROM deliveries), last_poll_at)"
        " WHERE start_from IS NOT NULL"
    )


def create_reconciliations() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("trigger", sa.String(10), nullable=False),
        sa.Column("repair", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("alive_until", UtcDateTime),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("customers", BigInt, nullable=False),
        sa.Column("packages", BigInt, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("repaired", BigInt, nullable=False),
        sa.Column("error", sa.Text),
        sqlite_autoincrement=True,
    )
    running = sa.text("state = 'running'")
    op.create_index(
        "uq_reconciliations_running",
        "reconciliations",
        ["state"],
        unique=True,
        postgresql_where=running,
        sqlite_where=running,
    )
    op.create_table(
        "reconcile_keys",
        sa.Column("run_id", BigInt, primary_key=True, autoincrement=False),
        sa.Column("customer_uid", sa.String(64), primary_key=True),
        sa.Column("customers", sa.Integer, nullable=False),
        sa.Column("packages", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime),
    )
