"""Deliveries: who is owed one, and what there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from integration_service.deliveries import destinations, erasures
from integration_service.deliveries.held import held_because
from integration_service.deliveries.models import (
    IS_WELCOME,
    UNFINISHED,
    Arrival,
    Delivery,
    OwedEvent,
    OwedPlace,
    attempt_counts,
    attempts,
    deliveries,
    enqueued,
)
from integration_service.deliveries.schemas import Attempt
from integration_service.ledger.models import routes
from integration_service.routes.definitions import WELCOME
from service_kit.database.counting import KindCounts
from service_kit.database.listed import is_listed
from service_kit.database.on_conflict import insert_missing
from service_kit.database.prepared import Prepared, PreparedChange, PreparedValues
from service_kit.database.rows import find_all, find_one, page_after
from service_kit.web.paging import Page, page_of

_COUNTS = KindCounts(deliveries.c.state)
_COUNTS_BY_ROUTE = select(deliveries.c.route, deliveries.c.state, func.count().label("number"))
_COUNTS_BY_ROUTE = _COUNTS_BY_ROUTE.group_by(deliveries.c.route, deliveries.c.state)
_COUNTS_OF_ROUTE = _COUNTS_BY_ROUTE.where(deliveries.c.route == bindparam("route"))
_TWO_ROUTES = select(routes.c.name).limit(2)
_OLDEST = select(func.min(func.coalesce(deliveries.c.enqueued_at, deliveries.c.created_at))).where(
    deliveries.c.state.in_(("pending", "retrying"))
)
_STORED = [name for name in Delivery._fields if name != "held_because"]
_SHOWN = select(*(deliveries.c[name] for name in _STORED), held_because.label("held_because"))
_ONE = _SHOWN.where(
    deliveries.c.subject == bindparam("subject"),
    deliveries.c.route == bindparam("route"),
    deliveries.c.occurrence == 1,
)
_LOCKED = _ONE.with_for_update()
_ATTEMPTS = (
    select(*(attempts.c[name] for name in Attempt.model_fields))
    .where(attempts.c.delivery_id == bindparam("id"))
    .order_by(attempts.c.id)
)
_BEYOND = PreparedValues[int](
    select(deliveries.c.id)
    .where(UNFINISHED, deliveries.c.route == bindparam("route"))
    .limit(1)
    .offset(bindparam("mark"))
)
_OWED = PreparedValues[str](
    select(deliveries.c.subject).where(is_listed(deliveries.c.subject, "uids"), IS_WELCOME)
)
_OF_EVENTS = and_(is_listed(deliveries.c.subject, "ids"), deliveries.c.route == bindparam("route"))
_KNOWN_EVENTS = PreparedValues[str](select(deliveries.c.subject).where(_OF_EVENTS))
_PLACES = Prepared(
    OwedPlace, select(*(deliveries.c[name] for name in OwedPlace._fields)).where(_OF_EVENTS)
)
_MOVE_EVENT = PreparedChange(
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"))
    .values(sequence=bindparam("to_sequence"))
)
_ARRIVAL = ("subject", "customer_name", "sequence", "raw", "error", "traceparent", "skip_reason")
_PLACE = ("route", "occurrence", "state", "error_class", "attempt_count", "next_attempt_at")
_NEW = ("claimed_epoch", "never_claimed", "tried_seconds_before", "created_at", "updated_at")
_OWE = PreparedChange(insert_missing(deliveries).inline(), columns=(*_ARRIVAL, *_PLACE, *_NEW))
_EVENT = ("subject", "event_type", "event_subject", "sequence", "raw", "error", "traceparent")
_OWE_EVENT = PreparedChange(insert_missing(deliveries).inline(), columns=(*_EVENT, *_PLACE, *_NEW))


def find(db: Connection, subject: str, route: str = WELCOME.name) -> Delivery | None:
    return find_one(Delivery, db, _ONE, {"subject": subject, "route": route})


def lock(db: Connection, subject: str, route: str = WELCOME.name) -> Delivery | None:
    """Find a delivery, and keep others from changing it until this transaction ends."""
    return find_one(Delivery, db, _LOCKED, {"subject": subject, "route": route})


def attempts_at(db: Connection, delivery: Delivery) -> list[Attempt]:
    found = db.execute(_ATTEMPTS, {"id": delivery.id})
    return [Attempt.model_validate(row) for row in found.mappings()]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries a list shows. `ascending` is newest last."""

    state: str | None = None
    route: str | None = None
    text: str | None = None
    held_because: str | None = None
    ascending: bool = True


def page(db: Connection, filters: Filter, after: int | None, limit: int) -> Page[Delivery]:
    """List deliveries in the order in which their customers were found."""
    statement = page_after(_SHOWN, deliveries.c.id, after, limit + 1, ascending=filters.ascending)
    if filters.state is not None:
        statement = statement.where(deliveries.c.state == filters.state)
    if filters.route is not None:
        statement = statement.where(deliveries.c.route == filters.route)
    if filters.held_because is not None:
        statement = statement.where(held_because == filters.held_because)
    if filters.text is not None:
        shown = (deliveries.c.subject, deliveries.c.customer_name, deliveries.c.error)
        statement = statement.where(
            or_(*(column.icontains(filters.text, autoescape=True) for column in shown))
        )
    return page_of(find_all(Delivery, db, statement), limit, key="id")


