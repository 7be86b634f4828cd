"""Leaves the feed unread for a route that has too much to do already."""

import logging

from integration_service.deliveries.store import is_above
from service_kit.database import Database

# Reading stops above this many unfinished deliveries, and goes on below half of it: an outage of
# a target must not copy the whole CRM into this database.
HIGH_MARK = 20_000

logger = logging.getLogger("integration_service")


class HighMark:
    """Whether a route has too many unfinished deliveries, as they were when last counted."""

    def __init__(self, database: Database, route: str) -> None:
        self._database = database
        self._route = route
        self.is_reached = False

    async def count(self) -> bool:
        """Count them anew. Returns whether the feed is to be left unread for the route."""
        mark = HIGH_MARK // 2 if self.is_reached else HIGH_MARK
        is_reached = await self._database.read(is_above, self._route, mark)
        if is_reached != self.is_reached:
            logger.info(
                "%d or more deliveries of the route %s are unfinished; reading the feed for it %s.",
                mark,
                self._route,
                "pauses" if is_reached else "goes on",
            )
        self.is_reached = is_reached
        return is_reached
