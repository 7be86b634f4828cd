"""Compares the CRM's feed with what a webhook's route was owed: a delivery for every event."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from integration_service.deliveries.models import OwedEvent
from integration_service.deliveries.store import known_events
from integration_service.feed import places
from integration_service.feed.client import CrmClient
from integration_service.feed.models import FeedBroken, FeedPage
from integration_service.feed.past import is_for, past_pages
from integration_service.feed.subscriptions import understand
from integration_service.ledger.lease import Clock
from integration_service.ledger.models import RouteState, audit
from integration_service.reconcile import store
from integration_service.routes.definitions import WebhookRoute
from integration_service.targets.failures import Transient
from service_kit.database import Database
from service_kit.web.auth import Principal


class RouteNotRead(Exception):
    """The route has no place in the feed that what it was owed could be compared with."""


@dataclass(slots=True)
class Found:
    """What came of a comparison, up to the position that the route had read."""

    route: str
    through_position: int
    events: int = 0
    missing: int = 0
    repaired: int = 0

    def document(self) -> dict[str, Any]:
        return asdict(self)


class EventComparison:
    """Walks the feed from where the route began, or from the oldest event that is left.

    Memory for a page is all it needs. What was wanted is judged by the file of routes as it is
    now. A delivery in any state counts: delivered, skipped and dead are results, and the others are
    on their way.
    """

    def __init__(
        self, database: Database, crm: CrmClient, route: WebhookRoute, clock: Clock
    ) -> None:
        self._database = database
        self._crm = crm
        self._route = route
        self._clock = clock
        # Takes each event without a delivery.
        self.publish: Callable[[OwedEvent], None] = lambda _: None
        # Takes how far it is: what is being read, and how many there were so far.
        self.progress: Callable[[str, int], None] = lambda *_: None

    async def carry_out(self, by: Principal, *, repair: bool) -> Found:
        """Do it; `repair` owes what is missing. Raises CallFailed or RouteNotRead."""
        place = await self._place()
        await self._database.write(_record, self._route.name, by, repair=repair)
        found = Found(self._route.name, place.position or 0)
        since = place.first_position
        async for page in past_pages(self._crm, [self._route], since, may_skip=True):
            owed = self._owed(page, found.through_position)
            missing = await self._missing(owed)
            found.events += len(owed)
            found.missing += len(missing)
            if repair and missing:
                now = self._clock()
                found.repaired += await self._database.write(
                    store.repair_events, place, missing, now
                )
            for one in missing:
                self.publish(one)
            self.progress("events", found.events)
            if page.through_position >= found.through_position:
                break
        return found

    async def _place(self) -> RouteState:
        """Return how far the route is, in the feed that the CRM has now."""
        place = (await self._database.read(places.states)).get(self._route.name)
        if place is None or place.first_position is None or place.removed_at is not None:
            raise RouteNotRead(f"the route {self._route.name} has read nothing of the feed yet")
        if place.feed_state != "running":
            raise RouteNotRead(
                f"the route {self._route.name} is in a gap; first somebody has to accept that"
            )
        types = ",".join(sorted(self._route.event_types))
        try:
            await self._crm.page(place.cursor, place.position, 1, 0.0, types)
        except FeedBroken as broken:
            raise Transient(broken.detail) from None
        return place

    def _owed(self, page: FeedPage, through: int) -> list[OwedEvent]:
        """Return what the route is to report of a page, as far as that can be told now."""
        events = [
            understand(event, page.through_position, index)
            for index, event in enumerate(page.events)
            if isinstance(event, Mapping)
            and is_for(self._route, event)
            and not _is_of_erased(event)
        ]
        # One that can't be read is stored under a name that depends on the page it came with.
        return [one for one in events if not one.error and one.sequence <= through]

    async def _missing(self, owed: list[OwedEvent]) -> list[OwedEvent]:
        ids = [one.subject for one in owed]
        known = await self._database.read(known_events, self._route.name, ids)
        return [one for one in owed if one.subject not in known]


def _record(db: Connection, name: str, by: Principal, *, repair: bool) -> None:
    action = "repair.requested" if repair else "reconcile.requested"
    audit.record(db, action, f"route {name}", by=by)


def _is_of_erased(event: Mapping[str, Any]) -> bool:
    """Whether it is an earlier event of a customer who was erased since.

    Its data are blank, so conditions can't be judged by them any more.
    """
    data = event.get("data")
    if event.get("type") == "customer.erased" or not isinstance(data, Mapping):
        return False
    return str(event.get("type")).startswith("customer.") and data.get("name") == ""
