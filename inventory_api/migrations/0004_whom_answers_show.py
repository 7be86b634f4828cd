"""Whom stored answers show, so that an erasure finds them.

What was stored before says neither that nor by which token it was asked for, so it is of no more
use: no key of before is found again, and an erasure would leave what its answer shows.
"""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("DELETE FROM idempotency_keys")
    op.create_table(
        "idempotency_subjects",
        sa.Column(
            "key_id",
            BigInt,
            sa.ForeignKey("idempotency_keys.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("item", sa.Integer),
    )
    for column in ("key_id", "subject"):
        op.create_index(f"ix_idempotency_subjects_{column}", "idempotency_subjects", [column])
