"""Reads the CRM's feed, and writes down to whom a package is owed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from opentelemetry.trace import SpanKind
from pydantic import TypeAdapter, ValidationError

from integration_service.concurrency import run_to_completion
from integration_service.deliveries import claims
from integration_service.deliveries.ahead import Ahead
from integration_service.deliveries.log_lines import log_found
from integration_service.deliveries.models import Arrival, ErasedCustomer
from integration_service.feed import outages, store
from integration_service.feed.client import CrmClient
from integration_service.feed.high_mark import HighMark
from integration_service.feed.models import FeedBroken, FeedPage, as_received
from integration_service.feed.postal import destination_of, is_change
from integration_service.feed.recovery import Recovery
from integration_service.ledger import control
from integration_service.ledger.lease import Clock, Lease
from integration_service.ledger.models import PollerState
from integration_service.routes.definitions import WELCOME, InventoryRoute
from integration_service.settings import Settings
from integration_service.targets.failures import CallFailed
from integration_service.targets.target import Destination
from service_kit.database import Database
from service_kit.process import tracing
from service_kit.process.logs import new_request_id, use_request_id
from service_kit.web.fields import Line

logger = logging.getLogger("integration_service")

LONGEST_UID = 64
LONGEST_NAME = 200
LARGEST_NUMBER = 2**63
# After a long poll that was answered at once without events: the CRM is stopping, or can't wait.
EARLY_ANSWER_PAUSE_SECONDS = 0.5

# How long a page's note waits for what comes of sending it, to be written down with it.
ANSWER_SECONDS = 0.05

SendAhead = Callable[[Lease, Sequence[Arrival]], Awaitable[Ahead | None]]

_LINE: TypeAdapter[str] = TypeAdapter(Line)


class Ingest:
    """Polls the feed, one page at a time."""

    def __init__(
        self,
        database: Database,
        crm: CrmClient,
        settings: Settings,
        clock: Clock,
        route: InventoryRoute = WELCOME,
    ) -> None:
        self._database = database
        self._crm = crm
        self._route = route
        self._circuit = crm.circuit
        self._settings = settings
        self._clock = clock
        self._recovery = Recovery(database, crm, clock)
        self._high_mark = HighMark(database, route.name)
        # What this process has logged as wrong with the feed.
        self._logged_state: str | None = None
        # Whether it waits for the CRM's answer, and so can be cancelled without a loss.
        self.is_waiting = False
        # Set whenever there may be something to send.
        self.work_ready = asyncio.Event()
        # Set when someone was erased.
        self.erased = asyncio.Event()
        # Set when someone has another address.
        self.readdressed = asyncio.Event()
        # Sends new customers while their page is noted, where there is one who does.
        self.send_ahead: SendAhead | None = None
        # Who may have been noted as being sent, though nobody sends them any more.
        self._unsent: list[str] = []

    async def poll(self, lease: Lease, *, wait: float) -> float:
        """Poll once, and write down what is new. Returns how many seconds may pass until the next.

        Safe to repeat: dying anywhere in it leaves the cursor where it was, or moved together with
        the deliveries that it moved past.
        """
        use_request_id(new_request_id())
        await self._give_back(lease)
        feed = await self._database.read(control.state)
        if await self._high_mark.count():
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
            types = ",".join(self._route.event_types)
            return await self._crm.page(feed.cursor, feed.position, limit, wait, types)
        finally:
            self.is_waiting = False

    async def _begin(self, lease: Lease) -> PollerState:
        """Decide, at the very first start, whether customers that are there already are owed."""
        has_file = self._settings.routes_file is not None
        start_from = self._route.start_from if has_file else self._settings.start_from
        at = await self._crm.newest() if start_from == "now" else None
        await self._database.write(store.begin, lease, self._clock(), at)
        logger.info("Reading the CRM's feed from: %s", start_from)
        return await self._database.read(control.state)

    async def _note(self, lease: Lease, feed: PollerState, page: FeedPage) -> None:
        now = self._clock()
        arrivals, erased, changed = [], [], []
        for index, event in enumerate(page.events):
            if is_erasure(event, self._route):
                erased.append(ErasedCustomer(event["subject"], _number(event)))
            elif is_change(event):
                changed += [place] if (place := destination_of(event)) else []
            elif not is_of_other_type(event, self._route):
                arrivals.append(understand(event, page.through_position, index, self._route))
        move = {
            "old": feed.cursor,
            "new": page.next_cursor,
            "through": page.through_position,
            "head": page.head_position,
            "caught_up": None if page.has_more else now,
        }
        traced = (arrival.traceparent for arrival in arrivals)
        ahead = None if erased or changed else await self._start(lease, arrivals)
        with tracing.spans("find customer", SpanKind.CONSUMER, traced):
            if ahead is None:
                await self._note_first(lease, arrivals, move, now, erased, changed)
            else:
                seconds = 0.0 if page.has_more else ANSWER_SECONDS
                noting = self._note_ahead(lease, ahead, arrivals, move, now, seconds)
                await run_to_completion(noting)
        self._logged_state = None
        await self._note_success(lease)

    async def _note_first(
        self,
        lease: Lease,
        arrivals: Sequence[Arrival],
        move: Mapping[str, Any],
        now: datetime,
        erased: Sequence[ErasedCustomer],
        changed: Sequence[Destination],
    ) -> None:
        """Note a page, then have those act on it who do."""
        write = self._database.erase if erased else self._database.write
        new = await write(store.note_page, lease, arrivals, move, now, erased, changed)
        for arrival in new:
            log_found(arrival)
        if new:
            self.work_ready.set()
        if erased:
            self.erased.set()
        if changed:
            self.readdressed.set()

    async def _start(self, lease: Lease, arrivals: Sequence[Arrival]) -> Ahead | None:
        """Start to send customers who are new, where all that a page tells of is that."""
        if self.send_ahead is None or any(one.state != "pending" for one in arrivals):
            return None
        ahead = await self.send_ahead(lease, arrivals)
        if ahead is not None:
            for arrival in arrivals:
                log_found(arrival)
        return ahead

    async def _note_ahead(
        self,
        lease: Lease,
        ahead: Ahead,
        arrivals: Sequence[Arrival],
        move: Mapping[str, Any],
        now: datetime,
        seconds: float,
    ) -> None:
        """Note a page that is being sent, with what comes of that within so many seconds."""
        await ahead.wait(seconds)
        settlements = ahead.settlements
        try:
            noted = await self._database.write(
                store.note_ahead, lease, arrivals, move, now, settlements
            )
        except BaseException:
            # A database that went away may have committed it all the same.
            self._unsent = ahead.uids
            ahead.drop()
            raise
        if not ahead.tell(noted) and not noted.is_settled:
            self._unsent = ahead.uids

    async def _give_back(self, lease: Lease) -> None:
        """Have those sent who are noted as being sent, and are not."""
        if self._unsent:
            name = self._route.name
            await self._database.write(claims.unclaim_customers, lease, name, self._unsent)
            self._unsent = []
            self.work_ready.set()

    async def _note_success(self, lease: Lease) -> None:
        await outages.note_success(self._database, lease, self._circuit)

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
        if walked.destinations:
            self.readdressed.set()
        await self._note_success(lease)
        return 0.0

    async def _fail(self, lease: Lease, failure: CallFailed) -> float:
        interval = self._settings.polling_interval_seconds
        return await outages.note_failure(
            self._database, lease, self._circuit, failure, self._clock(), interval
        )


def is_erasure(event: Any, route: InventoryRoute = WELCOME) -> bool:
    """Whether an event reports that a customer was erased."""
    if not isinstance(event, dict) or event.get("type") not in route.undo_on:
        return False
    return _is_uid(event.get("subject"))


def is_of_other_type(event: Any, route: InventoryRoute = WELCOME) -> bool:
    """Whether an event was not asked for: its subject may not even be a customer."""
    kind = event.get("type") if isinstance(event, dict) else None
    return isinstance(kind, str) and kind not in route.event_types


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


def understand(event: Any, through: int, index: int, route: InventoryRoute = WELCOME) -> Arrival:
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
    skip_reason = "unwanted" if route.is_unwanted(event) else None
    arrival = Arrival(uid, name, sequence, traceparent=traceparent, skip_reason=skip_reason)
    place = destination_of(event)
    arrival.destination = place if place and place.ship_to else None
    return arrival


def _unreadable(event: Any, through: int, index: int, error: str) -> Arrival:
    subject = f"unreadable-{through}-{index}"
    return Arrival(subject, None, through, as_received(event), f"The event: {error}.")
