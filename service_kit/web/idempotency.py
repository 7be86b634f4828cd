"""Idempotency-Key: a caller that got no answer repeats the request, and it happens once.

The first answer is stored in the transaction of its effect: there is never one without the other.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import groupby
from operator import attrgetter
from typing import Annotated, Any, Concatenate, Generic, ParamSpec, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic_core import from_json, to_json
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from service_kit.database import Database
from service_kit.database.types import BigInt, UtcDateTime
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.process.retention import Kept
from service_kit.web.auth import principal_of

P = ParamSpec("P")
T = TypeVar("T")

KEPT = timedelta(days=7)
# A few old answers are deleted with each new one: that of a batch has many rows.
_PRUNED_AT_ONCE = 5
# The timer's share of each transaction: the answer to a batch has up to 500 subjects.
_SWEPT_AT_ONCE = 50
# Clocks of processes may differ by this much.
_SKEW = timedelta(minutes=1)
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


class ReplayErased(Problem):
    """What was created with this Idempotency-Key has been erased and is not created again."""

    status = HTTPStatus.GONE
    slug = "erased"

    def __init__(self) -> None:
        super().__init__(
            "What was made with this Idempotency-Key was erased; it is not made again."
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller gets: a status, JSON, and further headers.

    `subjects` are the uids of whom and what it shows; `item_subjects` are those of a batch, one for
    each of its items, or None for an item that shows nobody. `StoredAnswers.forget` goes by them.
    """

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    subjects: Sequence[str] = ()
    item_subjects: Sequence[str | None] = ()

    def response(self) -> Response:
        return Response(self.body, self.status, dict(self.headers), media_type=_JSON)


