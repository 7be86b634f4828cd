"""What failed before by when it is due, to be found without going through all that is new."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

RETRYING = sa.text("next_attempt_at IS NOT NULL AND attempt_count > 0")


def upgrade() -> None:
    op.create_index(
        "ix_deliveries_retrying",
        "deliveries",
        ["next_attempt_at", "id"],
        postgresql_where=RETRYING,
        sqlite_where=RETRYING,
    )
