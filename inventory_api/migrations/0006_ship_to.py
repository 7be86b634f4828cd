"""Where a package goes, and as of when that is known."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("package_requests", sa.Column("ship_to", sa.JSON))
    op.add_column("package_requests", sa.Column("ship_to_as_of", UtcDateTime))
