"""The audit's statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from crm_api.audit.models import audit_entries
from crm_api.audit.schemas import AuditEntry
from service_kit.database.prepared import PreparedInsertMissing
from service_kit.database.rows import page_after
from service_kit.web.paging import Page, page_of

_ADD = PreparedInsertMissing(audit_entries)  # nothing conflicts: no column is unique


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries a list shows. `ascending` is newest last."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    request_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    ascending: bool = True

    @property
    def is_indexed(self) -> bool:
        """Return whether a page costs no more than its own rows, however many there are."""
        return self == Filter(subject=self.subject, ascending=self.ascending)


def add(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    _ADD.each(db, rows)


def page(db: Connection, filters: Filter, after: int | None, limit: int) -> Page[AuditEntry]:
    """List entries by id, from the one behind `after`."""
    statement = select(audit_entries)
    for column in ("actor", "action", "subject", "request_id"):
        if (value := getattr(filters, column)) is not None:
            statement = statement.where(audit_entries.c[column] == value)
    if filters.created_after is not None:
        statement = statement.where(audit_entries.c.at > filters.created_after)
    if filters.created_before is not None:
        statement = statement.where(audit_entries.c.at < filters.created_before)
    key = audit_entries.c.id
    statement = page_after(statement, key, after, limit + 1, ascending=filters.ascending)
    found = db.execute(statement).mappings()
    return page_of([AuditEntry.model_validate(row) for row in found], limit, key="id")
