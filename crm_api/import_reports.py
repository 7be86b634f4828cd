"""The rows that imports have refused, kept for some days to be corrected and sent again.

They are whatever stood in a file: nobody can tell for sure whom a row is about that has no valid
address. So the erasure of one customer erases all reports; the files are with those who sent them.
"""

from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, Index, Table, Text, bindparam, delete, insert, select
from sqlalchemy import update as update_of

from crm_api.tables import metadata
from service_kit.database.personal import PERSONAL
from service_kit.database.types import BigInt, UtcDateTime

KEPT = timedelta(days=7)
# So that no transaction is long.
PRUNED_AT_ONCE = 50

import_reports = Table(
    "import_reports",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("import_id", BigInt, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Lines of CSV, of one chunk of the file. Null once they are erased: the report has a gap then.
    Column("rows", Text, info=PERSONAL),
    Index("ix_import_reports_import_id", "import_id", "id"),
    Index("ix_import_reports_created_at", "created_at"),
    sqlite_autoincrement=True,
)

_parts = import_reports.c
_ADD = insert(import_reports)
_NEXT = (
    select(_parts.id, _parts.rows)
    .where(_parts.import_id == bindparam("of_import"), _parts.id > bindparam("after"))
    .order_by(_parts.id)
    .limit(1)
)
_GAPS = (
    select(_parts.id)
    .where(_parts.import_id == bindparam("of_import"), _parts.rows.is_(None))
    .limit(1)
)
_OLD = select(_parts.id).where(_parts.created_at < bindparam("before")).limit(PRUNED_AT_ONCE)
_PRUNE = delete(import_reports).where(_parts.id.in_(_OLD))
_FORGET = update_of(import_reports).where(_parts.rows.is_not(None)).values(rows=None)


def add_part(db: Connection, import_id: int, rows: str, now: datetime) -> None:
    db.execute(_ADD, {"import_id": import_id, "rows": rows, "created_at": now})


def next_part(db: Connection, import_id: int, after: int) -> tuple[int, str | None] | None:
    """Read the part behind another one: its id, and its lines; None where there is no further."""
    found = db.execute(_NEXT, {"of_import": import_id, "after": after}).one_or_none()
    return None if found is None else (found.id, found.rows)


def has_gap(db: Connection, import_id: int) -> bool:
    """Return whether a part of this report was erased."""
    return db.execute(_GAPS, {"of_import": import_id}).first() is not None


def is_any_older(db: Connection, before: datetime) -> bool:
    return db.execute(_OLD, {"before": before}).first() is not None


def prune(db: Connection, before: datetime) -> int:
    """Delete some of the parts from before an instant. Returns how many."""
    return db.execute(_PRUNE, {"before": before}).rowcount


def forget(db: Connection) -> None:
    """Erase the rows of all reports, since any of them may be about the person to be erased."""
    db.execute(_FORGET)
