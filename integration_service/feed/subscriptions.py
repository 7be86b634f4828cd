"""Reads the CRM's feed for the routes that report events to webhooks."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.trace import SpanKind

from integration_service.deliveries.models import OwedEvent
from integration_service.feed import outages, places
from integration_service.feed.client import CrmClient
from integration_service.feed.high_mark import HighMark
from integration_service.feed.ingest import EARLY_ANSWER_PAUSE_SECONDS
from integration_service.feed.models import FeedBroken, FeedPage, as_received
from integration_service.feed.past import is_for
from integration_service.feed.places import NEWEST, OLDEST, Move
from integration_service.feed.recent import RecentEvents
from integration_service.ledger.lease import Clock, Lease
from integration_service.ledger.models import RouteState
from integration_service.routes.definitions import ERASED, WebhookRoute
from integration_service.settings import Settings
from integration_service.targets.failures import CallFailed, Transient
from service_kit.database import Database
from service_kit.process import tracing
from service_kit.process.logs import new_request_id, use_request_id

logger = logging.getLogger("integration_service")

# How soon routes are looked at again that are not read now: full, or after a gap.
RECHECK_SECONDS = 1.0
# How soon the next page is read where routes that have come to the end are still to meet there.
MEETING_SECONDS = 0.1
LONGEST_SUBJECT = 64


class Subscriptions:
    """Polls the feed for all of these routes; those that stand at one place share a page.

    A route with too many unfinished deliveries is left where it is, and so is one with a gap.
    """

    def __init__(
        self,
        database: Database,
        crm: CrmClient,
        routes: Sequence[WebhookRoute],
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._database = database
        self._crm = crm
        self._routes = {route.name: route for route in routes}
        self._settings = settings
        self._clock = clock
        self._high_marks = {route.name: HighMark(database, route.name) for route in routes}
        # What was read a moment ago, so that it need not be read again to be sent.
        self.recent = RecentEvents()
        # Whether it waits for the CRM's answer, and so can be cancelled without a loss.
        self.is_waiting = False
        # Set whenever there may be something to send, by the route's name.
        self.work_ready = {route.name: asyncio.Event() for route in routes}

    async def poll(self, lease: Lease, *, wait: float) -> float:
        """Read one page for each place at which routes stand, and write down what is owed.

        Returns how many seconds may pass until the next poll. Safe to repeat: dying anywhere in it
        leaves each route where it was, or moved together with the deliveries that it moved past.
        """
        use_request_id(new_request_id())
        groups = await self._groups()
        if not groups:
            return RECHECK_SECONDS
        if len(groups) > 1:
            wait = 0.0
        elif self._is_one_full():
            wait = min(wait, RECHECK_SECONDS)
        has_more, is_early, started_at = False, False, time.monotonic()
        try:
            for group in groups:
                page = await self._read(lease, group, wait)
                has_more |= page is None or page.has_more
                is_early |= page is not None and not page.events
        except CallFailed as failure:
            interval = self._settings.polling_interval_seconds
            return await outages.note_failure(
                self._database, lease, self._crm.circuit, failure, self._clock(), interval
            )
        await outages.note_success(self._database, lease, self._crm.circuit)
        if has_more:
            return 0.0
        if len(groups) > 1:
            return MEETING_SECONDS
        if not wait:
            return (
                RECHECK_SECONDS if self._is_one_full() else self._settings.polling_interval_seconds
            )
        too_soon = is_early and time.monotonic() - started_at < wait / 2
        return EARLY_ANSWER_PAUSE_SECONDS if too_soon else 0.0

    async def _groups(self) -> list[list[RouteState]]:
        """Return the routes that can be read on, those together that stand at the same place."""
        states = await self._database.read(places.states)
        groups: dict[Any, list[RouteState]] = {}
        for name in self._routes:
            state = states[name]
            if state.feed_state == "running" and not await self._high_marks[name].count():
                start = self._start_of(state) if _is_new(state) else None
                groups.setdefault((state.cursor, state.position, start), []).append(state)
        return list(groups.values())

    def _is_one_full(self) -> bool:
        return any(mark.is_reached for mark in self._high_marks.values())

    def _start_of(self, state: RouteState) -> str:
        if state.start_from == NEWEST:
            return "now"
        return str(self._routes[state.name].start_from)

    async def _read(self, lease: Lease, group: list[RouteState], wait: float) -> FeedPage | None:
        """Read a page for routes at one place; None where they have only been given a place."""
        [first, *_] = group
        names = [state.name for state in group]
        try:
            if _is_new(first):
                await self._begin(lease, names, self._start_of(first))
                return None
            page = await self._page(names, first, wait)
        except FeedBroken as broken:
            await self._after_break(lease, first, names, broken)
            return None
        await self._note(lease, first, names, page)
        return page

    async def _page(self, names: list[str], place: RouteState, wait: float) -> FeedPage:
        types = {kind for name in names for kind in self._routes[name].event_types}
        if any(kind.startswith("customer.") for kind in types):
            types.add(ERASED)  # whoever asks for it: what was answered about them is forgotten
        self.is_waiting = True
        try:
            return await self._crm.page(
                place.cursor,
                place.position,
                self._settings.batch_size,
                wait,
                types=",".join(sorted(types)),
            )
        finally:
            self.is_waiting = False

    async def _begin(self, lease: Lease, names: list[str], start: str) -> None:
        """Give routes a place in the feed that have none, as their file or a person says."""
        cursor: str | None = None
        position: int | None = 0
        if start == "now":
            cursor, position = (await self._crm.newest()).feed_cursor, None
        elif start.isdecimal() and int(start):
            cursor, position = await self._crm.cursor_behind(int(start)), int(start)
            if cursor is None:
                raise Transient(
                    f"the feed does not reach position {start} yet, where a route starts"
                )
        await self._database.write(places.begin, lease, names, start, cursor, position)
        logger.info("Reading the CRM's feed from: %s (for %s)", start, ", ".join(names))

    async def _after_break(
        self, lease: Lease, place: RouteState, names: list[str], broken: FeedBroken
    ) -> None:
        """Begin at the oldest event that is left where that is what was asked for; else stop."""
        may_skip = place.cursor is None and place.start_from in {"beginning", OLDEST}
        if may_skip and broken.oldest_cursor is not None:
            start = place.start_from or OLDEST
            oldest = broken.oldest_cursor
            await self._database.write(places.begin, lease, names, start, oldest, None)
            return
        logger.error(
            "The feed is %s for the routes %s: %s. They read nothing more until someone accepts "
            "the gap: POST /routes/{name}/resume?accept_gap=true.",
            broken.state,
            ", ".join(names),
            broken.detail.rstrip("."),
        )
        await self._database.write(places.mark_gap, lease, names, broken.detail, self._clock())

    async def _note(
        self, lease: Lease, place: RouteState, names: list[str], page: FeedPage
    ) -> None:
        owed = {name: self._owed(self._routes[name], page) for name in names}
        traced = [event.traceparent for found in owed.values() for event in found]
        now = self._clock()
        with tracing.spans("find event", SpanKind.CONSUMER, traced):
            move = Move(place.cursor, page)
            await self._database.write(places.note_page, lease, move, owed, now)
        wanted = {event.subject for found in owed.values() for event in found}
        self.recent.add(event for event in page.events if _id_of(event) in wanted)
        for name, found in owed.items():
            if found:
                self.work_ready[name].set()

    def _owed(self, route: WebhookRoute, page: FeedPage) -> list[OwedEvent]:
        return [
            understand(event, page.through_position, index)
            for index, event in enumerate(page.events)
            if not isinstance(event, Mapping) or is_for(route, event)
        ]


def understand(event: Any, through: int, index: int) -> OwedEvent:
    """Read one event. One that can't be understood becomes a dead delivery, so that it is seen."""
    kind = event.get("type") if isinstance(event, Mapping) else None
    event_id, subject = _id_of(event), event.get("subject") if kind else None
    sequence = event.get("sequence") if kind else None
    if not _is_short(event_id) or not _is_short(subject):
        error = "it has no id or no subject"
    elif type(sequence) is not int or not 0 < sequence <= through:
        error = "its sequence is not within the page"
    else:
        traceparent = tracing.valid_traceparent(event.get("traceparent"))
        return OwedEvent(event_id, str(kind), subject, sequence, traceparent=traceparent)
    unreadable = f"unreadable-{through}-{index}"
    return OwedEvent(
        unreadable, str(kind)[:40], None, through, as_received(event), f"The event: {error}."
    )


def _is_new(state: RouteState) -> bool:
    """Whether a route has to be given a place in the feed before it can be read for."""
    return state.cursor is None and state.start_from in {None, NEWEST}


def _id_of(event: Any) -> Any:
    return event.get("id") if isinstance(event, Mapping) else None


def _is_short(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= LONGEST_SUBJECT and text.isprintable()
