"""Customers who were erased, and cancelled packages whose boxes are to be emptied."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "erased_customers",
        sa.Column("customer_id", sa.String(64), primary_key=True),
        sa.Column("erased_at", UtcDateTime, nullable=False),
    )
    op.execute(
        "INSERT INTO erased_customers (customer_id, erased_at)"
        " SELECT customer_id, min(erased_at) FROM package_requests"
        " WHERE erased_at IS NOT NULL GROUP BY customer_id"
    )
    op.add_column(
        "package_requests",
        sa.Column("to_unpack", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index(
        "ix_package_requests_to_unpack",
        "package_requests",
        ["id"],
        postgresql_where=sa.text("to_unpack"),
        sqlite_where=sa.text("to_unpack"),
    )
