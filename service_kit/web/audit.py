"""Who did what, from where: a table in each service's database, and the route that shows it.

An entry is written in the transaction of its change, so neither is there without the other. It
names nothing personal of a customer: a subject is a uid or the like.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import Column, Connection, Index, MetaData, String, Table, select

from service_kit.database.prepared import PreparedInsertMissing
from service_kit.database.pruning import OldRows
from service_kit.database.rows import page_after
from service_kit.database.types import BigInt, UtcDateTime
from service_kit.process import clock
from service_kit.process.logs import current_address, current_request_id
from service_kit.process.retention import rows_kept
from service_kit.web.auth import GuardedRoute, Principal, needs, principal_of
from service_kit.web.dependencies import DatabaseDep, database_of
from service_kit.web.fields import Line
from service_kit.web.paging import CreatedAfter, CreatedBefore, Page, PagingDep, Sort, page_of

CanReadAudit = Annotated[Principal, needs("audit:read")]
# Of a token from the settings: enough to tell two apart, too little to look for the token by it.
_SHOWN_OF_DIGEST = len("sha256:") + 12


class AuditEntry(BaseModel):
    """One act, and who did it."""

    id: int
    at: datetime
    actor: str = Field(max_length=100, description="The caller's name.", examples=["web-shop"])
    actor_id: str | None = Field(
        max_length=200,
        description="Which caller of that name: an issued token by its id, one from the settings "
        "by the start of its SHA-256, a person of an OpenID provider by the subject. Null in "
        "entries older than 0.4.0.",
        examples=["token:1"],
    )
    role: str | None = Field(max_length=20, description="The caller's role.", examples=["agent"])
    address: str | None = Field(
        max_length=45,
        description="Where the request came from; null on the command line.",
        examples=["192.0.2.7"],
    )
    action: str = Field(max_length=40, examples=["customer.created"])
    subject: str = Field(
        description="What was acted on: the uid of a customer or ticket, a token's id, a SKU.",
        examples=["019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"],
    )
    request_id: str = Field(
        max_length=128, description="Of the request; the log's lines of it have the same."
    )


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


class Audit:
    """The audit of one service. Append-only, until its entries are old."""

    def __init__(self, metadata: MetaData, subject_length: int = 64) -> None:
        self.table = Table(
            "audit_entries",
            metadata,
            Column("id", BigInt, primary_key=True),
            Column("at", UtcDateTime, nullable=False),
            Column("actor", String(100), nullable=False),
            Column("actor_id", String(200)),
            Column("role", String(20)),
            Column("address", String(45)),
            Column("action", String(40), nullable=False),
            Column("subject", String(subject_length), nullable=False),
            Column("request_id", String(128), nullable=False),
            Index("ix_audit_entries_subject", "subject", "id"),
            sqlite_autoincrement=True,
        )
        self._add = PreparedInsertMissing(self.table)  # nothing conflicts: no column is unique
        # Each entry is kept for some time. Nothing else ever deletes or changes one.
        old = OldRows(self.table, self.table.c.at)
        self.kept = rows_kept("audit entries", old, lambda settings: settings.retention_audit_days)

    def record(self, db: Connection, action: str, *subjects: str, by: Principal) -> None:
        """Write down, in the transaction of the change, that `by` did this to each subject."""
        self.add(db, self.rows(((action, subject) for subject in subjects), by))

    def rows(self, acts: Iterable[tuple[str, str]], by: Principal) -> list[dict[str, Any]]:
        """Make the rows of acts, each an action and its subject, by one caller in one request."""
        actor_id = by.credential
        if actor_id.startswith("sha256:"):
            actor_id = actor_id[:_SHOWN_OF_DIGEST]
        same = {
            "at": clock.now(),
            "actor": by.name,
            "actor_id": actor_id,
            "role": by.role,
            "address": current_address(),
            "request_id": current_request_id(),
        }
        return [{**same, "action": action, "subject": subject} for action, subject in acts]

    def add(self, db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._add.each(db, rows)

    def page(
        self, db: Connection, filters: Filter, after: int | None, limit: int
    ) -> Page[AuditEntry]:
        """List entries by id, from the one behind `after`."""
        columns = self.table.c
        statement = select(self.table)
        for column in ("actor", "action", "subject", "request_id"):
            if (value := getattr(filters, column)) is not None:
                statement = statement.where(columns[column] == value)
        if filters.created_after is not None:
            statement = statement.where(columns.at > filters.created_after)
        if filters.created_before is not None:
            statement = statement.where(columns.at < filters.created_before)
        statement = page_after(statement, columns.id, after, limit + 1, ascending=filters.ascending)
        found = db.execute(statement).mappings()
        return page_of([AuditEntry.model_validate(row) for row in found], limit, key="id")


async def audit_read(request: Request, audit: Audit, action: str, subject: str) -> None:
    """Write down that the caller reads somebody's data, where AUDIT_READS asks for it."""
    if request.app.state.settings.audit_reads:
        who = principal_of(request)
        await database_of(request).write(audit.record, action, subject, by=who)


def span(ids: Sequence[int]) -> str:
    """Name the rows of a page by their first and last id: who was on it can be told from that."""
    return f"{ids[0]} to {ids[-1]}" if ids else "none"


def audit_router(audit: Audit, actions: Any, path: str) -> APIRouter:
    """Build the route that shows an audit. `actions` is the Literal of the service's actions."""
    router = APIRouter(prefix=path, route_class=GuardedRoute, tags=["audit"])
    filters_of = _filter_by(get_args(actions))

    @router.get("", summary="Read the audit")
    async def list_audit_entries(
        database: DatabaseDep,
        _: CanReadAudit,
        paging: PagingDep,
        filters: Annotated[Filter, Depends(filters_of)],
    ) -> list[AuditEntry]:
        """List who did what, newest last. Each entry was written together with its change.

        It is kept for `RETENTION_AUDIT_DAYS`.
        """
        order = "id" if filters.ascending else "-id"
        run = database.read if filters.is_indexed else database.scan
        page = await run(audit.page, filters, paging.after(order), paging.limit)
        return paging.rows(page, order)

    return router


def _filter_by(actions: Sequence[str]) -> Any:
    def one_of_them(action: str) -> str:
        if action not in actions:
            raise ValueError(f"must be one of {', '.join(actions)}")
        return action

    async def filters_of(
        actor: Annotated[
            Line | None,
            Query(max_length=100, description="The caller's name.", examples=["agent"]),
        ] = None,
        action: Annotated[
            Annotated[str, AfterValidator(one_of_them), Field(json_schema_extra={"enum": actions})]
            | None,
            Query(description="Filter by action.", examples=[actions[0]]),
        ] = None,
        subject: Annotated[
            Line | None,
            Query(max_length=64, description="Filter by subject: a uid, a token's id, a SKU."),
        ] = None,
        request_id: Annotated[
            Line | None,
            Query(
                max_length=128,
                description="Filter by request id; all changes of one import have the same.",
            ),
        ] = None,
        created_after: CreatedAfter = None,
        created_before: CreatedBefore = None,
        sort: Sort = "id",
    ) -> Filter:
        return Filter(
            actor, action, subject, request_id, created_after, created_before, sort == "id"
        )

    return filters_of
