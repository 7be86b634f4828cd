"""What Prometheus sees of the integration. It is the ledger's, so each replica shows the same."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from integration_service.operations import overview
from integration_service.operations.overview import Figures
from integration_service.operations.schemas import FeedStatus
from integration_service.reconcile.schemas import ReconcileRun
from service_kit.database import Database, DatabaseUnavailable

FEED_STATES = ("running", "recovering", "diverged", "expired")
OUTCOMES = ("success", "transient", "refused", "undone")
_UP = "Whether the ledger's database answers."


async def read(database: Database, now: datetime) -> list[Metric]:
    """Read all of them from the ledger; where it is away, only that it is."""
    try:
        figures = await database.scan(overview.figures, now)
    except DatabaseUnavailable:
        return [_gauge("ledger_up", _UP, value=False)]
    return [
        _gauge("ledger_up", _UP, value=True),
        *_of_feed(figures.status.feed),
        *_of_deliveries(figures),
        *_of_poller(figures),
        *_of_reconciliation(figures.reconciled),
    ]


def _of_feed(feed: FeedStatus) -> Iterator[Metric]:
    yield _gauge("feed_position", "The last position read.", feed.position)
    yield _gauge("feed_head_position", "The newest position known.", feed.head_position)
    yield _gauge("feed_lag_events", "Positions known and not read.", feed.lag_events)
    yield _gauge("feed_lag_seconds", "Since when not read to its end.", feed.lag_seconds)
    states = {state: state == feed.state for state in FEED_STATES}
    yield _gauges("feed_state", "1 for the state the feed is in.", "state", states)
    yield _counter("recoveries", "Walks over all customers for a broken feed.", feed.recoveries)


def _of_deliveries(figures: Figures) -> Iterator[Metric]:
    status = figures.status
    yield _gauges("deliveries", "Deliveries by state.", "state", status.deliveries)
    oldest = status.oldest_unfinished_seconds
    yield _gauge("oldest_unfinished_seconds", "Age of the oldest that is owed.", oldest or 0.0)
    counts = {outcome: figures.attempts.get(outcome, 0) for outcome in OUTCOMES}
    attempts = CounterMetricFamily(
        "integration_attempts", "Attempts by what came of them.", labels=["outcome"]
    )
    for outcome, number in counts.items():
        attempts.add_metric([outcome], number)
    yield attempts
    yield _gauge("erasures_waiting", "Customers to be forgotten.", figures.erasures_waiting)


def _of_poller(figures: Figures) -> Iterator[Metric]:
    status = figures.status
    circuits = {target: one.state == "open" for target, one in status.circuits.items()}
    yield _gauges("circuit_open", "Whether a far side is not called.", "target", circuits)
    yield _gauge("paused", "Whether an operator has stopped the sending.", bool(status.paused_at))
    yield _gauge("lease_held", "Whether any process polls.", figures.is_leased)
    yield _gauge("lease_epoch", "Grows with each takeover.", figures.lease_epoch)
    at = _timestamp(status.last_poll_at)
    yield _gauge("last_poll_timestamp_seconds", "When the feed was last looked at.", at)
    yield _counter("repairs", "Packages that a comparison had to enqueue.", figures.repairs)


def _of_reconciliation(run: ReconcileRun | None) -> Iterator[Metric]:
    at = _timestamp(run.finished_at if run else None)
    yield _gauge("reconcile_timestamp_seconds", "When a comparison last came to its end.", at)
    if run is None:
        return
    yield _gauge("reconcile_missing", "Customers without a package they are owed.", run.missing)
    about = "Packages that are not enqueued before a person confirms it."
    yield _gauge("reconcile_held_back", about, run.held_back)
    yield _gauge("reconcile_extra", "Packages of nobody the CRM has.", run.extra)
    yield _gauge("reconcile_double", "Customers with more than one.", run.double)
    yield _gauge("reconcile_erased", "Erasures that Inventory had not applied.", run.erased)


def _timestamp(instant: datetime | None) -> float:
    return 0.0 if instant is None else instant.timestamp()


def _gauge(name: str, about: str, value: float | None) -> GaugeMetricFamily:
    """Make a gauge; without a sample where nothing is known."""
    family = GaugeMetricFamily(f"integration_{name}", about)
    if value is not None:
        family.add_metric([], float(value))
    return family


def _gauges(name: str, about: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"integration_{name}", about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


def _counter(name: str, about: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"integration_{name}", about, value=value)
