"""What operators do with deliveries: retry one or many, and dismiss a dead one."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from integration_service.deliveries import erasures, store
from integration_service.deliveries.models import Delivery, deliveries, enqueued
from integration_service.deliveries.schemas import SHOWN, DeliveryDetail, RetryOrder, RetryResult
from integration_service.ledger.control import wake
from integration_service.ledger.lease import Clock, hold
from integration_service.ledger.models import audit
from service_kit.database import Database
from service_kit.database.rows import find_all, page_after
from service_kit.problems import Problem
from service_kit.web.auth import Principal

PAGE = 500

# What nobody could read names no customer, so there is nothing to send again.
_READABLE = or_(deliveries.c.error_class.is_(None), deliveries.c.error_class != "unreadable")
_RETRYABLE = and_(_READABLE, ~erasures.IS_ERASED)


class DeliveryNotFound(Problem):
    """Nothing is owed to this customer."""

    status = HTTPStatus.NOT_FOUND
    slug = "delivery-not-found"


class NotRetryable(Problem):
    """The event could not be read, or the customer was erased: there is nothing to send."""

    status = HTTPStatus.CONFLICT
    slug = "delivery-not-retryable"


class Listed(NamedTuple):
    """A delivery in a list of those to be retried."""

    id: int
    subject: str


def show(db: Connection, uid: str) -> DeliveryDetail:
    """Show one delivery and each attempt at it. Raises DeliveryNotFound."""
    found = _known(store.find(db, uid))
    return DeliveryDetail.model_construct(
        **found._asdict(), customer_uid=uid, attempts=store.attempts_at(db, found)
    )


def retryable(db: Connection, uid: str) -> Delivery:
    """Look up a delivery that can be sent again. Raises DeliveryNotFound or NotRetryable."""
    found = _known(store.lock(db, uid))
    if found.error_class == "unreadable":
        raise NotRetryable(
            "This event names no customer that anyone could read; POST /reconcile with repair "
            "finds whoever it was about."
        )
    if erasures.among(db, [uid]):
        raise NotRetryable("This customer was erased; nothing more is sent.")
    return found


def retry(db: Connection, uid: str, now: datetime, who: Principal) -> Delivery:
    """Have one delivery sent again: a dead one from the start, one that waits without waiting.

    One that was dismissed is sent after all. One that is finished otherwise, or about to be sent
    anyway, is left as it is. Raises DeliveryNotFound or NotRetryable.
    """
    hold(db)
    found = retryable(db, uid)
    if found.state in {"dead", "retrying"} or found.dismissed_at is not None:
        _enqueue(db, found.state, [found.id], now)
        audit.record(db, "delivery.retried", uid, by=who)
    return _known(store.find(db, uid))


def dismiss(db: Connection, uid: str, reason: str, now: datetime, who: Principal) -> bool:
    """Settle a dead delivery without a package. Returns whether that is news.

    What made it dead, and the attempts, stay on record. One that is not dead is left as it is.
    Raises DeliveryNotFound.
    """
    found = _known(store.lock(db, uid))
    if found.state != "dead":
        return False
    db.execute(
        update(deliveries)
        .where(deliveries.c.id == found.id)
        .values(
            state="skipped",
            skip_reason="dismissed",
            dismissed_at=now,
            dismissed_by=who.name,
            dismissed_reason=reason,
            updated_at=now,
        )
    )
    audit.record(db, "delivery.dismissed", uid, by=who)
    return True


def _matches(which: RetryOrder) -> ColumnElement[bool]:
    condition = and_(deliveries.c.state == which.state, _RETRYABLE)
    if which.error_class is not None:
        condition &= deliveries.c.error_class == which.error_class
    return condition


def matching(db: Connection, which: RetryOrder) -> int:
    counted = select(func.count()).select_from(deliveries).where(_matches(which))
    return db.execute(counted).scalar_one()


def some_of(db: Connection, which: RetryOrder, after: int, limit: int) -> list[Listed]:
    """List some by their ids, from the one behind `after`."""
    found = select(deliveries.c.id, deliveries.c.subject).where(_matches(which))
    return find_all(Listed, db, page_after(found, deliveries.c.id, after, limit))


def retry_some(
    db: Connection, which: RetryOrder, after: int, limit: int, now: datetime, who: Principal
) -> list[Listed]:
    """Have a page of deliveries sent again. Returns them."""
    hold(db)
    found = some_of(db, which, after, limit)
    _enqueue(db, which.state, [row.id for row in found], now)
    audit.record(db, "delivery.retried", *(row.subject for row in found), by=who)
    return found


def _known(found: Delivery | None) -> Delivery:
    if found is None:
        raise DeliveryNotFound("The feed has not reported a customer with this uid.")
    return found


def _enqueue(db: Connection, state: str, ids: Sequence[int], now: datetime) -> None:
    # One that waits keeps its count: what spoils a batch must soon be alone in its own.
    due = {"next_attempt_at": now, "updated_at": now}
    values = due if state == "retrying" else enqueued(now)
    # The state once more, for what was settled between the looking and this.
    chosen = deliveries.c.id.in_(ids) & (deliveries.c.state == state)
    db.execute(update(deliveries).where(chosen).values(**values))
    wake(db)


async def retry_many(
    database: Database, clock: Clock, wanted: RetryOrder, who: Principal
) -> RetryResult:
    """Retry up to a limit, a page at a time, so that no transaction is long.

    Safe to repeat: what was retried is no longer among them. A dry run only lists them.
    """
    matched = await database.scan(matching, wanted)
    done = RetryResult(dry_run=wanted.dry_run, matched=matched, retried=0, customer_uids=[])
    after = 0
    while done.retried < wanted.limit:
        most = min(PAGE, wanted.limit - done.retried)
        if wanted.dry_run:
            rows = await database.read(some_of, wanted, after, most)
        else:
            rows = await database.write(retry_some, wanted, after, most, clock(), who)
        if not rows:
            break
        after = rows[-1].id
        done.retried += len(rows)
        done.customer_uids += [row.subject for row in rows][: SHOWN - len(done.customer_uids)]
    return done
