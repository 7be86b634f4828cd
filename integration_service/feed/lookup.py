"""Finds events of the feed again, for whoever sends them: the ledger keeps none of their data."""

import asyncio
from collections.abc import Mapping
from typing import Any

from integration_service.feed.client import CrmClient
from integration_service.feed.models import FeedBroken
from integration_service.feed.recent import RecentEvents
from integration_service.targets.failures import CallFailed

# So many are read with one that is looked for, where they are needed next.
MOST_AHEAD = 200


class EventLookup:
    """Looks events up by their positions, and reads those ahead that are looked for next.

    What was read is as good as new for a few seconds, as `RecentEvents` says.
    """

    def __init__(self, crm: CrmClient, just_read: RecentEvents, types: str) -> None:
        self._crm = crm
        self._just_read = just_read
        self._ahead = RecentEvents()
        self._types = types
        # One at a time reads: the others find theirs in what that has read.
        self._reading = asyncio.Lock()
        self._reads = 0
        self._failed: tuple[int, CallFailed] | None = None

    async def find(self, position: int, event_id: str, through: int) -> Mapping[str, Any] | None:
        """Find an event by its position and id; None where it is no longer there.

        `through` is up to which position others are looked for next. Raises CallFailed.
        """
        if (found := self._known(event_id)) is not None:
            return found
        reads = self._reads
        async with self._reading:
            if (found := self._known(event_id)) is not None:
                return found
            # Whoever waited for a call that failed would only wait for the same again.
            if self._failed is not None and self._failed[0] > reads:
                raise self._failed[1]
            await self._read(position, min(MOST_AHEAD, max(0, through - position)))
        return self._known(event_id)

    def _known(self, event_id: str) -> Mapping[str, Any] | None:
        return self._just_read.find(event_id) or self._ahead.find(event_id)

    async def _read(self, position: int, ahead: int) -> None:
        try:
            found = await self._crm.events_from(position, ahead, self._types)
        except FeedBroken:
            return
        except CallFailed as failure:
            self._failed = (self._reads + 1, failure)
            raise
        finally:
            self._reads += 1
        self._ahead.add(event for event in found if _has_id(event))


def _has_id(event: Any) -> bool:
    return isinstance(event, dict) and isinstance(event.get("id"), str)