def counts(db: Connection, route: str | None = None) -> dict[str, int]:
    """Count the deliveries in each state, of one route or all. Costs grow with their number."""
    if route is None or _only_route(db) == route:
        return {state: number for (state,), number in _COUNTS(db).items()}
    return {row.state: row.number for row in db.execute(_COUNTS_OF_ROUTE, {"route": route})}


def counts_by_route(db: Connection) -> dict[tuple[str, str], int]:
    """Count the deliveries of each route in each state. Costs grow with their number."""
    if (only := _only_route(db)) is not None:
        return {(only, state): number for state, number in counts(db).items()}
    return {(row.route, row.state): row.number for row in db.execute(_COUNTS_BY_ROUTE)}


def _only_route(db: Connection) -> str | None:
    """Return the only route that there is or was: an index alone counts by state, not by route."""
    names = db.execute(_TWO_ROUTES).scalars().all()
    return names[0] if len(names) == 1 else None


def oldest_unfinished(db: Connection) -> datetime | None:
    """Return since when the oldest one is owed that is pending or retrying."""
    return db.execute(_OLDEST).scalar_one()  # type: ignore[no-any-return]


def attempt_totals(db: Connection) -> dict[str, int]:
    """Return how many attempts there were in all, by what came of them."""
    return {row.outcome: row.number for row in db.execute(select(attempt_counts))}


def owe(
    db: Connection, arrivals: Sequence[Arrival], now: datetime, claimed_epoch: int | None = None
) -> list[Arrival]:
    """Owe a package to each customer who is new, and return these. The caller fences it.

    None to one who was erased, however much earlier that was reported. With `claimed_epoch` they
    are being sent already, by the poller of that lease.
    """
    uids = [a.subject for a in arrivals]
    known = set(_OWED.all(db, uids=uids))
    new = list({a.subject: a for a in arrivals if a.subject not in known}.values())
    erased = erasures.among(db, uids) if new else set()
    for arrival in new:
        if arrival.subject in erased:
            arrival.customer_name, arrival.skip_reason = None, "erased"
    for state, alike in groupby(new, key=attrgetter("state")):
        rows = [vars(arrival) for arrival in alike]
        _OWE.each(db, rows, **_as_new(WELCOME.name, state, now, claimed_epoch))
    known_places = [a.destination for a in new if a.destination and a.state == "pending"]
    destinations.note(db, known_places)
    return new


def owe_events(db: Connection, route: str, found: Sequence[OwedEvent], now: datetime) -> None:
    """Owe a webhook each of these events that it is not owed yet. The caller fences it.

    What it is owed already is here again only where the feed is read anew, after a gap: it may
    stand elsewhere since the CRM was restored. What was dead for not being found is sent after all.
    """
    known = _PLACES.all(db, route=route, ids=[event.subject for event in found])
    if known:
        _find_again(db, known, {event.subject: event.sequence for event in found}, now)
    for state, alike in groupby(found, key=attrgetter("state")):
        rows = [vars(event) for event in alike]
        _OWE_EVENT.each(db, rows, **_as_new(route, state, now))


def _find_again(
    db: Connection, known: Sequence[OwedPlace], sequences: Mapping[str, int], now: datetime
) -> None:
    _MOVE_EVENT.each(
        db,
        [
            {"delivery_id": one.id, "to_sequence": sequences[one.subject]}
            for one in known
            if one.sequence != sequences[one.subject]
        ],
    )
    lost = [one.id for one in known if one.is_lost]
    if lost:
        db.execute(update(deliveries).where(deliveries.c.id.in_(lost)).values(**enqueued(now)))


def known_events(db: Connection, route: str, ids: Sequence[str]) -> set[str]:
    """Find which of these events a webhook's route has a delivery of, in whichever state."""
    return set(_KNOWN_EVENTS.all(db, route=route, ids=list(ids)))


def _as_new(
    route: str, state: str, now: datetime, claimed_epoch: int | None = None
) -> dict[str, Any]:
    is_claimed = claimed_epoch is not None and state == "pending"
    return {
        "route": route,
        "occurrence": 1,
        "state": state,
        "error_class": "unreadable" if state == "dead" else None,
        "attempt_count": 0,
        "next_attempt_at": now if state == "pending" else None,
        "claimed_epoch": claimed_epoch if is_claimed else None,
        "never_claimed": not is_claimed,
        "tried_seconds_before": 0.0,
        "created_at": now,
        "updated_at": now,
    }


def is_above(db: Connection, route: str, mark: int) -> bool:
    """Whether more than so many of a route are unfinished."""
    return _BEYOND.first(db, route=route, mark=mark) is not None
