"""An index of who waits for stock."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index(
        "ix_package_requests_waiting",
        "package_requests",
        ["kit_id", "id"],
        postgresql_where=sa.text("status = 'backordered'"),
        sqlite_where=sa.text("status = 'backordered'"),
    )
