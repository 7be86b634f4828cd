"""Deliveries: who is owed one, and what there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, bindparam, func, or_, select

from integration_service.deliveries import erasures
from integration_service.deliveries.models import (
    IS_WELCOME,
    UNFINISHED,
    Arrival,
    Delivery,
    attempt_counts,
    attempts,
    deliveries,
)
from integration_service.deliveries.schemas import Attempt
from integration_service.routes.definitions import WELCOME
from service_kit.database.listed import is_listed
from service_kit.database.on_conflict import insert_missing
from service_kit.database.prepared import PreparedChange, PreparedValues
from service_kit.database.rows import find_all, find_one, page_after
from service_kit.web.paging import Page, page_of

_COUNTS = select(deliveries.c.state, func.count().label("number")).group_by(deliveries.c.state)
_COUNTS_OF_ROUTE = _COUNTS.where(deliveries.c.route == bindparam("route"))
_OLDEST = select(func.min(func.coalesce(deliveries.c.enqueued_at, deliveries.c.created_at))).where(
    deliveries.c.state.in_(("pending", "retrying"))
)
_SHOWN = select(*(deliveries.c[name] for name in Delivery._fields))
_ONE = _SHOWN.where(deliveries.c.subject == bindparam("uid"), IS_WELCOME)
_LOCKED = _ONE.with_for_update()
_ATTEMPTS = (
    select(*(attempts.c[name] for name in Attempt.model_fields))
    .where(attempts.c.delivery_id == bindparam("id"))
    .order_by(attempts.c.id)
)
_BEYOND = PreparedValues[int](
    select(deliveries.c.id).where(UNFINISHED).limit(1).offset(bindparam("mark"))
)
_OWED = PreparedValues[str](
    select(deliveries.c.subject).where(is_listed(deliveries.c.subject, "uids"), IS_WELCOME)
)
_ARRIVAL = ("subject", "customer_name", "sequence", "raw", "error", "traceparent", "skip_reason")
_PLACE = ("route", "occurrence", "state", "error_class", "attempt_count", "next_attempt_at")
_NEW = ("never_claimed", "tried_seconds_before", "created_at", "updated_at")
_OWE = PreparedChange(insert_missing(deliveries).inline(), columns=(*_ARRIVAL, *_PLACE, *_NEW))


def find(db: Connection, uid: str) -> Delivery | None:
    return find_one(Delivery, db, _ONE, {"uid": uid})


def lock(db: Connection, uid: str) -> Delivery | None:
    """Find a delivery, and keep others from changing it until this transaction ends."""
    return find_one(Delivery, db, _LOCKED, {"uid": uid})


def attempts_at(db: Connection, delivery: Delivery) -> list[Attempt]:
    found = db.execute(_ATTEMPTS, {"id": delivery.id})
    return [Attempt.model_validate(row) for row in found.mappings()]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries a list shows. `ascending` is newest last."""

    state: str | None = None
    route: str | None = None
    text: str | None = None
    ascending: bool = True


def page(db: Connection, filters: Filter, after: int | None, limit: int) -> Page[Delivery]:
    """List deliveries in the order in which their customers were found."""
    statement = page_after(_SHOWN, deliveries.c.id, after, limit + 1, ascending=filters.ascending)
    if filters.state is not None:
        statement = statement.where(deliveries.c.state == filters.state)
    if filters.route is not None:
        statement = statement.where(deliveries.c.route == filters.route)
    if filters.text is not None:
        shown = (deliveries.c.subject, deliveries.c.customer_name, deliveries.c.error)
        statement = statement.where(
            or_(*(column.icontains(filters.text, autoescape=True) for column in shown))
        )
    return page_of(find_all(Delivery, db, statement), limit, key="id")


def counts(db: Connection, route: str | None = None) -> dict[str, int]:
    """Count the deliveries in each state, of one route or all. Costs grow with their number."""
    found = db.execute(_COUNTS) if route is None else db.execute(_COUNTS_OF_ROUTE, {"route": route})
    return {row.state: row.number for row in found}


def oldest_unfinished(db: Connection) -> datetime | None:
    """Return since when the oldest one is owed that is pending or retrying."""
    return db.execute(_OLDEST).scalar_one()  # type: ignore[no-any-return]


def attempt_totals(db: Connection) -> dict[str, int]:
    """Return how many attempts there were in all, by what came of them."""
    return {row.outcome: row.number for row in db.execute(select(attempt_counts))}


def owe(db: Connection, arrivals: Sequence[Arrival], now: datetime) -> list[Arrival]:
    """Owe a package to each customer who is new, and return these. The caller fences it.

    None to one who was erased, however much earlier that was reported.
    """
    uids = [a.subject for a in arrivals]
    known = set(_OWED.all(db, uids=uids))
    new = list({a.subject: a for a in arrivals if a.subject not in known}.values())
    erased = erasures.among(db, uids) if new else set()
    for arrival in new:
        if arrival.subject in erased:
            arrival.customer_name, arrival.skip_reason = None, "erased"
    for state, alike in groupby(new, key=attrgetter("state")):
        _OWE.each(
            db,
            [vars(arrival) for arrival in alike],
            route=WELCOME.name,
            occurrence=1,
            state=state,
            error_class="unreadable" if state == "dead" else None,
            attempt_count=0,
            next_attempt_at=now if state == "pending" else None,
            never_claimed=True,
            tried_seconds_before=0.0,
            created_at=now,
            updated_at=now,
        )
    return new


def is_above(db: Connection, mark: int) -> bool:
    """Whether more than so many are unfinished."""
    return _BEYOND.first(db, mark=mark) is not None
