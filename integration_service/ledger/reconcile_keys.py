"""Whom a comparison has seen on either side, and who is not on each of them once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, and_, bindparam, delete, exists, or_, select, tuple_, update

from integration_service.ledger.models import deliveries, poller, reconcile_keys
from integration_service.ledger.reconciliations import alive
from service_kit.database.on_conflict import insert_or_update
from service_kit.database.types import AnyRow

Kind = Literal["missing", "extra", "double"]
FORGOTTEN_AT_ONCE = 5000

_KEYS = reconcile_keys
_OF_RUN = _KEYS.c.run_id == bindparam("run")
_LACKS = and_(_OF_RUN, _KEYS.c.customers > 0, _KEYS.c.packages == 0)
_WRONG: Mapping[Kind, Any] = {
    "missing": _LACKS,
    "extra": and_(_OF_RUN, _KEYS.c.customers == 0),
    "double": and_(_OF_RUN, _KEYS.c.packages > 1),
}
_JOINED = _KEYS.outerjoin(deliveries, deliveries.c.customer_uid == _KEYS.c.customer_uid)
_CANDIDATES = (
    select(
        _KEYS.c.customer_uid,
        _KEYS.c.is_owed,
        deliveries.c.state,
        deliveries.c.delivered_at,
        deliveries.c.error_class,
        deliveries.c.customer_name,
    )
    .select_from(_JOINED)
    .order_by(_KEYS.c.customer_uid)
    .limit(bindparam("limit"))
)
_IS_LATE = deliveries.c.state.in_(("pending", "retrying"))
_SEEN_CUSTOMER = insert_or_update(
    _KEYS, "run_id, customer_uid", "customers = 1, is_owed = excluded.is_owed"
)
_SEEN_PACKAGE = insert_or_update(
    _KEYS, "run_id, customer_uid", f"packages = {_KEYS.name}.packages + 1"
)


def saw_customers(db: Connection, run: int, seen: Mapping[str, bool]) -> None:
    """Note customers by their uids, each with whether it is owed a package."""
    alive(db, run)
    rows = [
        {"run_id": run, "customer_uid": uid, "customers": 1, "packages": 0, "is_owed": is_owed}
        for uid, is_owed in seen.items()
    ]
    if rows:
        db.execute(_SEEN_CUSTOMER, rows)


def saw_packages(db: Connection, run: int, customer_uids: Sequence[str]) -> None:
    alive(db, run)
    rows = [
        {"run_id": run, "customer_uid": uid, "customers": 0, "packages": 1, "is_owed": False}
        for uid in customer_uids
    ]
    if rows:
        db.execute(_SEEN_PACKAGE, rows)


def candidates(db: Connection, run: int, kind: Kind, after: str, limit: int) -> Sequence[AnyRow]:
    """List whose counts are not one and one, in the order of their keys, with their deliveries."""
    statement = _CANDIDATES.where(_WRONG[kind], _KEYS.c.customer_uid > bindparam("after"))
    return db.execute(statement, {"run": run, "after": after, "limit": limit}).all()


def are_absent(db: Connection, run: int, customer_uids: Sequence[str]) -> None:
    """Note for whom repair is to enqueue a package."""
    alive(db, run)
    chosen = and_(_KEYS.c.run_id == run, _KEYS.c.customer_uid.in_(customer_uids))
    db.execute(update(_KEYS).where(chosen).values(is_absent=True))


def absent(db: Connection, run: int, after: str, limit: int) -> Sequence[AnyRow]:
    """List for whom repair is to enqueue a package, in the order of their keys."""
    statement = _CANDIDATES.where(
        _OF_RUN, _KEYS.c.is_absent, _KEYS.c.customer_uid > bindparam("after")
    )
    return db.execute(statement, {"run": run, "after": after, "limit": limit}).all()


def is_quiet(db: Connection, run: int, since: datetime) -> bool:
    """Tell whether waiting would change nothing.

    It would where the package of somebody is on its way, or, for somebody of whom the feed has not
    told, while the feed was not read to its end after `since`.
    """
    feed = db.execute(select(poller)).one()
    is_read = feed.caught_up_at is not None and feed.caught_up_at > since
    late = _IS_LATE if is_read else or_(_IS_LATE, and_(deliveries.c.id.is_(None), _KEYS.c.is_owed))
    found: bool = db.execute(
        select(exists().select_from(_JOINED).where(_LACKS, late)), {"run": run}
    ).scalar_one()
    return not found


def forget_keys(db: Connection, run: int, *, of_others: bool) -> int:
    """Delete some of what this run, or all others, have seen. Returns how much."""
    whose = _KEYS.c.run_id != run if of_others else _KEYS.c.run_id == run
    key = tuple_(_KEYS.c.run_id, _KEYS.c.customer_uid)
    some = select(_KEYS.c.run_id, _KEYS.c.customer_uid).where(whose).limit(FORGOTTEN_AT_ONCE)
    return db.execute(delete(_KEYS).where(key.in_(some))).rowcount
