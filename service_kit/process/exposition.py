"""Prometheus' own library, behind what metrics.py speaks of; loaded only to be used."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from service_kit.process.metrics import BUCKETS, Series

_NAME = "http_request_duration_seconds"
_ABOUT = "Time from a request's head to the end of its answer."
_LABELS = ("method", "route", "status")
_BOUNDS = [*map(str, BUCKETS), "+Inf"]


class AllRequests:
    """Those of all processes of a service, which the library adds up from files."""

    def __init__(self) -> None:
        self._own = Histogram(_NAME, _ABOUT, _LABELS, buckets=BUCKETS, registry=None)
        self._series: dict[tuple[str, str, int], Histogram] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        # Kept, since to find the series by its labels takes longer than to count in it.
        series = self._series.get((method, route, status))
        if series is None:
            series = self._series[method, route, status] = self._own.labels(method, route, status)
        series.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return merged.collect()


def histogram(counted: Mapping[tuple[str, str, int], Series]) -> Metric:
    """Make what the library's own histogram would of the same observations."""
    family = HistogramMetricFamily(_NAME, _ABOUT, labels=_LABELS)
    for (method, route, status), series in counted.items():
        labels = (method, route, str(status))
        buckets = list(zip(_BOUNDS, accumulate(series.counts), strict=True))
        family.add_metric(labels, buckets, series.seconds)
        created = dict(zip(_LABELS, labels, strict=True))
        family.add_sample(f"{_NAME}_created", created, series.created_at)
    return family


def write(families: Iterable[Metric]) -> tuple[bytes, str]:
    """Write them as text, and tell its media type."""
    return generate_latest(_Collected(families)), CONTENT_TYPE_LATEST


class _Collected:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
