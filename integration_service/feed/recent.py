"""Events that were read a moment ago."""

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

# So briefly that it is as if the event had been on its way when its customer was erased.
KEPT_SECONDS = 5.0
MOST = 2000


class RecentEvents:
    """Keeps events in memory for a few seconds, which spares reading each again to send it.

    Several routes may send one, so it stays until it is too old, or too many have come after it.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()

    def add(self, events: Iterable[dict[str, Any]]) -> None:
        now = time.monotonic()
        for event in events:
            self._kept[event["id"]] = now, event
        while self._kept:
            read_at, _ = next(iter(self._kept.values()))
            if len(self._kept) <= MOST and now - read_at <= KEPT_SECONDS:
                return
            self._kept.popitem(last=False)

    def find(self, event_id: str) -> dict[str, Any] | None:
        read_at, event = self._kept.get(event_id, (0.0, None))
        if event is None or time.monotonic() - read_at > KEPT_SECONDS:
            return None
        return event
