"""For how long deliveries were tried, in place of for how long they could not be; and leases."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("ALTER TABLE links RENAME COLUMN down_seconds TO tried_seconds")
    op.execute("ALTER TABLE deliveries RENAME COLUMN down_seconds_before TO tried_seconds_before")
    # How long a delivery was tried until now is not known, so what fails begins anew.
    op.execute("UPDATE links SET tried_seconds = 0")
    op.execute("UPDATE deliveries SET tried_seconds_before = 0 WHERE tried_seconds_before <> 0")
    op.add_column("links", sa.Column("succeeded_seconds", sa.Float))
    op.drop_column("links", "stands_since")
    op.add_column("poller", sa.Column("lease_seconds", sa.Float))
