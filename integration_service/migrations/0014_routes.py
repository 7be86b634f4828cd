"""Routes as rows, each of which can be paused; and what is due is found by its route."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import UtcDateTime

revision = "0014"
down_revision = "0013"

DUE = ["route", "next_attempt_at", "id"]
INDEXES = {
    "ix_deliveries_due": "next_attempt_at IS NOT NULL",
    "ix_deliveries_retrying": "next_attempt_at IS NOT NULL AND attempt_count > 0",
}


def upgrade() -> None:
    routes = op.create_table(
        "routes",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("paused_at", UtcDateTime),
    )
    op.bulk_insert(routes, [{"name": "welcome-package"}])
    for name, condition in INDEXES.items():
        where = sa.text(condition)
        op.drop_index(name, "deliveries")
        op.create_index(name, "deliveries", DUE, postgresql_where=where, sqlite_where=where)
