"""Which caller of a name it was, with which role, and from where."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("audit_entries", sa.Column("actor_id", sa.String(200)))
    op.add_column("audit_entries", sa.Column("role", sa.String(20)))
    op.add_column("audit_entries", sa.Column("address", sa.String(45)))
