"""What an app counts for Prometheus. Its library is loaded when the figures are first asked for.

The library brings HTTP servers and clients along: 10 ms of a start, and 1.3 MiB.
"""

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client import Metric

# In seconds; each bucket holds what took no longer, and one more the rest.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

SHARED_SECONDS = 1.0


class Requests(Protocol):
    """How long requests took, by method, route and status."""

    def observe(self, method: str, route: str, status: int, seconds: float) -> None: ...

    def collect(self) -> "Iterable[Metric]": ...


class Series:
    """How long the requests of one method, route and status took."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.created_at = time.time()


class OwnRequests:
    """Those of this process, which alone answers for its service."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], Series] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        series = self._series.get((method, route, status))
        if series is None:
            series = self._series[method, route, status] = Series()
        series.counts[bisect_left(BUCKETS, seconds)] += 1
        series.seconds += seconds

    def collect(self) -> "Iterable[Metric]":
        from service_kit.process.exposition import histogram

        return [histogram(self._series)]


class Metrics:
    """What every HTTP service counts, and what a service adds of its own."""

    def __init__(self) -> None:
        self._requests = _requests()
        self.observe = self._requests.observe
        self._shared: list[Callable[[], Awaitable[Iterable[Metric]]]] = []
        self._latest: asyncio.Task[tuple[bytes, str]] | None = None
        self._latest_at = 0.0

    def add_shared(self, read: "Callable[[], Awaitable[Iterable[Metric]]]") -> None:
        """Show what all processes know alike, as from a database."""
        self._shared.append(read)

    async def exposition(self) -> tuple[bytes, str]:
        """Return all metrics in Prometheus' text format, and its media type.

        They are written once a second at most, for all who ask: it may take a database's time.
        """
        now = time.monotonic()
        if self._latest is None or now - self._latest_at >= SHARED_SECONDS:
            self._latest = asyncio.ensure_future(self._write())
            self._latest_at = now
        return await asyncio.shield(self._latest)

    async def _write(self) -> tuple[bytes, str]:
        from service_kit.process.exposition import write

        families = [*self._requests.collect()]
        for read in self._shared:
            families.extend(await read())
        return write(families)


def _requests() -> Requests:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return OwnRequests()
    from service_kit.process.exposition import AllRequests

    return AllRequests()
