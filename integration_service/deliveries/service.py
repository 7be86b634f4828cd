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
from integration_service.ledger.models import audit, routes
from integration_service.routes.definitions import WELCOME
from service_kit.database import Database
from service_kit.database.rows import find_all, page_after
from service_kit.problems import InvalidRequest, Problem
from service_kit.web.auth import Principal

PAGE = 500

# What nobody could read names no customer, so there is nothing to send again.
_READABLE = or_(deliveries.c.error_class.is_(None), deliveries.c.error_class != "unreadable")
_RETRYABLE = and_(_READABLE, ~erasures.IS_ERASED)


class DeliveryNotFound(Problem):
    """Nothing is owed to this customer, or for this event."""

    status = HTTPStatus.NOT_FOUND
    slug = "delivery-not-found"


class NotRetryable(Problem):
    """The event could not be read, or the customer was erased: there is nothing to send."""

    status = HTTPStatus.CONFLICT
    slug = "delivery-not-retryable"


class Listed(NamedTuple):
    """A delivery in a list of those to be sent again."""

    id: int
    subject: str
    event_type: str | None


def known_route(db: Connection, name: str) -> None:
    """Raise InvalidRequest for a route that there neither is nor was."""
    known = db.execute(select(routes.c.name).order_by(routes.c.name)).scalars().all()
    if name not in known:
        raise InvalidRequest(
            f"There are the routes {', '.join(known)}.",
            errors=[{"loc": ["query", "route"], "msg": "There is no route with this name."}],
        )


def show(db: Connection, subject: str, route: str = WELCOME.name) -> DeliveryDetail:
    """Show one delivery and each attempt at it. Raises DeliveryNotFound."""
    found = _known(store.find(db, subject, route))
    return DeliveryDetail.model_construct(
        **found._asdict(),
        customer_uid=found.customer_uid,
        event_id=found.event_id,
        attempts=store.attempts_at(db, found),
    )


def retryable(db: Connection, subject: str, route: str = WELCOME.name) -> Delivery:
    """Look up a delivery that can be sent again. Raises DeliveryNotFound or NotRetryable."""
    found = _known(store.lock(db, subject, route))
    if found.error_class == "unreadable":
        raise NotRetryable(
            "This event names no customer that anyone could read; POST /reconcile with repair "
            "finds whoever it was about."
        )
    if found.customer_uid is not None and erasures.among(db, [subject]):
        raise NotRetryable("This customer was erased; nothing more is sent.")
    if found.skip_reason == "route-removed":
        raise NotRetryable("Its route is no longer in the file of routes.")
    return found


def retry(
    db: Connection, subject: str, now: datetime, who: Principal, route: str = WELCOME.name
) -> Delivery:
    """Have one delivery sent again: a dead one from the start, one that waits without waiting.

    One that was dismissed is sent after all. One that is finished otherwise, or about to be sent
    anyway, is left as it is. Raises DeliveryNotFound or NotRetryable.
    """
    hold(db)
    found = retryable(db, subject, route)
    if found.state in {"dead", "retrying"} or found.dismissed_at is not None:
        _enqueue(db, found.state, [found.id], now)
        audit.record(db, "delivery.retried", subject, by=who)
    return _known(store.find(db, subject, route))


def dismiss(
    db: Connection,
    subject: str,
    reason: str,
    now: datetime,
    who: Principal,
    route: str = WELCOME.name,
) -> bool:
    """Settle a dead delivery without its effect. Returns whether that is news.

    What made it dead, and the attempts, stay on record. One that is not dead is left as it is.
    Raises DeliveryNotFound.
    """
    found = _known(store.lock(db, subject, route))
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
    audit.record(db, "delivery.dismissed", subject, by=who)
    wake(db)  # later events of its subject may be waiting for it
    return True


def _matches(which: RetryOrder) -> ColumnElement[bool]:
    condition = and_(deliveries.c.state == which.state, _RETRYABLE)
    if which.error_class is not None:
        condition &= deliveries.c.error_class == which.error_class
    if which.route is not None:
        condition &= deliveries.c.route == which.route
    return condition


def matching(db: Connection, which: ColumnElement[bool]) -> int:
    counted = select(func.count()).select_from(deliveries).where(which)
    return db.execute(counted).scalar_one()


def some_of(db: Connection, which: ColumnElement[bool], after: int, limit: int) -> list[Listed]:
    """List some by their ids, from the one behind `after`."""
    columns = (deliveries.c[name] for name in Listed._fields)
    found = page_after(select(*columns).where(which), deliveries.c.id, after, limit)
    return find_all(Listed, db, found)


def retry_some(
    db: Connection, which: RetryOrder, after: int, limit: int, now: datetime, who: Principal
) -> list[Listed]:
    """Have a page of deliveries sent again. Returns them."""
    hold(db)
    found = some_of(db, _matches(which), after, limit)
    _enqueue(db, which.state, [row.id for row in found], now)
    audit.record(db, "delivery.retried", *(row.subject for row in found), by=who)
    return found


def _known(found: Delivery | None) -> Delivery:
    if found is None:
        raise DeliveryNotFound("The feed has not reported this to the route.")
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
    which = _matches(wanted)
    matched = await database.scan(matching, which)
    done = RetryResult(dry_run=wanted.dry_run, matched=matched, retried=0)
    after = 0
    while done.retried < wanted.limit:
        most = min(PAGE, wanted.limit - done.retried)
        if wanted.dry_run:
            rows = await database.read(some_of, which, after, most)
        else:
            rows = await database.write(retry_some, wanted, after, most, clock(), who)
        if not rows:
            break
        after = rows[-1].id
        done.retried += len(rows)
        _show_some(rows, done)
    return done


def _show_some(rows: Sequence[Listed], done: RetryResult) -> None:
    left = SHOWN - len(done.customer_uids) - len(done.event_ids)
    for row in rows[:left]:
        shown = done.customer_uids if row.event_type is None else done.event_ids
        shown.append(row.subject)
