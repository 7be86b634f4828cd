"""Whom a comparison has seen on either side, and who is not on each of them once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    or_,
    select,
    tuple_,
    update,
)

from integration_service.deliveries.models import IS_WELCOME, deliveries, erasures
from integration_service.ledger.control import state
from integration_service.reconcile.models import Candidate, reconcile_keys
from integration_service.reconcile.store import Kind, alive
from service_kit.database.on_conflict import insert_or_update
from service_kit.database.rows import find_all, page_after

FORGOTTEN_AT_ONCE = 5000

_KEYS = reconcile_keys
_OF_RUN = _KEYS.c.run_id == bindparam("run")
_LACKS = and_(_OF_RUN, _KEYS.c.customers > 0, _KEYS.c.packages == 0)
_JOINED = _KEYS.outerjoin(
    deliveries, and_(deliveries.c.subject == _KEYS.c.customer_uid, IS_WELCOME)
).outerjoin(erasures, erasures.c.customer_uid == _KEYS.c.customer_uid)
_CANDIDATES = (
    select(
        _KEYS.c.customer_uid,
        _KEYS.c.is_owed,
        deliveries.c.state,
        deliveries.c.delivered_at,
        deliveries.c.error_class,
        deliveries.c.customer_name,
        erasures.c.id.is_not(None).label("is_noted"),
        erasures.c.done_at,
        erasures.c.customer_number,
        _KEYS.c.customer_number.label("seen_number"),
    )
    .select_from(_JOINED)
    .where(_OF_RUN, _KEYS.c.customer_uid > bindparam("after"))
    .order_by(_KEYS.c.customer_uid)
    .limit(bindparam("limit"))
)
_LISTED: Mapping[Kind | Literal["absent"], Select[Any]] = {
    "missing": _CANDIDATES.where(_LACKS),
    "extra": _CANDIDATES.where(_KEYS.c.customers == 0, _KEYS.c.packages > 0),
    "double": _CANDIDATES.where(_KEYS.c.packages > 1),
    "erased": _CANDIDATES.where(_KEYS.c.is_erased),
    # For whom repair is to enqueue a package.
    "absent": _CANDIDATES.where(_KEYS.c.is_absent),
}
_IS_LATE = deliveries.c.next_attempt_at.is_not(None)
_ERASURE_IS_LATE = exists().where(erasures.c.done_at.is_(None))
_IS_UNKNOWN = and_(deliveries.c.id.is_(None), _KEYS.c.is_owed)
_ERASURE_IS_UNKNOWN = exists().where(
    _KEYS.c.run_id == bindparam("run"),
    _KEYS.c.is_erased,
    ~exists().where(erasures.c.customer_uid == _KEYS.c.customer_uid),
)


def _is_any(late: ColumnElement[bool], *others: ColumnElement[bool]) -> Select[Any]:
    return select(or_(exists().select_from(_JOINED).where(_LACKS, late), _ERASURE_IS_LATE, *others))


_IS_ANY_LATE = _is_any(_IS_LATE)
_IS_ANY_LATE_OR_UNKNOWN = _is_any(or_(_IS_LATE, _IS_UNKNOWN), _ERASURE_IS_UNKNOWN)
_SEEN_CUSTOMER = insert_or_update(
    _KEYS,
    "run_id, customer_uid",
    "customers = 1, is_owed = excluded.is_owed,"
    " is_erased = excluded.is_erased, customer_number = excluded.customer_number",
)
_SEEN_ERASURE = insert_or_update(_KEYS, "run_id, customer_uid", "is_erased = excluded.is_erased")
_ERASURES = select(erasures.c.id, erasures.c.customer_uid)
_SEEN_PACKAGE = insert_or_update(
    _KEYS, "run_id, customer_uid", f"packages = {_KEYS.name}.packages + 1"
)


class SeenCustomer(NamedTuple):
    """A customer as the CRM lists it; the number only of one who was erased."""

    customer_uid: str
    is_owed: bool
    is_erased: bool
    customer_number: int | None


def saw_customers(db: Connection, run: int, seen: Sequence[SeenCustomer]) -> None:
    same = {"customers": 1, "packages": 0}
    _saw(db, run, _SEEN_CUSTOMER, [{**same, **one._asdict()} for one in seen])


def saw_erasures(db: Connection, run: int, after: int, limit: int) -> int | None:
    """Put a page of the ledger's erasures beside what was seen. Returns where the next begins."""
    found = db.execute(page_after(_ERASURES, erasures.c.id, after, limit)).all()
    same = {"customers": 0, "packages": 0, "is_owed": False, "is_erased": True}
    _saw(db, run, _SEEN_ERASURE, [{**same, "customer_uid": row.customer_uid} for row in found])
    return int(found[-1].id) if found else None


def saw_packages(db: Connection, run: int, customer_uids: Sequence[str]) -> None:
    same = {"customers": 0, "packages": 1, "is_owed": False}
    _saw(db, run, _SEEN_PACKAGE, [{**same, "customer_uid": uid} for uid in customer_uids])


def _saw(db: Connection, run: int, seen: Insert, rows: Sequence[dict[str, Any]]) -> None:
    alive(db, run)
    if rows:
        db.execute(seen, [{**row, "run_id": run} for row in rows])


def candidates(
    db: Connection, run: int, what: Kind | Literal["absent"], after: str, limit: int
) -> list[Candidate]:
    """List whose counts are not one and one, in the order of their keys, with their deliveries."""
    return find_all(Candidate, db, _LISTED[what], {"run": run, "after": after, "limit": limit})


def are_absent(db: Connection, run: int, customer_uids: Sequence[str]) -> None:
    """Note for whom repair is to enqueue a package."""
    alive(db, run)
    if customer_uids:
        chosen = and_(_KEYS.c.run_id == run, _KEYS.c.customer_uid.in_(customer_uids))
        db.execute(update(_KEYS).where(chosen).values(is_absent=True))


def is_quiet(db: Connection, run: int, since: datetime) -> bool:
    """Whether waiting would change nothing.

    It would while a package is on its way, while an erasure is not applied, and, for customers and
    erasures that the feed has not reported, while the feed was not read to its end after `since`.
    """
    statement = _IS_ANY_LATE if state(db).is_read_after(since) else _IS_ANY_LATE_OR_UNKNOWN
    return not db.execute(statement, {"run": run}).scalar_one()


def forget_keys(db: Connection, run: int, *, of_others: bool) -> int:
    """Delete some of what this run, or all others, have seen. Returns how much."""
    whose = _KEYS.c.run_id != run if of_others else _KEYS.c.run_id == run
    key = tuple_(_KEYS.c.run_id, _KEYS.c.customer_uid)
    some = select(_KEYS.c.run_id, _KEYS.c.customer_uid).where(whose).limit(FORGOTTEN_AT_ONCE)
    return db.execute(delete(_KEYS).where(key.in_(some))).rowcount
