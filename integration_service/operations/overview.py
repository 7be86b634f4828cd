"""All that the ledger knows, put together from every room. Nothing here changes anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from integration_service.deliveries import erasures, store
from integration_service.deliveries.schemas import STATES
from integration_service.ledger import control
from integration_service.ledger.lease import now_of
from integration_service.ledger.models import PollerState
from integration_service.operations.schemas import (
    CircuitStatus,
    FeedStatus,
    PollerStatus,
    RecoveryStatus,
    RepairHeldBack,
    Status,
)
from integration_service.reconcile import store as reconcile
from integration_service.reconcile.models import Run
from integration_service.reconcile.schemas import CONFIRM_COMMAND, ReconcileRun
from integration_service.targets.circuit import CircuitRow
from integration_service.targets.store import circuits


@dataclass(frozen=True, slots=True)
class Figures:
    """All that the ledger knows in numbers."""

    status: Status
    # The last comparison that has come to its end.
    reconciled: ReconcileRun | None
    attempts: Mapping[str, int]
    is_leased: bool
    lease_epoch: int
    repairs: int
    erasures_waiting: int


def status(db: Connection, now: datetime, own_holder: str | None) -> Status:
    """Sum everything up. Its cost grows with the number of deliveries."""
    row, counts = control.state(db), store.counts(db)
    _, last = reconcile.newest(db)
    return Status(
        feed=_feed(row, now),
        deliveries={state: counts.get(state, 0) for state in STATES},
        oldest_unfinished_seconds=_seconds(store.oldest_unfinished(db), now),
        circuits={name: _circuit(one) for name, one in circuits(db).items()},
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


def figures(db: Connection, now: datetime) -> Figures:
    """Return what /metrics shows. Its cost grows with the number of deliveries."""
    row, last = control.state(db), reconcile.last_finished(db)
    return Figures(
        status=status(db, now, None),
        reconciled=last and reconcile.show(last),
        attempts=store.attempt_totals(db),
        is_leased=row.lease_until is not None and row.lease_until > now_of(db),
        lease_epoch=row.lease_epoch,
        repairs=row.repairs,
        erasures_waiting=erasures.waiting(db),
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


def _circuit(row: CircuitRow) -> CircuitStatus:
    return CircuitStatus(
        state="closed" if row.opened_at is None else "open",
        opened_at=row.opened_at,
        next_probe_at=row.next_probe_at,
        error_class=row.error_class,
        error=row.error,
    )


def _seconds(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max(0.0, (now - since).total_seconds()), 1)
