"""All that the database knows, put together from every package. Nothing here changes anything."""

from datetime import datetime

from sqlalchemy import Connection

from integration_service.deliveries import store
from integration_service.deliveries.schemas import STATES
from integration_service.ledger import control
from integration_service.ledger.models import PollerState
from integration_service.operations.schemas import (
    CircuitStatus,
    FeedStatus,
    PollerStatus,
    RecoveryStatus,
    RepairHeldBack,
    RouteOut,
    Status,
)
from integration_service.reconcile import store as reconcile
from integration_service.reconcile.models import Run
from integration_service.reconcile.schemas import CONFIRM_COMMAND
from integration_service.routes.definitions import Route
from integration_service.targets.store import circuits


def status(db: Connection, now: datetime, own_holder: str | None) -> Status:
    """Sum everything up. Its cost grows with the number of deliveries."""
    row, counts = control.state(db), store.counts(db)
    _, last = reconcile.newest(db)
    return Status(
        feed=_feed(row, now),
        deliveries={state: counts.get(state, 0) for state in STATES},
        oldest_unfinished_seconds=_seconds(store.oldest_unfinished(db), now),
        circuits={name: CircuitStatus.model_validate(one) for name, one in circuits(db).items()},
        paused_at=row.paused_at,
        last_poll_at=row.last_poll_at,
        last_error=row.last_error,
        last_error_at=row.last_error_at,
        poller=PollerStatus(
            is_here=own_holder is not None and row.lease_holder == own_holder,
            holder=row.lease_holder,
            lease_until=row.lease_until,
        ),
        reconcile=last and reconcile.show(last),
        repair_held_back=_held_back(reconcile.last_finished(db)),
    )


def route(db: Connection, route: Route, now: datetime) -> RouteOut:
    """Say what a route does and owes. Its cost grows with the number of its deliveries."""
    row, counts = control.state(db), store.counts(db, route.name)
    return RouteOut(
        name=route.name,
        on=list(route.on),
        unless=dict(route.unless),
        target=route.target,
        send=dict(route.send),
        undo_on=list(route.undo_on),
        paused_at=control.paused_routes(db).get(route.name) or row.paused_at,
        feed=_feed(row, now),
        deliveries={state: counts.get(state, 0) for state in STATES},
        circuit=CircuitStatus.model_validate(circuits(db)[route.target]),
    )


def _feed(row: PollerState, now: datetime) -> FeedStatus:
    lag = None
    if row.head_position is not None and row.position is not None:
        lag = max(0, row.head_position - row.position)
    recovery = None
    if row.feed_state == "recovering":
        recovery = RecoveryStatus(
            reason=row.recovery_reason,
            began_at=row.recovery_began_at,
            customers_read=row.recovery_read,
            customers_new=row.recovery_new,
        )
    return FeedStatus(
        state=row.feed_state,
        recovery=recovery,
        recoveries=row.recoveries,
        start_from=row.start_from,
        position=row.position,
        head_position=row.head_position,
        lag_events=lag,
        lag_seconds=0.0 if lag == 0 else _seconds(row.caught_up_at, now),
    )


def _held_back(run: Run | None) -> RepairHeldBack | None:
    held_back = run.counts.get("held_back") if run else None
    if run is None or run.finished_at is None or not held_back:
        return None
    return RepairHeldBack(customers=held_back, found_at=run.finished_at, command=CONFIRM_COMMAND)


def _seconds(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max(0.0, (now - since).total_seconds()), 1)
