"""Prometheus metrics of one app; across worker processes where there are several."""

import os
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """A registry, and what every HTTP service counts. A service adds its own to the registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "http_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}
        self._shared: list[tuple[Collector, Callable[[], Awaitable[None]]]] = []

    def add_shared(self, collector: Collector, refresh: Callable[[], Awaitable[None]]) -> None:
        """Show what all processes know alike, as from a database; `refresh` reads it anew."""
        self.registry.register(collector)
        self._shared.append((collector, refresh))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        # Kept, since to find the series by its labels takes longer than to count in it.
        series = self._series.get((method, route, status))
        if series is None:
            series = self._requests.labels(method, route, status)
            self._series[method, route, status] = series
        series.observe(seconds)

    async def exposition(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        for _, refresh in self._shared:
            await refresh()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        for collector, _ in self._shared:
            merged.register(collector)
        return generate_latest(merged)
