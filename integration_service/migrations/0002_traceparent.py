"""The span in which a customer came about, where it was traced."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("traceparent", sa.String(55)))
