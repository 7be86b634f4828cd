"""How many attempts there were of each outcome, kept so that nobody has to count them."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "attempt_counts",
        sa.Column("outcome", sa.String(20), primary_key=True),
        sa.Column("number", BigInt, nullable=False),
    )
    op.execute(
        "INSERT INTO attempt_counts (outcome, number)"
        " SELECT COALESCE(error_class, 'success'), count(*) FROM attempts"
        " GROUP BY COALESCE(error_class, 'success')"
    )
