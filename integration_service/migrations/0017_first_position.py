"""A route remembers behind which position it has begun to read the feed."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("routes", sa.Column("first_position", BigInt))
