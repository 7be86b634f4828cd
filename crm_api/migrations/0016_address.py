"""The postal address of a customer."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("customers", sa.Column("address", sa.JSON))
