"""Which delivery is sent next, who is sending it, and what came of it."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    exists,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)

from integration_service.deliveries import minutes
from integration_service.deliveries.held import HAS_EARLIER
from integration_service.deliveries.models import (
    UNFINISHED,
    Claimed,
    Settlement,
    attempt_counts,
    attempts,
    deliveries,
    erasures,
)
from integration_service.ledger.control import IS_SENDING
from integration_service.ledger.lease import Lease, fence
from integration_service.ledger.models import poller
from service_kit.database.listed import is_listed
from service_kit.database.on_conflict import insert_or_update
from service_kit.database.prepared import Prepared, PreparedChange, PreparedValues
from service_kit.database.types import UtcDateTime

# An hour of Retry-After and its jitter; nothing is put off for longer.
LONGEST_WAIT = timedelta(minutes=66)
_UNCLAIMED = or_(
    deliveries.c.claimed_epoch.is_(None), deliveries.c.claimed_epoch != bindparam("epoch")
)
_OF_ROUTE = deliveries.c.route == bindparam("route")
_DUE = and_(deliveries.c.next_attempt_at <= bindparam("now"), _UNCLAIMED)
_FRESH = and_(_DUE, deliveries.c.attempt_count == 0)
# Written out, for the engines to see that the index of what failed before answers it.
_RETRY = and_(_DUE, deliveries.c.attempt_count > literal_column("0"))
_SENDS = PreparedValues[int](select(poller.c.id).where(IS_SENDING))
_IS_OF_THESE = and_(
    is_listed(deliveries.c.subject, "uids"), _OF_ROUTE, deliveries.c.occurrence == 1
)
_CLAIMED = Prepared(
    Claimed,
    select(*(deliveries.c[name] for name in Claimed._fields))
    .where(_IS_OF_THESE, deliveries.c.claimed_epoch == bindparam("epoch"))
    .order_by(deliveries.c.id),
)
_MAY_SEND_AHEAD = PreparedValues[int](
    select(poller.c.id).where(
        poller.c.lease_epoch == bindparam("epoch"),
        IS_SENDING,
        ~exists().where(UNFINISHED, _OF_ROUTE, _FRESH),
        ~exists().where(_IS_OF_THESE),
        ~exists().where(is_listed(erasures.c.customer_uid, "uids")),
    )
)


def _in_order(what: ColumnElement[Any], *which: ColumnElement[bool]) -> Select[Any]:
    """Find something of what is unfinished, what is due first before all else."""
    return (
        select(what)
        .where(UNFINISHED, _OF_ROUTE, *which)
        .order_by(deliveries.c.next_attempt_at, deliveries.c.id)
    )


def _taking(chosen: Select[Any]) -> Prepared[Claimed]:
    return Prepared(
        Claimed,
        update(deliveries)
        .where(deliveries.c.id.in_(chosen.limit(bindparam("limit"))))
        .values(claimed_epoch=bindparam("epoch"), never_claimed=False)
        .returning(*(deliveries.c[name] for name in Claimed._fields)),
    )


_NEXT_DUE = PreparedValues[datetime](
    _in_order(deliveries.c.next_attempt_at, _UNCLAIMED, IS_SENDING).limit(1)
)
_FIRST_FRESH = PreparedValues[int](_in_order(deliveries.c.id, _FRESH).limit(1))
_FIRST_DUE = PreparedValues[int](_in_order(deliveries.c.attempt_count, _RETRY).limit(1))
_TAKE_FRESH = _taking(_in_order(deliveries.c.id, _FRESH))
_TAKE_RETRIES = _taking(
    _in_order(deliveries.c.id, _RETRY, deliveries.c.attempt_count == bindparam("level"))
)
_LEAST_TRIED = (
    select(deliveries.c.id)
    .where(UNFINISHED, _OF_ROUTE, _UNCLAIMED)
    .order_by(
        is_listed(deliveries.c.id, "but_last"),
        deliveries.c.attempt_count,
        deliveries.c.next_attempt_at,
        deliveries.c.id,
    )
)
_TAKE_LEAST_TRIED = _taking(_LEAST_TRIED)
_TAKE_LEAST_TRIED_IN_TURN = _taking(_LEAST_TRIED.where(~HAS_EARLIER))
_TAKE_DUE = _taking(_in_order(deliveries.c.id, _DUE))
_TAKE_DUE_IN_TURN = _taking(_in_order(deliveries.c.id, _DUE, ~HAS_EARLIER))
_SETTLE = PreparedChange(
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"))
    .values(
        state=bindparam("state"),
        attempt_count=deliveries.c.attempt_count + 1,
        claimed_epoch=null(),
        # One whose customer was erased meanwhile has none, and gets none.
        next_attempt_at=case(
            (
                deliveries.c.next_attempt_at.is_not(None),
                bindparam("next_attempt_at", type_=UtcDateTime),
            )
        ),
        first_failed_at=bindparam("first_failed_at"),
        tried_seconds_before=bindparam("tried_seconds_before"),
        request_id=bindparam("request_id"),
        error_class=bindparam("error_class"),
        error=bindparam("error"),
        problem=bindparam("problem"),
        updated_at=bindparam("at"),
        delivered_at=bindparam("delivered_at"),
    )
)
_STANDS_ELSEWHERE = PreparedValues[int](
    select(deliveries.c.id).where(
        deliveries.c.id == bindparam("delivery_id"),
        deliveries.c.sequence != bindparam("looked_up"),
    )
)
_ATTEMPT = PreparedChange(
    insert(attempts).inline(), columns=[one.key for one in attempts.c if one.key != "id"]
)
_COUNT = PreparedChange(
    insert_or_update(
        attempt_counts, "outcome", "number = attempt_counts.number + excluded.number"
    ).inline(),
    columns=("outcome", "number"),
)
_UNCLAIM_THESE = PreparedChange(
    update(deliveries)
    .where(_IS_OF_THESE, deliveries.c.claimed_epoch == bindparam("epoch"))
    .values(claimed_epoch=null())
)
_UNCLAIM = (
    update(deliveries)
    .where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
    .values(claimed_epoch=None)
)
_DUE_NOW = update(deliveries).values(next_attempt_at=bindparam("now"), updated_at=bindparam("now"))
_RELEASE_HELD = _DUE_NOW.where(
    deliveries.c.state == "retrying",
    deliveries.c.next_attempt_at > bindparam("now"),
    deliveries.c.route.in_(bindparam("routes", expanding=True)),
)
# Written by a clock that was set back since, this one's or another's.
_FUTURE_DATED = and_(
    UNFINISHED,
    or_(
        deliveries.c.updated_at > bindparam("now"),
        deliveries.c.next_attempt_at > bindparam("longest"),
    ),
)
_ANY_FUTURE_DATED = PreparedValues[int](select(deliveries.c.id).where(_FUTURE_DATED).limit(1))
_RESCHEDULE_FUTURE_DATED = _DUE_NOW.where(_FUTURE_DATED)


def next_due(db: Connection, lease: Lease, route: str) -> datetime | None:
    """Return when the route's next delivery that nobody is sending is due; it may be past.

    None while it is paused.
    """
    return _NEXT_DUE.first(db, epoch=lease.epoch, route=route)


def kinds_due(db: Connection, lease: Lease, route: str, now: datetime) -> tuple[bool, bool]:
    """Whether there is something to claim that was never tried, and something that failed before.

    To look costs a commit less than to claim nothing.
    """
    which = {"epoch": lease.epoch, "route": route, "now": now}
    fresh, retry = (found.first(db, **which) for found in (_FIRST_FRESH, _FIRST_DUE))
    return fresh is not None, retry is not None


def has_future_dated(db: Connection, now: datetime) -> bool:
    """Whether something waits that was put off by a clock which was set back since."""
    return _ANY_FUTURE_DATED.first(db, now=now, longest=now + LONGEST_WAIT) is not None


def reschedule_future_dated(db: Connection, lease: Lease, now: datetime) -> None:
    """Make due at once what was put off by a clock which was set back since.

    Where the clock was an hour ahead when it put a delivery off, and was then corrected, the
    delivery would wait that hour longer. What waits by the clock of now was written in its past and
    is due within the longest wait, so this finds nothing else.
    """
    fence(db, lease)
    db.execute(_RESCHEDULE_FUTURE_DATED, {"now": now, "longest": now + LONGEST_WAIT})


def claim_fresh(
    db: Connection, lease: Lease, route: str, now: datetime, limit: int
) -> list[Claimed]:
    """Take up to `limit` deliveries of a route that were never tried."""
    if not _may_send(db, lease, route):
        return []
    return _take(db, _TAKE_FRESH, epoch=lease.epoch, route=route, now=now, limit=limit)


def claim_retries(
    db: Connection, lease: Lease, route: str, now: datetime, limit: int
) -> list[Claimed]:
    """Take some that failed before: fewer the more often they did.

    So whatever spoils a whole batch is soon alone in its own, and no longer holds up the others.
    """
    if not _may_send(db, lease, route):
        return []
    level = _FIRST_DUE.first(db, epoch=lease.epoch, route=route, now=now)
    if level is None:
        return []
    which = {"epoch": lease.epoch, "route": route, "now": now, "level": level}
    return _take(db, _TAKE_RETRIES, **which, limit=max(1, limit >> (2 * level)))


def claim_events(
    db: Connection, lease: Lease, route: str, now: datetime, limit: int, *, in_turn: bool = False
) -> list[Claimed]:
    """Take up to `limit` deliveries that are due of a route that sends one by one.

    With `in_turn` none of a subject of which an earlier one is unfinished, or dead.
    """
    if not _may_send(db, lease, route):
        return []
    taking = _TAKE_DUE_IN_TURN if in_turn else _TAKE_DUE
    return _take(db, taking, epoch=lease.epoch, route=route, now=now, limit=limit)


def claim_probe(
    db: Connection, lease: Lease, route: str, but_last: Sequence[int], *, in_turn: bool = False
) -> list[Claimed]:
    """Claim one delivery as a probe: the least tried one, whenever it is due.

    Those whose ids are in `but_last` only where there is no other. A delivery that always fails
    must not stand for all. With `in_turn` only one that no earlier one of its subject holds.
    """
    if not _may_send(db, lease, route):
        return []
    which = {"epoch": lease.epoch, "route": route, "but_last": list(but_last)}
    taking = _TAKE_LEAST_TRIED_IN_TURN if in_turn else _TAKE_LEAST_TRIED
    return _take(db, taking, **which, limit=1)


def may_send_ahead(
    db: Connection, lease: Lease, route: str, uids: Sequence[str], now: datetime
) -> bool:
    """Whether these new customers may be sent before their page is noted.

    They are known nowhere, none that came before them waits, and nobody has paused it.
    """
    found = _MAY_SEND_AHEAD.first(db, epoch=lease.epoch, route=route, uids=list(uids), now=now)
    return found is not None


def claimed(db: Connection, lease: Lease, route: str, uids: Sequence[str]) -> list[Claimed]:
    """Return what a poller has claimed of these customers."""
    return _CLAIMED.all(db, epoch=lease.epoch, route=route, uids=list(uids)) if uids else []


def unclaim_customers(db: Connection, lease: Lease, route: str, uids: Sequence[str]) -> None:
    """Give back what was claimed of these customers, if it was."""
    fence(db, lease)
    _UNCLAIM_THESE.each(db, [{"epoch": lease.epoch, "route": route, "uids": list(uids)}])


def unclaim(db: Connection, lease: Lease, ids: Sequence[int]) -> None:
    """Give deliveries back as if they had not been tried."""
    fence(db, lease)
    db.execute(_UNCLAIM, {"ids": list(ids)})


def unclaim_all(db: Connection, lease: Lease, route: str) -> None:
    """Give back all of a route that a poller has claimed; for one that is sending nothing of it."""
    fence(db, lease)
    mine = and_(deliveries.c.claimed_epoch == lease.epoch, deliveries.c.route == route)
    # By their states: those of erased customers are due no more, and are still to be settled.
    unsettled = deliveries.c.state.in_(("pending", "retrying"))
    db.execute(update(deliveries).where(unsettled, mine).values(claimed_epoch=None))


def save_settlements(
    db: Connection, lease: Lease, route: str, settlements: Sequence[Settlement]
) -> None:
    """Write down what came of an attempt at each of a route's deliveries."""
    fence(db, lease)
    rows = [vars(one) for one in settlements]  # whose fields are called as the columns
    _SETTLE.each(db, rows)
    _ATTEMPT.each(db, rows)
    counts = Counter(one.outcome for one in settlements)
    _COUNT.each(db, [{"outcome": name, "number": counts[name]} for name in sorted(counts)])
    minutes.count(db, route, settlements)


def moved_since(db: Connection, lease: Lease, claimed: Sequence[Claimed]) -> set[int]:
    """Find those whose events stand elsewhere in the feed than when they were claimed."""
    if not claimed:
        return set()
    fence(db, lease)
    places = [{"delivery_id": one.id, "looked_up": one.sequence} for one in claimed]
    return {place["delivery_id"] for place in places if _STANDS_ELSEWHERE.first(db, **place)}


def release_held(db: Connection, lease: Lease, names: Sequence[str], now: datetime) -> int:
    """Make due what waits of these routes, now that their target answers again."""
    fence(db, lease)
    return db.execute(_RELEASE_HELD, {"now": now, "routes": list(names)}).rowcount


def _may_send(db: Connection, lease: Lease, route: str) -> bool:
    """Whether sending is not paused, with the row locked that says so. Raises LeaseLost."""
    fence(db, lease)
    return _SENDS.first(db, route=route) is not None


def _take(db: Connection, taking: Prepared[Claimed], **values: Any) -> list[Claimed]:
    return sorted(taking.all(db, **values), key=attrgetter("id"))
