"""Pausing and waking the poller. In the ledger, so that every process learns of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Update, and_, bindparam, exists, select, update

from integration_service.ledger.lease import now_of
from integration_service.ledger.models import Action, PollerState, audit, poller, routes
from service_kit.database.rows import get_one
from service_kit.web.auth import Principal

_STATE = select(*(poller.c[name] for name in PollerState._fields))
_CONTROL_STATE = select(poller.c.paused_at, poller.c.wake_count)
# Whether anything of a route is sent: nobody has paused it, nor all of them.
IS_SENDING = and_(
    exists().where(poller.c.paused_at.is_(None)),
    ~exists().where(routes.c.name == bindparam("route"), routes.c.paused_at.is_not(None)),
)
_PAUSED_ROUTES = select(routes.c.name, routes.c.paused_at).where(routes.c.paused_at.is_not(None))


class ControlState(NamedTuple):
    """Since when sending is paused, and how often somebody has woken the poller."""

    paused_at: datetime | None
    wake_count: int
    # Since when each route is that is paused by itself.
    paused_routes: Mapping[str, datetime]

    def is_paused(self, route: str) -> bool:
        return self.paused_at is not None or route in self.paused_routes


def state(db: Connection) -> PollerState:
    return get_one(PollerState, db, _STATE)


def control_state(db: Connection) -> ControlState:
    paused_at, wake_count = db.execute(_CONTROL_STATE).one()
    return ControlState(paused_at, wake_count, paused_routes(db))


def paused_routes(db: Connection) -> dict[str, datetime]:
    """Return since when each route is that is paused by itself."""
    return {row.name: row.paused_at for row in db.execute(_PAUSED_ROUTES)}


def pause(db: Connection, now: datetime, who: Principal) -> bool:
    """Stop sending. Returns whether that is news."""
    statement = update(poller).where(poller.c.paused_at.is_(None)).values(paused_at=now)
    return _noted(db, statement, "deliveries.paused", who)


def resume(db: Connection, who: Principal) -> bool:
    """Send again. Returns whether that is news."""
    wake(db)
    statement = update(poller).where(poller.c.paused_at.is_not(None)).values(paused_at=None)
    return _noted(db, statement, "deliveries.resumed", who)


def pause_route(db: Connection, name: str, now: datetime, who: Principal) -> bool:
    """Stop sending what is owed by a route. Returns whether that is news."""
    statement = update(routes).where(routes.c.name == name, routes.c.paused_at.is_(None))
    wake(db)
    return _noted(db, statement.values(paused_at=now), "route.paused", who, name)


def pause_gone(db: Connection, name: str, reason: str, now: datetime) -> None:
    """Stop sending what is owed by a route, since its receiver says that it is gone."""
    is_sending = and_(routes.c.name == name, routes.c.paused_at.is_(None))
    db.execute(update(routes).where(is_sending).values(paused_at=now, pause_reason=reason[:200]))
    wake(db)


def resume_route(db: Connection, name: str, who: Principal) -> bool:
    """Send what is owed by a route again. Returns whether that is news."""
    statement = update(routes).where(routes.c.name == name, routes.c.paused_at.is_not(None))
    wake(db)
    values = {"paused_at": None, "pause_reason": None}
    return _noted(db, statement.values(values), "route.resumed", who, name)


def accept_gap(db: Connection, name: str, start: str, who: Principal) -> bool:
    """Have a route read on after a gap: from the oldest event that is left, or the newest.

    Returns whether there was one.
    """
    statement = update(routes).where(routes.c.name == name, routes.c.feed_state == "gap")
    wake(db)
    nowhere = dict.fromkeys(("first_position", "cursor", "position", "head_position"))
    values = {**nowhere, "start_from": start, "feed_state": "running"}
    return _noted(db, statement.values(values), "route.gap_accepted", who, name)


def _noted(
    db: Connection, statement: Update, action: Action, who: Principal, subject: str = "all"
) -> bool:
    is_news = db.execute(statement).rowcount == 1
    if is_news:
        audit.record(db, action, subject, by=who)
    return is_news


def wake(db: Connection) -> bool:
    """Wake the poller: poll the feed, send what is due. Returns whether any process polls."""
    until = db.execute(
        update(poller).values(wake_count=poller.c.wake_count + 1).returning(poller.c.lease_until)
    ).scalar_one()
    return until is not None and until > now_of(db)