class StoredAnswers:
    """The answers to Idempotency-Keys, in two tables of a service's database."""

    def __init__(self, metadata: MetaData) -> None:
        self.keys, self.subjects = keys, subjects = _tables(metadata)
        self._about = (
            select(keys.c.id, keys.c.body, subjects.c.item)
            .join(subjects, subjects.c.key_id == keys.c.id)
            .where(subjects.c.subject.in_(bindparam("subjects", expanding=True)))
            .order_by(keys.c.id)
            .with_for_update(of=keys)
        )
        # Each is built once: all calls with a key run them.
        self._of_call = select(keys).where(
            *(keys.c[name] == bindparam(name) for name in ("caller", "route", "key"))
        )
        self._add = insert(keys).returning(keys.c.id)
        limit = _PRUNED_AT_ONCE
        old = select(keys.c.id).where(keys.c.created_at < bindparam("kept_since")).limit(limit)
        self._delete_old = delete(keys).where(keys.c.id.in_(old))
        # What a caller's transaction has locked is passed over: then neither waits for the other.
        self._old = (
            select(keys.c.id)
            .where(keys.c.created_at < bindparam("kept_since"))
            .limit(_SWEPT_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        self.kept = Kept("stored answers", self._prune)
        early = select(keys.c.id).where(keys.c.created_at > bindparam("latest")).limit(limit)
        self._make_early_of_now = (
            update(keys).where(keys.c.id.in_(early)).values(created_at=bindparam("now"))
        )

    def find(self, db: Connection, call: Mapping[str, str]) -> Row[*tuple[Any, ...]] | None:
        """Look up the answer to a call. An expired one is deleted, so that the key is new."""
        keys = self.keys
        row = db.execute(self._of_call, call).one_or_none()
        if row is not None and row.created_at < clock.now() - KEPT:
            db.execute(delete(keys).where(keys.c.id == row.id))
            return None
        return row

    def keep(
        self, db: Connection, call: Mapping[str, str], fingerprint: str, given: Answer
    ) -> None:
        """Store the answer to a call, and delete a few old ones."""
        now = clock.now()
        row = {"fingerprint": fingerprint, "status": given.status, "headers": dict(given.headers)}
        row |= {**call, "body": given.body, "created_at": now}
        key_id = db.execute(self._add, row).scalar_one()
        about: list[tuple[str, int | None]] = [(subject, None) for subject in given.subjects]
        about += [(name, item) for item, name in enumerate(given.item_subjects) if name is not None]
        if about:
            db.execute(
                insert(self.subjects),
                [{"key_id": key_id, "subject": name, "item": item} for name, item in about],
            )
        db.execute(self._delete_old, {"kept_since": now - KEPT})
        # Written by a clock that was ahead; they would be kept for that much longer.
        db.execute(self._make_early_of_now, {"latest": now + _SKEW, "now": now})

    async def _prune(self, settings: object, database: Database) -> int:
        """Delete what is no longer kept: where nobody sends a key, nothing else does."""
        deleted, kept_since = 0, clock.now() - KEPT
        while some := await database.write(self._prune_some, kept_since):
            deleted += some
        return deleted

    def _prune_some(self, db: Connection, kept_since: datetime) -> int:
        old = list(db.execute(self._old, {"kept_since": kept_since}).scalars())
        return db.execute(delete(self.keys).where(self.keys.c.id.in_(old))).rowcount if old else 0

    def forget(self, db: Connection, subjects: Collection[str]) -> None:
        """Blank all answers about these subjects; from then on their keys raise `ReplayErased`."""
        found = db.execute(self._about, {"subjects": list(subjects)}).all()
        for key_id, rows in groupby(found, key=attrgetter("id")):
            bodies, items = zip(*((row.body, row.item) for row in rows), strict=True)
            values: dict[str, Any] = {"fingerprint": ""}
            if None in items:
                values |= {"status": HTTPStatus.GONE, "headers": {}, "body": ""}
            else:
                values["body"] = _without(bodies[0], set(items))
            db.execute(update(self.keys).where(self.keys.c.id == key_id).values(values))


def _tables(metadata: MetaData) -> tuple[Table, Table]:
    """Define the tables of the answers, and of the subjects of each."""
    keys = Table(
        "idempotency_keys",
        metadata,
        Column("id", BigInt, primary_key=True),
        Column("caller", String(200), nullable=False),
        Column("route", String(200), nullable=False),
        Column("key", String(200), nullable=False),
        # Empty after an erasure: not even the hash of a body that named a person stays.
        Column("fingerprint", String(64), nullable=False),
        Column("status", Integer, nullable=False),
        Column("headers", JSON, nullable=False),
        Column("body", Text, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        UniqueConstraint("caller", "route", "key", name="uq_idempotency_keys"),
        Index("ix_idempotency_keys_created_at", "created_at"),
        sqlite_autoincrement=True,
    )
    subjects = Table(
        "idempotency_subjects",
        metadata,
        Column(
            "key_id",
            BigInt,
            ForeignKey("idempotency_keys.id", ondelete="CASCADE"),
            nullable=False,
        ),
        Column("subject", String(64), nullable=False),
        # The place in a batch; null where the whole answer is about the subject.
        Column("item", Integer),
        Index("ix_idempotency_subjects_key_id", "key_id"),
        Index("ix_idempotency_subjects_subject", "subject"),
    )
    return keys, subjects


def _without(body: str, items: Collection[int]) -> str:
    """Replace the results of erased items in the answer to a batch."""
    gone = ReplayErased()
    results = [
        {"status": gone.status.value, "problem": gone.document()} if item in items else result
        for item, result in enumerate(from_json(body))
    ]
    return to_json(results).decode()


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """An answer, and the result of the work; None for an answer that was stored before."""

    answer: Answer
    result: T | None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What identifies a call: its caller, its route, and the caller's key if there is one."""

    database: Database
    answers: StoredAnswers
    caller: str
    route: str
    key: str | None
    # The SHA-256 of the path and the body: with the same key both must be the same.
    fingerprint: str

    async def write(
        self,
        work: Callable[Concatenate[Connection, P], T],
        answer: Callable[[T], Answer],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Response:
        """Run the work once for this key, and return the stored answer afterwards."""
        outcome = await self.outcome(work, answer, *args, **kwargs)
        return outcome.answer.response()

    async def outcome(
        self,
        work: Callable[Concatenate[Connection, P], T],
        answer: Callable[[T], Answer],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Outcome[T]:
        """Run as `write` does, for a handler that needs the result of the work."""

        def run(db: Connection) -> Outcome[T]:
            if self.key is None:
                result = work(db, *args, **kwargs)
                return Outcome(answer(result), result)
            call = {"caller": self.caller, "route": self.route, "key": self.key}
            _lock_key(db, call)
            if (stored := self.answers.find(db, call)) is not None:
                return Outcome(self._again(stored), None)
            result = work(db, *args, **kwargs)
            given = answer(result)
            self.answers.keep(db, call, self.fingerprint, given)
            return Outcome(given, result)

        return await self.database.write(run)

    def _again(self, stored: Row[*tuple[Any, ...]]) -> Answer:
        """Return the stored answer. Raises ReplayErased or IdempotencyKeyReused."""
        if stored.status == HTTPStatus.GONE:
            raise ReplayErased
        if stored.fingerprint not in {"", self.fingerprint}:
            raise IdempotencyKeyReused("This Idempotency-Key was used with another body or path.")
        headers = {**stored.headers, "Idempotent-Replayed": "true"}
        return Answer(stored.status, stored.body, headers)


KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "Any text of your choice. For seven days, the same request with the same key gets "
            "the first response again. A key belongs to your token and this route."
        ),
    ),
]


async def idempotency_key(request: Request, idempotency_key: KeyHeader = None) -> IdempotencyKey:
    body = b"" if idempotency_key is None else await request.body()
    return key_of_call(request, idempotency_key, body)


def key_of_call(request: Request, key: str | None, body: bytes) -> IdempotencyKey:
    """Identify a call; what stands for the body of one that is not kept may be a digest of it."""
    state, caller = request.app.state, principal_of(request).credential
    route = fingerprint = ""
    if key is not None:
        route = request.scope["route"].path
        # A key belongs to a route, so the path's parameters are compared as the body is.
        path = ascii(sorted(request.path_params.items()))
        fingerprint = hashlib.sha256(path.encode() + body).hexdigest()
    return IdempotencyKey(state.database, state.stored_answers, caller, route, key, fingerprint)


Idempotent = Annotated[IdempotencyKey, Depends(idempotency_key)]


def _lock_key(db: Connection, call: Mapping[str, str]) -> None:
    """Let one transaction at a time use this key; SQLite has one writer anyway."""
    if db.dialect.name != "postgresql":
        return
    digest = hashlib.sha256(repr(sorted(call.items())).encode()).digest()
    number = int.from_bytes(digest[:8], signed=True)
    lock = select(func.pg_try_advisory_xact_lock(bindparam("number", type_=BigInt)))
    if not db.execute(lock, {"number": number}).scalar_one():
        raise StillRunning("The first request with this Idempotency-Key is still running.")
