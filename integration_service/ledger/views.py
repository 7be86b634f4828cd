"""What people ask of the ledger. Nothing here changes anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from sqlalchemy import Connection, bindparam, func, select

from integration_service.ledger import circuits, reconciliations, store
from integration_service.ledger.lease import now_of
from integration_service.ledger.models import attempt_counts, attempts, deliveries, erasures
from integration_service.ledger.store import DeliveryRow
from integration_service.schemas import (
    CONFIRM_COMMAND,
    STATES,
    Attempt,
    CircuitStatus,
    DeliveryDetail,
    FeedStatus,
    PollerStatus,
    ReconcileRun,
    Reconciliation,
    RecoveryStatus,
    RepairHeldBack,
    State,
    Status,
)
from service_kit.database.types import AnyRow
from service_kit.web.paging import Page, page_of
from service_kit.web.problems import Problem

_COUNTS = select(deliveries.c.state, func.count().label("number")).group_by(deliveries.c.state)
_OLDEST = select(func.min(func.coalesce(deliveries.c.enqueued_at, deliveries.c.created_at))).where(
    deliveries.c.state.in_(("pending", "retrying"))
)
_ONE = select(deliveries).where(deliveries.c.customer_uid == bindparam("uid"))
_ATTEMPTS = (
    select(attempts).where(attempts.c.delivery_id == bindparam("id")).order_by(attempts.c.id)
)


_ERASURES = select(func.count()).select_from(erasures).where(erasures.c.done_at.is_(None))


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


class DeliveryNotFound(Problem):
    """Nothing is owed to this customer."""

    status = HTTPStatus.NOT_FOUND
    slug = "delivery-not-found"


def status(db: Connection, now: datetime, own_holder: str | None) -> Status:
    """Sum everything up. Its cost grows with the number of deliveries."""
    row, link_rows = store.feed(db), circuits.link_rows(db)
    found: dict[State, int] = {row.state: row.number for row in db.execute(_COUNTS)}
    oldest: datetime | None = db.execute(_OLDEST).scalar_one()
    return Status(
        feed=_feed(row, now),
        deliveries={state: found.get(state, 0) for state in STATES},
        oldest_unfinished_seconds=_seconds(oldest, now),
        circuits={
            "crm": _circuit(link_rows["crm"]),
            "inventory": _circuit(link_rows["inventory"]),
        },
        paused_at=row.paused_at,
        last_poll_at=row.last_poll_at,
        last_error=row.last_error,
        last_error_at=row.last_error_at,
        poller=PollerStatus(
            is_here=own_holder is not None and row.lease_holder == own_holder,
            holder=row.lease_holder,
            lease_until=row.lease_until,
        ),
        reconcile=run_of(reconciliations.last(db)),
        repair_held_back=_held_back(run_of(reconciliations.last_finished(db))),
    )


def reconciliation(db: Connection) -> Reconciliation:
    running, last = reconciliations.newest(db)
    return Reconciliation(running=run_of(running), last=run_of(last))


def run_of(row: AnyRow | None) -> ReconcileRun | None:
    """Show a comparison's row."""
    if row is None:
        return None
    counts = dict.fromkeys(_COUNTED, 0) | row.counts
    own = {name: getattr(row, name) for name in row._fields if name in _OF_RUN}
    return ReconcileRun(**own, **counts)


def figures(db: Connection, now: datetime) -> Figures:
    """Return what /metrics shows. Its cost grows with the number of deliveries."""
    row = store.feed(db)
    last = reconciliations.last_finished(db)
    return Figures(
        status=status(db, now, None),
        reconciled=run_of(last),
        attempts={one.outcome: one.number for one in db.execute(select(attempt_counts))},
        is_leased=row.lease_until is not None and row.lease_until > now_of(db),
        lease_epoch=row.lease_epoch,
        repairs=row.repairs,
        erasures_waiting=db.execute(_ERASURES).scalar_one(),
    )


def page(db: Connection, state: State | None, after: int | None, limit: int) -> Page[DeliveryRow]:
    """List deliveries in the order in which their customers were found."""
    statement = select(deliveries).order_by(deliveries.c.id).limit(limit + 1)
    if state is not None:
        statement = statement.where(deliveries.c.state == state)
    if after is not None:
        statement = statement.where(deliveries.c.id > after)
    found: Sequence[DeliveryRow] = db.execute(statement).all()
    return page_of(found, limit, key="id")


def delivery(db: Connection, uid: str) -> DeliveryDetail:
    """Show one delivery and each attempt at it. Raises DeliveryNotFound."""
    row = db.execute(_ONE, {"uid": uid}).one_or_none()
    if row is None:
        raise DeliveryNotFound("The feed has not told of a customer with this uid.")
    tries = [Attempt.model_validate(one) for one in db.execute(_ATTEMPTS, {"id": row.id})]
    shown = {name: getattr(row, name) for name in row._fields if name in _SHOWN}
    return DeliveryDetail.model_construct(
        **shown,
        attempts=tries,
    )


def state_of(db: Connection, uid: str) -> State | None:
    row = db.execute(_ONE, {"uid": uid}).one_or_none()
    return None if row is None else row.state


_COUNTED = ("missing", "extra", "double", "erased", "waiting", "skipped", "not_owed", "held_back")
_OF_RUN = set(ReconcileRun.model_fields)
_SHOWN = set(DeliveryDetail.model_fields) - {"attempts"}


def _feed(row: AnyRow, now: datetime) -> FeedStatus:
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


def _held_back(run: ReconcileRun | None) -> RepairHeldBack | None:
    if run is None or not run.held_back or run.finished_at is None:
        return None
    return RepairHeldBack(
        customers=run.held_back, found_at=run.finished_at, command=CONFIRM_COMMAND
    )


def _circuit(row: AnyRow) -> CircuitStatus:
    return CircuitStatus(
        state="closed" if row.opened_at is None else "open",
        opened_at=row.opened_at,
        next_probe_at=row.next_probe_at,
        error_class=row.error_class,
        error=row.error,
    )


def _seconds(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max(0.0, (now - since).total_seconds()), 1)
