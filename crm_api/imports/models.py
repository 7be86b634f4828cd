"""The table of imports, and its rows."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import JSON, Boolean, Column, Index, String, Table

from crm_api.import_reports import KEPT
from crm_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"

imports = Table(
    "imports",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("state", String(20), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("welcome", Boolean, nullable=False),
    Column("actor", String(100), nullable=False),
    # Whose it is: a caller has one at a time.
    Column("credential", String(200), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # When it ended, in whichever way.
    Column("finished_at", UtcDateTime),
    Column("bytes", BigInt, nullable=False),
    # The names of the file's columns; all are known ones.
    Column("header", JSON, nullable=False),
    Column("rows", BigInt, nullable=False),
    Column("rows_read", BigInt, nullable=False),
    Column("created", BigInt, nullable=False),
    Column("updated", BigInt, nullable=False),
    Column("unchanged", BigInt, nullable=False),
    Column("refused", BigInt, nullable=False),
    # Lines, columns and reasons, never values: those are in the report alone.
    Column("first_refused", JSON, nullable=False),
    Column("problem", String(500)),
    # Counted up by the process that works on it. One that stands still belongs to a dead process;
    # no clocks are compared.
    Column("beats", BigInt, nullable=False),
    Index("uq_imports_running", "credential", unique=True, info={"where": "state = 'running'"}),
    # Never hand out an id again: the audit names imports by it.
    sqlite_autoincrement=True,
)


class Import(NamedTuple):
    id: int
    state: str
    dry_run: bool
    welcome: bool
    actor: str
    credential: str
    request_id: str
    created_at: datetime
    finished_at: datetime | None
    bytes: int
    header: list[str]
    rows: int
    rows_read: int
    created: int
    updated: int
    unchanged: int
    refused: int
    first_refused: list[dict[str, Any]]
    problem: str | None
    beats: int

    @property
    def packages(self) -> int:
        """How many welcome packages it causes, or would cause."""
        return self.created if self.welcome else 0

    @property
    def report_expires_at(self) -> datetime:
        return self.created_at + KEPT
