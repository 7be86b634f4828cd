"""What operators tell the integration. In the ledger, so that every process hears it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from integration_service.ledger import erasures
from integration_service.ledger.lease import hold, now_of
from integration_service.ledger.models import deliveries, poller
from integration_service.ledger.records import enqueued
from integration_service.ledger.store import DeliveryRow
from integration_service.ledger.views import DeliveryNotFound
from service_kit.database.types import AnyRow
from service_kit.web.problems import Problem

PAGE = 500

_WANTED = select(poller.c.paused_at, poller.c.wake_count)
_BY_UID = select(deliveries).where(deliveries.c.customer_uid == bindparam("uid")).with_for_update()
# What nobody could read names no customer, so there is nothing to send again.
_READABLE = or_(deliveries.c.error_class.is_(None), deliveries.c.error_class != "unreadable")
_RETRYABLE = and_(_READABLE, ~erasures.IS_ERASED)


class NotRetryable(Problem):
    """The event could not be read, or the customer was erased: there is nothing to send."""

    status = HTTPStatus.CONFLICT
    slug = "delivery-not-retryable"


@dataclass(frozen=True, slots=True)
class Which:
    """Which deliveries are to be retried."""

    state: str
    error_class: str | None = None

    def condition(self) -> Any:
        condition = (deliveries.c.state == self.state) & _RETRYABLE
        if self.error_class is not None:
            condition &= deliveries.c.error_class == self.error_class
        return condition


def wanted(db: Connection) -> AnyRow:
    """Return what operators want: since when it is paused, and how often to wake up."""
    return db.execute(_WANTED).one()


def pause(db: Connection, now: datetime) -> bool:
    """Have nothing sent from now on. Returns whether that is news."""
    statement = update(poller).where(poller.c.paused_at.is_(None)).values(paused_at=now)
    return db.execute(statement).rowcount == 1


def resume(db: Connection) -> bool:
    """Have everything sent again. Returns whether that is news."""
    wake(db)
    statement = update(poller).where(poller.c.paused_at.is_not(None)).values(paused_at=None)
    return db.execute(statement).rowcount == 1


def wake(db: Connection) -> bool:
    """Have whoever polls look at the feed, and at what is due. Returns whether anybody does."""
    until = db.execute(
        update(poller).values(wake_count=poller.c.wake_count + 1).returning(poller.c.lease_until)
    ).scalar_one()
    return until is not None and until > now_of(db)


def retryable(db: Connection, uid: str) -> DeliveryRow:
    """Look up a delivery that can be sent again. Raises DeliveryNotFound or NotRetryable."""
    found = _find(db, uid)
    if found.error_class == "unreadable":
        raise NotRetryable(
            "This event names no customer that anyone could read; POST /reconcile with repair "
            "finds whoever it was about."
        )
    if erasures.among(db, [uid]):
        raise NotRetryable("This customer was erased; nothing more is sent.")
    return found


def retry(db: Connection, uid: str, now: datetime) -> DeliveryRow:
    """Have one delivery sent again: a dead one from the start, one that waits without waiting.

    One that was dismissed is sent after all. One that is finished otherwise, or about to be sent
    anyway, is left as it is. Raises DeliveryNotFound or NotRetryable.
    """
    hold(db)
    found = retryable(db, uid)
    if found.state in {"dead", "retrying"} or found.dismissed_at is not None:
        _enqueue(db, found.state, [found.id], now)
    return db.execute(_BY_UID, {"uid": uid}).one()


def dismiss(db: Connection, uid: str, who: str, reason: str, now: datetime) -> bool:
    """Settle a dead delivery without a package. Returns whether that is news.

    What made it dead, and the attempts, stay on record. One that is not dead is left as it is.
    Raises DeliveryNotFound.
    """
    found = _find(db, uid)
    if found.state != "dead":
        return False
    db.execute(
        update(deliveries)
        .where(deliveries.c.id == found.id)
        .values(
            state="skipped",
            skip_reason="dismissed",
            dismissed_at=now,
            dismissed_by=who,
            dismissed_reason=reason,
            updated_at=now,
        )
    )
    return True


def matching(db: Connection, which: Which) -> int:
    statement = select(func.count()).select_from(deliveries).where(which.condition())
    found: int = db.execute(statement).scalar_one()
    return found


def some_of(db: Connection, which: Which, after: int, limit: int) -> Sequence[AnyRow]:
    """List some by their ids, from the one behind `after`."""
    return db.execute(
        select(deliveries.c.id, deliveries.c.customer_uid)
        .where(which.condition(), deliveries.c.id > after)
        .order_by(deliveries.c.id)
        .limit(limit)
    ).all()


def retry_some(
    db: Connection, which: Which, after: int, limit: int, now: datetime
) -> Sequence[AnyRow]:
    """Have a page of deliveries sent again. Returns them."""
    hold(db)
    found = some_of(db, which, after, limit)
    _enqueue(db, which.state, [row.id for row in found], now)
    return found


def _find(db: Connection, uid: str) -> DeliveryRow:
    found = db.execute(_BY_UID, {"uid": uid}).one_or_none()
    if found is None:
        raise DeliveryNotFound("The feed has not told of a customer with this uid.")
    return found


def _enqueue(db: Connection, state: str, ids: Sequence[int], now: datetime) -> None:
    # One that waits keeps its count: what spoils a batch must soon be alone in its own.
    due = {"next_attempt_at": now, "updated_at": now}
    values = due if state == "retrying" else enqueued(now)
    # The state once more, for what was settled between the looking and this.
    chosen = deliveries.c.id.in_(ids) & (deliveries.c.state == state)
    db.execute(update(deliveries).where(chosen).values(**values))
    wake(db)
