"""New addresses of customers that Inventory has not been told of yet."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "destinations",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("customer_uid", sa.String(64), nullable=False, unique=True),
        sa.Column("ship_to", sa.JSON),
        sa.Column("as_of", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
