"""Where a registration stood in the feed, also after its event is pruned."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "pruned_registrations",
        sa.Column("subject", sa.String(36), primary_key=True),
        sa.Column("position", BigInt, nullable=False),
    )
    zero = sa.text("0")
    op.add_column(
        "feed_head", sa.Column("traced_from", BigInt, nullable=False, server_default=zero)
    )
    op.execute("UPDATE feed_head SET traced_from = pruned_position")
