"""Who settled a dead delivery without a package, when, and why."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("dismissed_at", UtcDateTime))
    op.add_column("deliveries", sa.Column("dismissed_by", sa.String(200)))
    op.add_column("deliveries", sa.Column("dismissed_reason", sa.String(500)))
