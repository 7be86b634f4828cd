"""Pausing and waking the poller. In the ledger, so that every process learns of it."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Update, select, update

from integration_service.ledger.lease import now_of
from integration_service.ledger.models import Action, PollerState, audit, poller
from service_kit.database.rows import get_one
from service_kit.web.auth import Principal

_STATE = select(*(poller.c[name] for name in PollerState._fields))
_CONTROL_STATE = select(poller.c.paused_at, poller.c.wake_count)


class ControlState(NamedTuple):
    """Since when sending is paused, and how often somebody has woken the poller."""

    paused_at: datetime | None
    wake_count: int


def state(db: Connection) -> PollerState:
    return get_one(PollerState, db, _STATE)


def control_state(db: Connection) -> ControlState:
    return get_one(ControlState, db, _CONTROL_STATE)


def pause(db: Connection, now: datetime, who: Principal) -> bool:
    """Stop sending. Returns whether that is news."""
    statement = update(poller).where(poller.c.paused_at.is_(None)).values(paused_at=now)
    return _noted(db, statement, "deliveries.paused", who)


def resume(db: Connection, who: Principal) -> bool:
    """Send again. Returns whether that is news."""
    wake(db)
    statement = update(poller).where(poller.c.paused_at.is_not(None)).values(paused_at=None)
    return _noted(db, statement, "deliveries.resumed", who)


def _noted(db: Connection, statement: Update, action: Action, who: Principal) -> bool:
    is_news = db.execute(statement).rowcount == 1
    if is_news:
        audit.record(db, action, "all", by=who)
    return is_news


def wake(db: Connection) -> bool:
    """Wake the poller: poll the feed, send what is due. Returns whether any process polls."""
    until = db.execute(
        update(poller).values(wake_count=poller.c.wake_count + 1).returning(poller.c.lease_until)
    ).scalar_one()
    return until is not None and until > now_of(db)
