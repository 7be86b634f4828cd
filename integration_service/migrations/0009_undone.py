"""Erasures that Inventory applies for ever, and deliveries that are undone or never sent."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    # Deliveries that are there already may all have been claimed, which false says.
    op.add_column(
        "deliveries",
        sa.Column("never_claimed", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column("deliveries", sa.Column("skip_reason", sa.String(20)))
    op.execute(
        "UPDATE deliveries SET skip_reason ="
        " CASE WHEN dismissed_at IS NULL THEN 'unwanted' ELSE 'dismissed' END"
        " WHERE state = 'skipped'"
    )
    op.add_column("erasures", sa.Column("customer_number", BigInt))
    # Inventory has only blanked names until now: each erasure is applied once more.
    op.execute("UPDATE erasures SET done_at = NULL")
    op.execute(
        "UPDATE deliveries SET next_attempt_at = NULL"
        " WHERE next_attempt_at IS NOT NULL"
        " AND customer_uid IN (SELECT customer_uid FROM erasures)"
    )
