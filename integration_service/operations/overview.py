"""All that the database knows, put together from every package. Nothing here changes anything."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection

from integration_service.deliveries import store
from integration_service.deliveries.schemas import STATES
from integration_service.feed import places
from integration_service.ledger import control
from integration_service.ledger.models import PollerState, RouteState
from integration_service.operations.schemas import (
    CircuitStatus,
    FeedStatus,
    PollerStatus,
    RecoveryStatus,
    RepairHeldBack,
    RouteOut,
    RouteSummary,
    Status,
)
from integration_service.reconcile import store as reconcile
from integration_service.reconcile.models import Run
from integration_service.reconcile.schemas import CONFIRM_COMMAND
from integration_service.routes.definitions import DEFAULT, WEBHOOK_CIRCUIT, Route, WebhookRoute
from integration_service.routes.showing import receiver_of, shown_conditions
from integration_service.targets.circuit import CircuitRow
from integration_service.targets.store import circuits

NOWHERE = FeedStatus(
    state="running",
    recovery=None,
    recoveries=0,
    start_from=None,
    position=None,
    head_position=None,
    lag_events=None,
    lag_seconds=None,
)
NEVER_CALLED = CircuitRow("", None, None, 0.0, 0, 0.0, None, None, None)


def status(
    db: Connection, now: datetime, own_holder: str | None, routes: Iterable[Route] = DEFAULT
) -> Status:
    """Sum everything up. Its cost grows with the number of deliveries."""
    row, by_route = control.state(db), store.counts_by_route(db)
    counts: Counter[str] = Counter()
    for (_, state), number in by_route.items():
        counts[state] += number
    _, last = reconcile.newest(db)
    return Status(
        feed=_feed(row, now),
        deliveries={state: counts[state] for state in STATES},
        oldest_unfinished_seconds=_seconds(store.oldest_unfinished(db), now),
        circuits={name: CircuitStatus.model_validate(one) for name, one in circuits(db).items()},
        routes=[
            RouteSummary(
                name=one.name,
                target=one.target,
                feed_state=one.feed.state,
                lag_events=one.feed.lag_events,
                paused_at=one.paused_at,
                deliveries=one.deliveries,
            )
            for one in _routes(db, routes, by_route, now)
        ],
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


def routes(db: Connection, wanted: Iterable[Route], now: datetime) -> list[RouteOut]:
    """Say what routes do and owe. Its cost grows with the number of deliveries."""
    return _routes(db, wanted, store.counts_by_route(db), now)


def route(db: Connection, wanted: Route, now: datetime) -> RouteOut:
    """Say what one route does and owes. Its cost grows with the number of its deliveries."""
    counts = {(wanted.name, state): n for state, n in store.counts(db, wanted.name).items()}
    [shown] = _routes(db, [wanted], counts, now)
    return shown


def _routes(
    db: Connection,
    wanted: Iterable[Route],
    counts: Mapping[tuple[str, str], int],
    now: datetime,
) -> list[RouteOut]:
    row, states, known = control.state(db), places.states(db), circuits(db)
    return [
        _route(row, states.get(one.name), known.get(_target_of(one)), one, counts, now)
        for one in wanted
    ]


def _route(
    row: PollerState,
    place: RouteState | None,
    circuit: CircuitRow | None,
    wanted: Route,
    counts: Mapping[tuple[str, str], int],
    now: datetime,
) -> RouteOut:
    is_webhook = isinstance(wanted, WebhookRoute)
    return RouteOut(
        name=wanted.name,
        on=list(wanted.on),
        when=shown_conditions(wanted.when),
        unless=shown_conditions(wanted.unless),
        target=wanted.target,
        receiver=receiver_of(wanted),
        send=dict(wanted.send),
        order=wanted.order if isinstance(wanted, WebhookRoute) else "none",
        undo_on=list(wanted.undo_on),
        paused_at=(place and place.paused_at) or row.paused_at,
        pause_reason=place and place.pause_reason,
        feed=_place(place, now) if is_webhook else _feed(row, now),
        last_error=place and place.last_error,
        deliveries={state: counts.get((wanted.name, state), 0) for state in STATES},
        circuit=CircuitStatus.model_validate(circuit or NEVER_CALLED),
    )


def _place(place: RouteState | None, now: datetime) -> FeedStatus:
    """Say how far a webhook's route is; nowhere where no poller has begun with it yet."""
    if place is None:
        return NOWHERE
    return FeedStatus(
        state=place.feed_state,
        recovery=None,
        recoveries=0,
        start_from=place.start_from,
        position=place.position,
        head_position=place.head_position,
        **_lag(place, now),
    )


def _lag(place: RouteState | PollerState, now: datetime) -> dict[str, float | None]:
    """Say how far behind the feed's end a place is, in positions and in seconds."""
    lag = None
    if place.head_position is not None and place.position is not None:
        lag = max(0, place.head_position - place.position)
    seconds = 0.0 if lag == 0 else _seconds(place.caught_up_at, now)
    return {"lag_events": lag, "lag_seconds": seconds}


def _target_of(route: Route) -> str:
    is_webhook = isinstance(route, WebhookRoute)
    return f"{WEBHOOK_CIRCUIT}{route.name}" if is_webhook else route.target


def _feed(row: PollerState, now: datetime) -> FeedStatus:
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
        **_lag(row, now),
    )


def _held_back(run: Run | None) -> RepairHeldBack | None:
    held_back = run.counts.get("held_back") if run else None
    if run is None or run.finished_at is None or not held_back:
        return None
    return RepairHeldBack(customers=held_back, found_at=run.finished_at, command=CONFIRM_COMMAND)


def _seconds(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max(0.0, (now - since).total_seconds()), 1)
