"""Has the CRM keep the events that webhooks still need, when its feed is pruned."""

import logging
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from integration_service.deliveries.models import UNFINISHED, deliveries
from integration_service.feed import places
from integration_service.feed.client import CrmClient
from integration_service.feed.models import FeedBroken
from integration_service.ledger.lease import Lease
from integration_service.targets.failures import CallFailed
from service_kit.database import Database
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

# What the CRM calls this reader. An announcement counts for seven days there.
READER = "integration"
ANNOUNCE_SECONDS = 300.0
RETRY_SECONDS = 10.0


class Needed(NamedTuple):
    """Behind which position every event is needed, and a cursor that stands there or later."""

    position: int
    cursor: str | None


class Announcing:
    """Says every few minutes how far the slowest of these routes is."""

    def __init__(self, database: Database, crm: CrmClient, names: Collection[str]) -> None:
        self._database = database
        self._crm = crm
        self._names = names

    async def run(self, _lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop."""
        while not stopping.begun:
            is_announced = await self.announce()
            await stopping.sleep(ANNOUNCE_SECONDS if is_announced else RETRY_SECONDS)

    async def announce(self) -> bool:
        """Announce once. Returns whether the CRM knows it now; if not, the last one counts on."""
        needed = await self._database.read(_needed, self._names)
        if needed is None:
            return False
        try:
            await self._crm.announce(READER, needed.position, needed.cursor)
        except (CallFailed, FeedBroken) as failure:
            logger.warning("The CRM was not told which events are still needed: %s", failure)
            return False
        return True


def _needed(db: Connection, names: Collection[str]) -> Needed | None:
    """Return what the slowest route needs; None where a place is not known yet."""
    states = [one for one in places.states(db).values() if one.name in names]
    reading = [one for one in states if one.feed_state == "running"]
    if not reading or any(one.position is None for one in reading):
        return None
    slowest = min(reading, key=lambda one: one.position or 0)
    waiting = select(func.min(deliveries.c.sequence)).where(
        deliveries.c.route.in_(names), UNFINISHED
    )
    first = db.execute(waiting).scalar_one()
    position = slowest.position or 0
    return Needed(position if first is None else min(position, first - 1), slowest.cursor)
