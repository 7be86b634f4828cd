"""Imports that came over HTTP, and the rows that each has refused."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "imports",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("welcome", sa.Boolean, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("credential", sa.String(200), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("bytes", BigInt, nullable=False),
        sa.Column("header", sa.JSON, nullable=False),
        sa.Column("rows", BigInt, nullable=False),
        sa.Column("rows_read", BigInt, nullable=False),
        sa.Column("created", BigInt, nullable=False),
        sa.Column("updated", BigInt, nullable=False),
        sa.Column("unchanged", BigInt, nullable=False),
        sa.Column("refused", BigInt, nullable=False),
        sa.Column("first_refused", sa.JSON, nullable=False),
        sa.Column("problem", sa.String(500)),
        sa.Column("beats", BigInt, nullable=False),
        sqlite_autoincrement=True,
    )
    running = sa.text("state = 'running'")
    op.create_index(
        "uq_imports_running",
        "imports",
        ["credential"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_table(
        "import_reports",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("import_id", BigInt, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("rows", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_import_reports_import_id", "import_reports", ["import_id", "id"])
    op.create_index("ix_import_reports_created_at", "import_reports", ["created_at"])
