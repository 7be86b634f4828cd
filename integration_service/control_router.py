"""The routes by which operators steer the integration."""

import logging
from http import HTTPStatus

from fastapi import APIRouter

from integration_service.access import CanOperate
from integration_service.ledger import control, store, views
from integration_service.ledger.control import NotRetryable, Which
from integration_service.ledger.store import DeliveryRow
from integration_service.ledger.views import DeliveryNotFound
from integration_service.retrying import retry_many
from integration_service.router import CustomerUid
from integration_service.schemas import (
    DeliveryDetail,
    DeliveryOut,
    Dismissal,
    Paused,
    PollAccepted,
    RetryOrder,
    RetryResult,
)
from service_kit.database import Database
from service_kit.process import clock
from service_kit.process.health import DatabaseDep
from service_kit.web.auth import GuardedRoute
from service_kit.web.openapi import documented
from service_kit.web.problems import Problem

logger = logging.getLogger("integration_service")
router = APIRouter(route_class=GuardedRoute, tags=["control"])


class NotPolling(Problem):
    """No process polls at the moment."""

    status = HTTPStatus.CONFLICT
    slug = "not-polling"


@router.post(
    "/deliveries/{customer_uid}/retry",
    summary="Retry a delivery",
    response_model=DeliveryOut,
    responses=documented(DeliveryNotFound, NotRetryable),
)
async def retry_delivery(
    customer_uid: CustomerUid, database: DatabaseDep, who: CanOperate
) -> DeliveryRow:
    """Send one delivery again: a dead one from the start, one that waits without waiting.

    It is the same request to Inventory, which answers what it already has, and its past attempts
    stay on record. One that was dismissed is sent after all. One that is pending, delivered,
    undone or skipped otherwise is left as it is, so this is safe to repeat; the answer's `state`
    tells. One whose customer was erased is refused: nothing more is sent.
    """
    row = await database.write(control.retry, customer_uid, clock.now())
    logger.info("%s retries the delivery for customer ID: %s", who.name, customer_uid)
    return row


@router.post(
    "/deliveries/{customer_uid}/dismiss",
    summary="Settle a dead delivery",
    responses=documented(DeliveryNotFound),
)
async def dismiss_delivery(
    customer_uid: CustomerUid, dismissal: Dismissal, database: DatabaseDep, who: CanOperate
) -> DeliveryDetail:
    """Settle a dead delivery that needs no package: it is `skipped` from now on.

    Its error and its attempts stay on record, beside who dismissed it, when, and why. One that is
    not dead is left as it is, so this is safe to repeat; the answer's `state` tells. A retry takes
    it back, unless it is unreadable.
    """
    now = clock.now()
    if await database.write(control.dismiss, customer_uid, who.name, dismissal.reason, now):
        logger.info(
            "%s dismisses the delivery for customer ID: %s: %s",
            who.name,
            customer_uid,
            dismissal.reason,
        )
    return await database.read(views.delivery, customer_uid)


@router.post("/deliveries/retry", summary="Retry many deliveries")
async def retry_deliveries(
    wanted: RetryOrder, database: DatabaseDep, who: CanOperate
) -> RetryResult:
    """Send all deliveries of a state, and an error class, again. `dry_run` says whom it would be.

    Safe to repeat, also after an answer that was lost: what was retried is no longer among them.
    """
    which = Which(wanted.state, wanted.error_class)
    done = await retry_many(database, clock.now, which, wanted.limit, dry_run=wanted.dry_run)
    if not wanted.dry_run:
        logger.info("%s retries %d %s deliveries.", who.name, done.retried, wanted.state)
    return RetryResult(
        dry_run=wanted.dry_run,
        matched=done.matched,
        retried=done.retried,
        customer_uids=done.customer_uids,
    )


@router.post("/pause", summary="Stop sending")
async def pause(database: DatabaseDep, who: CanOperate) -> Paused:
    """Send nothing to Inventory until `POST /resume`, over restarts too; on all replicas.

    What is under way is finished. The feed is still read, so nothing is forgotten, and no delivery
    grows older meanwhile. Pausing twice is pausing once.
    """
    if await database.write(control.pause, clock.now()):
        logger.info("%s pauses the deliveries.", who.name)
    return await _paused(database)


@router.post("/resume", summary="Send again")
async def resume(database: DatabaseDep, who: CanOperate) -> Paused:
    """Undo `POST /pause`. Does nothing where nothing is paused."""
    if await database.write(control.resume):
        logger.info("%s resumes the deliveries.", who.name)
    return await _paused(database)


@router.post(
    "/poll",
    status_code=202,
    summary="Look at the feed now",
    responses=documented(NotPolling),
)
async def poll(database: DatabaseDep, _: CanOperate) -> PollAccepted:
    """Look for new customers, and for what is due, at once; whichever replica does the polling."""
    if not await database.write(control.wake):
        raise NotPolling("No process polls at the moment; GET /status names the last one.")
    return PollAccepted()


async def _paused(database: Database) -> Paused:
    feed = await database.read(store.feed)
    return Paused(paused=feed.paused_at is not None, paused_at=feed.paused_at)
