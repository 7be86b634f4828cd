"""Reads the CRM's feed, and writes down to whom a package is owed."""

import asyncio
import json
import logging
import time
from typing import Any

from opentelemetry.trace import SpanKind
from pydantic import TypeAdapter, ValidationError

from integration_service.deliveries.log_lines import log_found
from integration_service.deliveries.models import Arrival, ErasedCustomer
from integration_service.deliveries.store import is_above
from integration_service.feed import store
from integration_service.feed.client import CrmClient
from integration_service.feed.models import FeedBroken, FeedPage
from integration_service.feed.recovery import Recovery
from integration_service.ledger import control
from integration_service.ledger.lease import Clock, Lease
from integration_service.ledger.models import PollerState
from integration_service.routes.definitions import WELCOME
from integration_service.settings import Settings
from integration_service.targets import store as targets
from integration_service.targets.failures import CallFailed
from service_kit.database import Database
from service_kit.process import tracing
from service_kit.process.logs import new_request_id, use_request_id
from service_kit.web.fields import Line

logger = logging.getLogger("integration_service")

# Reading stops above this many unfinished deliveries, and goes on below half of it: an outage of
# Inventory must not copy the whole CRM into this database.
HIGH_MARK = 20_000
LONGEST_UID = 64
LONGEST_NAME = 200
LARGEST_NUMBER = 2**63
# After a long poll that was answered at once without events: the CRM is stopping, or can't wait.
EARLY_ANSWER_PAUSE_SECONDS = 0.5

_LINE: TypeAdapter[str] = TypeAdapter(Line)


