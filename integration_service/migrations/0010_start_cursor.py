"""Where the feed stood at a start with now, in place of what the clock said then."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("poller", sa.Column("start_cursor", sa.String(200)))
    op.add_column("poller", sa.Column("newest_at_start", UtcDateTime))
    # Whoever came between the start and what is read by now is in the ledger. So of all others
    # those are from before the start who stand before the latter.
    op.execute(
        "UPDATE poller SET start_cursor = cursor, newest_at_start = started_at"
        " WHERE start_from = 'now'"
    )
    create_reconcile_keys_anew()


def create_reconcile_keys_anew() -> None:
    op.drop_table("reconcile_keys")
    op.create_table(
        "reconcile_keys",
        sa.Column("run_id", BigInt, primary_key=True, autoincrement=False),
        sa.Column("customer_uid", sa.String(64), primary_key=True),
        sa.Column("customers", sa.Integer, nullable=False),
        sa.Column("packages", sa.Integer, nullable=False),
        sa.Column("is_erased", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("customer_number", BigInt),
        sa.Column("is_owed", sa.Boolean, nullable=False),
        sa.Column("is_absent", sa.Boolean, nullable=False, server_default=sa.false()),
    )
