"""How far the feed's readers are, so that pruning leaves what they still need."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "feed_readers",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("position", BigInt, nullable=False),
        sa.Column("announced_at", UtcDateTime, nullable=False),
    )
