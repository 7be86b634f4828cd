"""Whether a customer is to get a welcome package, for readers that can't see the feed's events."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "customers",
        sa.Column("welcome", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    # As the event of its creation has told it; a caller's own text has its quotes
    # escaped. The underscore stands for the colon, which would begin a parameter.
    op.execute(
        "UPDATE customers SET welcome = false WHERE uid IN (SELECT subject FROM events"
        " WHERE type = 'customer.created' AND data LIKE '%\"welcome\"_false%')"
    )
