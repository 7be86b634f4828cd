"""Idempotency-Key: a caller that got no answer sends the same again, and it happens once.

The first answer is stored in the transaction of its effect: there is never one without the other.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, Concatenate, Generic, ParamSpec, TypeVar

from fastapi import Depends, Header, Request, Response
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    select,
)

from service_kit import clock
from service_kit.auth import Principal
from service_kit.database.types import BigInt, UtcDateTime
from service_kit.problems import Problem

P = ParamSpec("P")
T = TypeVar("T")

KEPT = timedelta(days=7)
# Old answers go a few at a time, with the new ones that come.
_PRUNED_AT_ONCE = 20
_JSON = "application/json"


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key was used with another body."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "idempotency-key-reused"


class StillRunning(Problem):
    """The first request with this Idempotency-Key is still running."""

    status = HTTPStatus.CONFLICT
    slug = "still-running"
    headers = {"Retry-After": "1"}


def idempotency_table(metadata: MetaData) -> Table:
    """Make the table that each service with such routes has."""
    return Table(
        "idempotency_keys",
        metadata,
        Column("id", BigInt, primary_key=True),
        Column("caller", String(200), nullable=False),
        Column("route", String(200), nullable=False),
        Column("key", String(200), nullable=False),
        Column("fingerprint", String(64), nullable=False),
        Column("status", Integer, nullable=False),
        Column("headers", JSON, nullable=False),
        Column("body", Text, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        UniqueConstraint("caller", "route", "key", name="uq_idempotency_keys"),
        Index("ix_idempotency_keys_created_at", "created_at"),
        sqlite_autoincrement=True,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told: a status, JSON, and headers besides."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        return Response(self.body, self.status, dict(self.headers), media_type=_JSON)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """An answer, and what the work returned; None where the answer is an old one."""

    answer: Answer
    result: T | None


@dataclass(frozen=True, slots=True)
class Once:
    """What identifies a call: the caller, the route, the key it chose, and a print of the body."""

    route: str
    key: str | None
    fingerprint: str

    def around(
        self,
        table: Table,
        who: Principal,
        work: Callable[Concatenate[Connection, P], T],
        answer: Callable[[T], Answer],
    ) -> Callable[Concatenate[Connection, P], Outcome[T]]:
        """Make the work that does this one once for its key, or as often as it runs without one."""

        def run(db: Connection, /, *args: P.args, **kwargs: P.kwargs) -> Outcome[T]:
            if self.key is None:
                result = work(db, *args, **kwargs)
                return Outcome(answer(result), result)
            identity = {"caller": f"{who.role}:{who.name}", "route": self.route, "key": self.key}
            if (stored := _find(db, table, identity, self.fingerprint)) is not None:
                return Outcome(stored, None)
            result = work(db, *args, **kwargs)
            told = answer(result)
            _keep(db, table, {**identity, "fingerprint": self.fingerprint}, told)
            return Outcome(told, result)

        return run


async def _once(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=200,
            pattern=r"^[\x21-\x7e]+$",
            description="Any text of your choice; the same again answers as the first time did.",
        ),
    ] = None,
) -> Once:
    fingerprint = ""
    if idempotency_key is not None:
        fingerprint = hashlib.sha256(await request.body()).hexdigest()
    return Once(request.scope["path"], idempotency_key, fingerprint)


OnceDep = Annotated[Once, Depends(_once)]


def _find(
    db: Connection, table: Table, identity: Mapping[str, str], fingerprint: str
) -> Answer | None:
    _enter(db, identity)
    statement = select(table).where(*(table.c[name] == value for name, value in identity.items()))
    row = db.execute(statement).one_or_none()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key was used with another body.")
    return Answer(row.status, row.body, {**row.headers, "Idempotent-Replayed": "true"})


def _enter(db: Connection, identity: Mapping[str, str]) -> None:
    """Let one transaction at a time use this key; on SQLite there is one at a time anyway."""
    if db.dialect.name != "postgresql":
        return
    digest = hashlib.sha256(repr(sorted(identity.items())).encode()).digest()
    number = int.from_bytes(digest[:8], signed=True)
    lock = select(func.pg_try_advisory_xact_lock(bindparam("number", type_=BigInt)))
    if not db.execute(lock, {"number": number}).scalar_one():
        raise StillRunning("The first request with this Idempotency-Key is still running.")


def _keep(db: Connection, table: Table, identity: Mapping[str, Any], told: Answer) -> None:
    now = clock.now()
    row = {**identity, "status": told.status, "headers": dict(told.headers), "body": told.body}
    db.execute(insert(table), {**row, "created_at": now})
    old = select(table.c.id).where(table.c.created_at < now - KEPT).limit(_PRUNED_AT_ONCE)
    db.execute(delete(table).where(table.c.id.in_(old)))
