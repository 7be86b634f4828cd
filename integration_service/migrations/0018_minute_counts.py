"""What came of each minute's attempts, counted as they are settled."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import UtcDateTime

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "minute_counts",
        sa.Column("minute_of_day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("route", sa.String(40), primary_key=True),
        sa.Column("minute", UtcDateTime, nullable=False),
        sa.Column("delivered", sa.Integer, nullable=False),
        sa.Column("failed_attempts", sa.Integer, nullable=False),
        sa.Column("slowest_ms", sa.Float),
    )
