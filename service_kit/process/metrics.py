"""What a service tells Prometheus, by its own library; several workers are added up."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# In seconds; each bucket holds what took no longer, and one more the rest.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

SHARED_SECONDS = 1.0


class Metrics:
    """What every HTTP service counts, and what a service adds of its own."""

    def __init__(self) -> None:
        self._requests = Histogram(
            "http_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=None,
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}
        self._shared: list[Callable[[], Awaitable[Iterable[Metric]]]] = []
        self._latest: asyncio.Task[bytes] | None = None
        self._latest_at = 0.0

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        labels = method, route, status
        series = self._series.get(labels)
        if series is None:  # finding it takes the library longer than counting
            series = self._series[labels] = self._requests.labels(*labels)
        series.observe(seconds)

    def add_shared(self, read: Callable[[], Awaitable[Iterable[Metric]]]) -> None:
        """Show what all processes know alike, as from a database."""
        self._shared.append(read)

    async def exposition(self) -> tuple[bytes, str]:
        """Return all metrics in Prometheus' text format, and its media type.

        They are written once a second at most, for all who ask: it may take a database's time.
        """
        now = time.monotonic()
        latest = self._latest
        # One that takes longer than that is waited for: a second would only slow it down.
        if latest is None or (latest.done() and now - self._latest_at >= SHARED_SECONDS):
            latest = self._latest = asyncio.ensure_future(self._write())
            self._latest_at = now
        return await asyncio.shield(latest), CONTENT_TYPE_LATEST

    async def _write(self) -> bytes:
        registry = CollectorRegistry()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(self._requests)
        registry.register(_Read([metric for read in self._shared for metric in await read()]))
        return generate_latest(registry)


class _Read(Collector):
    """Metrics that have been read already: a collector can't wait for a database."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
