"""Whom a comparison has seen on either side, and who is not on each of them once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
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
from integration_service.ledger.models import poller
from integration_service.reconcile.models import Candidate, reconcile_keys
from integration_service.reconcile.store import Kind, alive
from service_kit.database.on_conflict import insert_or_update

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
_WRONG: Mapping[Kind, Select[Any]] = {
    "missing": _CANDIDATES.where(_LACKS),
    "extra": _CANDIDATES.where(_KEYS.c.customers == 0, _KEYS.c.packages > 0),
    "double": _CANDIDATES.where(_KEYS.c.packages > 1),
    "erased": _CANDIDATES.where(_KEYS.c.is_erased),
}
_ABSENT = _CANDIDATES.where(_KEYS.c.is_absent)
_IS_LATE = deliveries.c.next_attempt_at.is_not(None)
_ERASURE_IS_LATE = exists().where(erasures.c.done_at.is_(None))
_IS_UNKNOWN = and_(deliveries.c.id.is_(None), _KEYS.c.is_owed)


def _is_any(late: ColumnElement[bool]) -> Select[Any]:
    return select(or_(exists().select_from(_JOINED).where(_LACKS, late), _ERASURE_IS_LATE))


_IS_ANY_LATE = _is_any(_IS_LATE)
_IS_ANY_LATE_OR_UNKNOWN = _is_any(or_(_IS_LATE, _IS_UNKNOWN))
_SEEN_CUSTOMER = insert_or_update(
    _KEYS,
    "run_id, customer_uid",
    "customers = 1, is_owed = excluded.is_owed,"
    " is_erased = excluded.is_erased, customer_number = excluded.customer_number",
)
_SEEN_ERASURE = insert_or_update(_KEYS, "run_id, customer_uid", "is_erased = excluded.is_erased")
_ERASURES_PAGE = (
    select(erasures.c.id, erasures.c.customer_uid)
    .where(erasures.c.id > bindparam("after"))
    .order_by(erasures.c.id)
    .limit(bindparam("limit"))
)
_SEEN_PACKAGE = insert_or_update(
    _KEYS, "run_id, customer_uid", f"packages = {_KEYS.name}.packages + 1"
)


@dataclass(frozen=True, slots=True)
class SeenCustomer:
    """A customer as the CRM lists it; the number only of one who was erased."""

    customer_uid: str
    is_owed: bool
    is_erased: bool
    customer_number: int | None


def saw_customers(db: Connection, run: int, seen: Sequence[SeenCustomer]) -> None:
    alive(db, run)
    rows = [{"run_id": run, "customers": 1, "packages": 0, **asdict(one)} for one in seen]
    if rows:
        db.execute(_SEEN_CUSTOMER, rows)


def saw_erasures(db: Connection, run: int, after: int, limit: int) -> int | None:
    """Put a page of the ledger's erasures beside what was seen. Returns where the next begins."""
    alive(db, run)
    found = db.execute(_ERASURES_PAGE, {"after": after, "limit": limit}).all()
    if not found:
        return None
    same = {"run_id": run, "customers": 0, "packages": 0, "is_owed": False, "is_erased": True}
    db.execute(_SEEN_ERASURE, [{**same, "customer_uid": row.customer_uid} for row in found])
    last: int = found[-1].id
    return last


def saw_packages(db: Connection, run: int, customer_uids: Sequence[str]) -> None:
    alive(db, run)
    rows = [
        {"run_id": run, "customer_uid": uid, "customers": 0, "packages": 1, "is_owed": False}
        for uid in customer_uids
    ]
    if rows:
        db.execute(_SEEN_PACKAGE, rows)


def candidates(db: Connection, run: int, kind: Kind, after: str, limit: int) -> list[Candidate]:
    """List whose counts are not one and one, in the order of their keys, with their deliveries."""
    found = db.execute(_WRONG[kind], {"run": run, "after": after, "limit": limit})
    return [Candidate._make(row) for row in found]


def are_absent(db: Connection, run: int, customer_uids: Sequence[str]) -> None:
    """Note for whom repair is to enqueue a package."""
    alive(db, run)
    if customer_uids:
        chosen = and_(_KEYS.c.run_id == run, _KEYS.c.customer_uid.in_(customer_uids))
        db.execute(update(_KEYS).where(chosen).values(is_absent=True))


def absent(db: Connection, run: int, after: str, limit: int) -> list[Candidate]:
    """List for whom repair is to enqueue a package, in the order of their keys."""
    found = db.execute(_ABSENT, {"run": run, "after": after, "limit": limit})
    return [Candidate._make(row) for row in found]


def is_quiet(db: Connection, run: int, since: datetime) -> bool:
    """Tell whether waiting would change nothing.

    It would where the package of somebody is on its way, or, for somebody of whom the feed has not
    told, while the feed was not read to its end after `since`; and while an erasure is not applied.
    """
    feed = db.execute(select(poller)).one()
    is_read = feed.caught_up_at is not None and feed.caught_up_at > since
    statement = _IS_ANY_LATE if is_read else _IS_ANY_LATE_OR_UNKNOWN
    found: bool = db.execute(statement, {"run": run}).scalar_one()
    return not found


def forget_keys(db: Connection, run: int, *, of_others: bool) -> int:
    """Delete some of what this run, or all others, have seen. Returns how much."""
    whose = _KEYS.c.run_id != run if of_others else _KEYS.c.run_id == run
    key = tuple_(_KEYS.c.run_id, _KEYS.c.customer_uid)
    some = select(_KEYS.c.run_id, _KEYS.c.customer_uid).where(whose).limit(FORGOTTEN_AT_ONCE)
    return db.execute(delete(_KEYS).where(key.in_(some))).rowcount