class Ingest:
    """Polls the feed, one page at a time."""

    def __init__(
        self, database: Database, crm: CrmClient, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._crm = crm
        self._circuit = crm.circuit
        self._settings = settings
        self._clock = clock
        self._recovery = Recovery(database, crm, clock)
        self._is_full = False
        # What this process has logged as wrong with the feed.
        self._logged_state: str | None = None
        # Whether it waits for the CRM's answer, and so can be cancelled without a loss.
        self.is_waiting = False
        # Set whenever there may be something to send.
        self.work_ready = asyncio.Event()
        # Set when someone was erased.
        self.erased = asyncio.Event()

    async def poll(self, lease: Lease, *, wait: float) -> float:
        """Poll once, and write down what is new. Returns how many seconds may pass until the next.

        Safe to repeat: dying anywhere in it leaves the cursor where it was, or moved together with
        the deliveries that it moved past.
        """
        use_request_id(new_request_id())
        feed = await self._database.read(control.state)
        if await self._has_enough():
            return 0.1
        started_at = time.monotonic()
        try:
            if feed.feed_state == "recovering":
                return await self._recover(lease, feed)
            if feed.start_from is None:
                feed = await self._begin(lease)
            page = await self._page(feed, wait)
        except FeedBroken as broken:
            return await self._begin_recovery(lease, feed, broken)
        except CallFailed as failure:
            return await self._fail(lease, failure)
        await self._note(lease, feed, page)
        if not wait and not page.has_more:
            return self._settings.polling_interval_seconds
        is_early = not page.events and time.monotonic() - started_at < wait / 2
        return EARLY_ANSWER_PAUSE_SECONDS if is_early and not page.has_more else 0.0

    async def _page(self, feed: PollerState, wait: float) -> FeedPage:
        self.is_waiting = True
        try:
            limit = self._settings.batch_size
            return await self._crm.page(feed.cursor, feed.position, limit, wait)
        finally:
            self.is_waiting = False

    async def _begin(self, lease: Lease) -> PollerState:
        """Decide, at the very first start, whether customers that are there already are owed."""
        start_from = self._settings.start_from
        at = await self._crm.newest() if start_from == "now" else None
        await self._database.write(store.begin, lease, self._clock(), at)
        logger.info("Reading the CRM's feed from: %s", start_from)
        return await self._database.read(control.state)

    async def _note(self, lease: Lease, feed: PollerState, page: FeedPage) -> None:
        now = self._clock()
        arrivals, erased = [], []
        for index, event in enumerate(page.events):
            if is_erasure(event):
                erased.append(ErasedCustomer(event["subject"], _number(event)))
            elif not is_of_other_type(event):
                arrivals.append(understand(event, page.through_position, index))
        move = {
            "old": feed.cursor,
            "new": page.next_cursor,
            "through": page.through_position,
            "head": page.head_position,
            "caught_up": None if page.has_more else now,
        }
        traced = (arrival.traceparent for arrival in arrivals)
        with tracing.spans("find customer", SpanKind.CONSUMER, traced):
            write = self._database.erase if erased else self._database.write
            new = await write(store.note_page, lease, arrivals, move, now, erased)
        for arrival in new:
            log_found(arrival)
        if new:
            self.work_ready.set()
        if erased:
            self.erased.set()
        self._logged_state = None
        await self._note_success(lease)

    async def _note_success(self, lease: Lease) -> None:
        if self._circuit.succeeded():
            logger.info("The CRM answers again.")
            await self._database.write(targets.save, lease, self._circuit)

    async def _begin_recovery(self, lease: Lease, feed: PollerState, broken: FeedBroken) -> float:
        """Start recovery when the cursor is no longer valid; reading on might miss someone."""
        if await self._recovery.begin(lease, feed, broken):
            await self._note_success(lease)
            return 0.0
        if self._logged_state != broken.state:
            self._logged_state = broken.state
            logger.error(
                "The CRM's feed is %s: %s. This was so a moment ago, and all customers were read; "
                "they are read again after a pause.",
                broken.state,
                broken.detail.rstrip("."),
            )
        await self._database.write(
            store.mark_feed, lease, broken.state, broken.detail, self._clock()
        )
        await self._note_success(lease)
        return self._settings.polling_interval_seconds

    async def _recover(self, lease: Lease, feed: PollerState) -> float:
        walked = await self._recovery.read_page(lease, feed)
        if walked.arrivals:
            self.work_ready.set()
        if walked.erased:
            self.erased.set()
        await self._note_success(lease)
        return 0.0

    async def _fail(self, lease: Lease, failure: CallFailed) -> float:
        now = self._clock()
        await self._database.write(store.note_error, lease, f"CRM: {failure.error}", now)
        await targets.note_failure(self._database, lease, self._circuit, failure, now)
        next_poll_at = self._circuit.next_probe_at or now
        wait = (next_poll_at - now).total_seconds()
        return min(wait, max(self._settings.polling_interval_seconds, failure.retry_after))

    async def _has_enough(self) -> bool:
        mark = HIGH_MARK // 2 if self._is_full else HIGH_MARK
        is_full = await self._database.read(is_above, mark)
        if is_full != self._is_full:
            self._is_full = is_full
            logger.info(
                "%d or more deliveries are unfinished; reading the feed %s.",
                mark,
                "pauses" if is_full else "goes on",
            )
        return is_full


def is_erasure(event: Any) -> bool:
    """Whether an event reports that a customer was erased."""
    if not isinstance(event, dict) or event.get("type") not in WELCOME.undo_on:
        return False
    return _is_uid(event.get("subject"))


def is_of_other_type(event: Any) -> bool:
    """Whether an event was not asked for: its subject may not even be a customer."""
    kind = event.get("type") if isinstance(event, dict) else None
    return isinstance(kind, str) and kind not in WELCOME.event_types


def _number(event: Any) -> int | None:
    """Read the customer's integer id, without which the erasure still counts."""
    data = event.get("data")
    number = data.get("id") if isinstance(data, dict) else None
    return number if type(number) is int and 0 < number < LARGEST_NUMBER else None


def _is_uid(subject: Any) -> bool:
    return isinstance(subject, str) and _line(subject, LONGEST_UID) == subject


def _line(value: Any, longest: int) -> str | None:
    """Read a text that Inventory takes as well; None where it is none."""
    try:
        text = _LINE.validate_python(value, strict=True)
    except ValidationError:
        return None
    return text if 0 < len(text) <= longest else None


def understand(event: Any, through: int, index: int) -> Arrival:
    """Read one event. One that can't be understood becomes a dead delivery, so that it is seen."""
    try:
        kind, uid, sequence = event["type"], event["subject"], event["sequence"]
        name = event["data"].get("name")
    except (TypeError, KeyError, AttributeError):
        return _unreadable(event, through, index, "it has no type, subject, sequence or data")
    if not isinstance(kind, str):
        return _unreadable(event, through, index, "its type is none")
    if not _is_uid(uid):
        return _unreadable(event, through, index, "its subject is no customer's uid")
    if type(sequence) is not int or not 0 < sequence <= through:
        return _unreadable(event, through, index, "its sequence is not within the page")
    traceparent = tracing.valid_traceparent(event.get("traceparent"))
    name = _line(name, LONGEST_NAME)
    skip_reason = "unwanted" if WELCOME.is_unwanted(event) else None
    return Arrival(uid, name, sequence, traceparent=traceparent, skip_reason=skip_reason)


def _unreadable(event: Any, through: int, index: int, error: str) -> Arrival:
    raw = json.dumps(event, ensure_ascii=True).replace("\\u0000", "\\ufffd")
    return Arrival(f"unreadable-{through}-{index}", None, through, raw, f"The event: {error}.")
