"""Indexes that hold what the dashboard counts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    erased = sa.text("erased_at IS NOT NULL")
    op.create_index(
        "ix_customers_erased", "customers", ["id"], postgresql_where=erased, sqlite_where=erased
    )
    op.create_index("ix_tickets_counts", "tickets", ["status", "priority"])
