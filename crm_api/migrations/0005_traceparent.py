"""The span in which an event came about, where it was traced."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("events", sa.Column("traceparent", sa.String(55)))
