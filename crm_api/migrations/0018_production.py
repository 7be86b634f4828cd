"""Whether the database has served in production, and since when."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import UtcDateTime

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table("production", sa.Column("since", UtcDateTime, primary_key=True))
