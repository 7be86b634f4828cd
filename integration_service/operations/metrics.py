"""What Prometheus sees of the integration. It is the ledger's, so each replica shows the same."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Connection

from integration_service.deliveries import erasures, store
from integration_service.feed import places
from integration_service.ledger import control
from integration_service.ledger.lease import now_of
from integration_service.ledger.models import RouteState
from integration_service.operations import overview
from integration_service.operations.schemas import FeedStatus, RouteSummary, Status
from integration_service.reconcile import store as reconcile
from integration_service.reconcile.models import Run
from integration_service.routes.definitions import Route
from service_kit.database import Database, DatabaseUnavailable

FEED_STATES = ("running", "recovering", "diverged", "expired")
OUTCOMES = ("success", "transient", "refused", "undone")
_UP = "Whether the ledger's database answers."


async def read(database: Database, routes: Collection[Route], now: datetime) -> list[Metric]:
    """Read all of them from the ledger; where it is away, only that it is."""
    try:
        return await database.scan(_of_ledger, routes, now)
    except DatabaseUnavailable:
        return [_gauge("ledger_up", _UP, value=False)]


def _of_ledger(db: Connection, routes: Collection[Route], now: datetime) -> list[Metric]:
    """Make them. Their cost grows with the number of deliveries."""
    status = overview.status(db, now, None, routes)
    return [
        _gauge("ledger_up", _UP, value=True),
        *_of_feed(status.feed),
        *_of_deliveries(db, status),
        *_of_routes(status.routes, places.states(db)),
        *_of_poller(db, status),
        *_of_reconciliation(reconcile.last_finished(db)),
    ]


def _of_feed(feed: FeedStatus) -> list[Metric]:
    states = {state: state == feed.state for state in FEED_STATES}
    return [
        _gauge("feed_position", "The last position read.", feed.position),
        _gauge("feed_head_position", "The newest position known.", feed.head_position),
        _gauge("feed_lag_events", "Positions known and not read.", feed.lag_events),
        _gauge("feed_lag_seconds", "Since when not read to its end.", feed.lag_seconds),
        _gauges("feed_state", "1 for the state the feed is in.", "state", states),
        _counter("recoveries", "Walks over all customers for a broken feed.", feed.recoveries),
    ]


def _of_deliveries(db: Connection, status: Status) -> list[Metric]:
    about = "Attempts by what came of them."
    attempts = CounterMetricFamily("integration_attempts", about, labels=["outcome"])
    totals = store.attempt_totals(db)
    for outcome in OUTCOMES:
        attempts.add_metric([outcome], totals.get(outcome, 0))
    oldest = status.oldest_unfinished_seconds or 0.0
    return [
        _gauges("deliveries", "Deliveries by state.", "state", status.deliveries),
        _gauge("oldest_unfinished_seconds", "Age of the oldest that is owed.", oldest),
        attempts,
        _gauge("erasures_waiting", "Customers to be forgotten.", erasures.waiting(db)),
    ]


def _of_routes(routes: Sequence[RouteSummary], states: Mapping[str, RouteState]) -> list[Metric]:
    about = "Deliveries by route and state."
    owed = GaugeMetricFamily("integration_route_deliveries", about, labels=["route", "state"])
    for route in routes:
        for state, number in route.deliveries.items():
            owed.add_metric([route.name, state], number)
    lag = {route.name: route.lag_events for route in routes if route.lag_events is not None}
    gap = {route.name: route.feed_state == "gap" for route in routes}
    paused = {route.name: route.paused_at is not None for route in routes}
    gone = {
        route.name: route.name in states and states[route.name].pause_reason is not None
        for route in routes
    }
    return [
        owed,
        _gauges("route_lag_events", "Positions known and not read by a route.", "route", lag),
        _gauges("route_gap", "Whether a route has lost events it had not read.", "route", gap),
        _gauges("route_paused", "Whether nothing of a route is sent.", "route", paused),
        _gauges("route_gone", "Whether its receiver's 410 has paused a route.", "route", gone),
        _gauge("paused", "Whether a sending is stopped.", any(paused.values())),
    ]


def _of_poller(db: Connection, status: Status) -> list[Metric]:
    row = control.state(db)
    is_leased = row.lease_until is not None and row.lease_until > now_of(db)
    open_ = {target: one.state == "open" for target, one in status.circuits.items()}
    at = _timestamp(status.last_poll_at)
    return [
        _gauges("circuit_open", "Whether a remote service is not called.", "target", open_),
        _gauge("lease_held", "Whether any process polls.", is_leased),
        _gauge("lease_epoch", "Grows with each takeover.", row.lease_epoch),
        _gauge("last_poll_timestamp_seconds", "When the feed was last looked at.", at),
        _counter("repairs", "Packages that a comparison had to enqueue.", row.repairs),
    ]


def _of_reconciliation(found: Run | None) -> list[Metric]:
    at = _timestamp(found.finished_at if found else None)
    when = _gauge("reconcile_timestamp_seconds", "When a comparison last came to its end.", at)
    if found is None:
        return [when]
    run = reconcile.show(found)
    held_back = "Packages that are not enqueued before a person confirms it."
    return [
        when,
        _gauge("reconcile_missing", "Customers without a package they are owed.", run.missing),
        _gauge("reconcile_held_back", held_back, run.held_back),
        _gauge("reconcile_extra", "Packages of nobody the CRM has.", run.extra),
        _gauge("reconcile_double", "Customers with more than one.", run.double),
        _gauge("reconcile_erased", "Erasures that Inventory had not applied.", run.erased),
    ]


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
