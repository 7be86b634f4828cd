"""Indexes for lists of tickets by their next deadline, by priority and by several statuses."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_index("ix_tickets_status_due", "tickets", ["status", "due_at", "id"])
    op.create_index("ix_tickets_assignee_due", "tickets", ["assignee", "status", "due_at", "id"])
    op.drop_index("ix_tickets_counts", "tickets")
    op.create_index("ix_tickets_counts", "tickets", ["status", "priority", "id"])
