"""Sends what a route has sent again, with the same identities."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, update

from integration_service.deliveries import erasures, service
from integration_service.deliveries.models import deliveries, enqueued
from integration_service.deliveries.schemas import ReplayOrder, ReplayResult
from integration_service.ledger.control import wake
from integration_service.ledger.lease import Clock, hold
from integration_service.ledger.models import audit
from service_kit.database import Database
from service_kit.web.auth import Principal

PAGE = 500


async def replay(
    database: Database, clock: Clock, wanted: ReplayOrder, who: Principal
) -> ReplayResult:
    """Enqueue every finished delivery of a range of the feed, a page at a time, oldest first.

    What is pending or retrying is sent anyway. Nobody who was erased gets a package by it. Not
    safe to repeat without need: whatever is finished by then is sent once more.
    """
    began_at = clock()
    which = _matches(wanted, began_at)
    if wanted.dry_run:
        return ReplayResult(dry_run=True, replayed=await database.scan(service.matching, which))
    done, after = ReplayResult(dry_run=False, replayed=0), 0
    while True:
        found = await database.write(_replay_some, wanted, began_at, after, clock(), who)
        if not found:
            return done
        after = found[-1].id
        done.replayed += len(found)


def _matches(wanted: ReplayOrder, before: datetime) -> ColumnElement[bool]:
    """Say which: none that was enqueued by this very replay, or since."""
    return and_(
        deliveries.c.route == wanted.route,
        deliveries.c.sequence >= wanted.from_position,
        deliveries.c.sequence <= wanted.to_position,
        deliveries.c.state.in_(("delivered", "dead", "skipped")),
        deliveries.c.skip_reason.is_(None) | (deliveries.c.skip_reason == "dismissed"),
        deliveries.c.error_class.is_(None) | (deliveries.c.error_class != "unreadable"),
        deliveries.c.enqueued_at.is_(None) | (deliveries.c.enqueued_at < before),
        ~erasures.IS_ERASED,
    )


def _replay_some(
    db: Connection,
    wanted: ReplayOrder,
    began_at: datetime,
    after: int,
    now: datetime,
    who: Principal,
) -> list[service.Listed]:
    hold(db)
    which = _matches(wanted, began_at)
    found = service.some_of(db, which, after, PAGE)
    chosen = deliveries.c.id.in_([row.id for row in found])
    db.execute(update(deliveries).where(chosen, which).values(**enqueued(now)))
    audit.record(db, "delivery.replayed", *(row.subject for row in found), by=who)
    wake(db)
    return found
