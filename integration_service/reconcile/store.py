"""What a comparison of both sides has seen and found. One at a time, whoever runs it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, delete, func, or_, select, update

from integration_service.deliveries import erasures
from integration_service.deliveries.models import (
    IS_WELCOME,
    Arrival,
    OwedEvent,
    deliveries,
    enqueued,
)
from integration_service.deliveries.store import known_events, owe, owe_events
from integration_service.feed import places
from integration_service.ledger.control import wake
from integration_service.ledger.lease import hold, now_of
from integration_service.ledger.models import Action, RouteState, audit, poller
from integration_service.reconcile.models import Run, reconciliations
from integration_service.reconcile.schemas import ReconcileRun, Reconciliation
from service_kit.database.on_conflict import insert_missing
from service_kit.database.rows import find_all, find_one, get_one
from service_kit.web.auth import Principal

Kind = Literal["missing", "extra", "double", "erased"]
KINDS: tuple[Kind, ...] = ("missing", "extra", "double", "erased")
COUNTED = (*KINDS, "waiting", "skipped", "not_owed", "held_back")
Trigger = Literal["api", "cli", "timer"]
# Longer than any pause between two of its writes.
ALIVE_SECONDS = 60.0
KEPT_RUNS = 1000

_IS_RUNNING = reconciliations.c.state == "running"
_ALIVE = (
    update(reconciliations)
    .where(reconciliations.c.id == bindparam("run"), _IS_RUNNING)
    .values(alive_until=bindparam("until"))
)
_TAKE_WANTED = (
    update(reconciliations)
    .where(_IS_RUNNING, reconciliations.c.is_wanted)
    .values(is_wanted=False, alive_until=bindparam("until"))
    .returning(*reconciliations.c)
)
_NEWEST_ENDED = (
    select(func.max(reconciliations.c.id))
    .where(reconciliations.c.state != "running")
    .scalar_subquery()
)
_RUNNING_OR_NEWEST_ENDED = select(reconciliations).where(
    or_(_IS_RUNNING, reconciliations.c.id == _NEWEST_ENDED)
)


class RunLost(Exception):
    """The run was given up for dead, or has ended; it may not go on."""


def begin(
    db: Connection,
    trigger: Trigger,
    *,
    repair: bool,
    confirm: bool = False,
    is_wanted: bool = False,
    by: Principal | None = None,
) -> Run | None:
    """Begin a run, or return None while another is at work. Without `by` the timer asks."""
    now = now_of(db)
    alive_until = now + timedelta(seconds=ALIVE_SECONDS)
    db.execute(
        update(reconciliations)
        .where(_IS_RUNNING, reconciliations.c.alive_until < now)
        .values(state="failed", error="Its process ended.", finished_at=now, alive_until=None)
    )
    # By a clock that was set back since; if it lives, it says so anew.
    db.execute(
        update(reconciliations)
        .where(_IS_RUNNING, reconciliations.c.alive_until > alive_until)
        .values(alive_until=alive_until)
    )
    # The unique index on what is running decides between two that begin at once.
    new = insert_missing(reconciliations).values(
        trigger=trigger,
        repair=repair,
        confirm=confirm,
        is_wanted=is_wanted,
        state="running",
        started_at=now,
        alive_until=alive_until,
        counts={},
        findings={},
        **dict.fromkeys(("customers", "packages", "repaired"), 0),
    )
    run = find_one(Run, db, new.returning(*reconciliations.c))
    if run is not None and by is not None:
        audit.record(db, _action(repair=repair, confirm=confirm), f"run {run.id}", by=by)
    return run


def _action(*, repair: bool, confirm: bool) -> Action:
    if confirm:
        return "repair.confirmed"
    return "repair.requested" if repair else "reconcile.requested"


def want(db: Connection, who: Principal, *, repair: bool, confirm: bool) -> bool:
    """Write down a run for the poller to carry out. Returns False while another is at work."""
    run = begin(db, "api", repair=repair, confirm=confirm, is_wanted=True, by=who)
    wake(db)
    return run is not None


def take_wanted(db: Connection) -> Run | None:
    """Take the run that somebody wants, if there is one; whoever takes it carries it out."""
    until = now_of(db) + timedelta(seconds=ALIVE_SECONDS)
    return find_one(Run, db, _TAKE_WANTED, {"until": until})


def alive(db: Connection, run: int) -> None:
    """Renew the heartbeat of a run. Raises RunLost if it has ended."""
    until = now_of(db) + timedelta(seconds=ALIVE_SECONDS)
    if db.execute(_ALIVE, {"run": run, "until": until}).rowcount != 1:
        raise RunLost


def repair(db: Connection, run: int, absent: Sequence[Arrival], now: datetime) -> int:
    """Enqueue what is missing, as the feed would have; what is on its way already is left alone.

    Returns how many. Dead deliveries stay so: whatever refused them would do it again.
    """
    alive(db, run)
    hold(db)
    erased = erasures.among(db, [one.subject for one in absent])
    absent = [one for one in absent if one.subject not in erased]
    if not absent:
        return 0
    again = db.execute(
        update(deliveries)
        .where(
            deliveries.c.subject.in_([one.subject for one in absent]),
            IS_WELCOME,
            deliveries.c.state == "delivered",
        )
        .values(**enqueued(now))
    ).rowcount
    anew = len(owe(db, absent, now))
    grown = {"repairs": poller.c.repairs + again + anew, "wake_count": poller.c.wake_count + 1}
    db.execute(update(poller).values(**grown))
    return again + anew


def repair_events(
    db: Connection, place: RouteState, missing: Sequence[OwedEvent], now: datetime
) -> int:
    """Owe a webhook's route events that it has no delivery of. Returns how many.

    Nothing where it has begun anew since, or is no longer in the file: they are not its own then.
    """
    hold(db)
    state = places.states(db)[place.name]
    if (state.first_position, state.removed_at) != (place.first_position, None):
        return 0
    known = known_events(db, place.name, [one.subject for one in missing])
    absent = [one for one in missing if one.subject not in known]
    owe_events(db, place.name, absent, now)
    wake(db)
    return len(absent)


def finish(db: Connection, run: int, columns: Mapping[str, Any]) -> None:
    """End a run; only its own process, or its successor, may."""
    now = now_of(db)
    db.execute(
        update(reconciliations)
        .where(reconciliations.c.id == run, reconciliations.c.state == "running")
        .values(**columns, finished_at=now, alive_until=None)
    )
    db.execute(delete(reconciliations).where(reconciliations.c.id <= run - KEPT_RUNS))


def newest(db: Connection) -> tuple[Run | None, Run | None]:
    """Return what runs, and the newest that has ended; seen at one moment."""
    rows = find_all(Run, db, _RUNNING_OR_NEWEST_ENDED)
    now = now_of(db)
    # What has died is not running, though nobody has written it down yet.
    running = (row for row in rows if row.alive_until is not None and row.alive_until > now)
    last = (row for row in rows if row.state != "running")
    return next(running, None), next(last, None)


def last_finished(db: Connection) -> Run | None:
    """Return the newest that has come to its end."""
    finished = reconciliations.c.state == "finished"
    statement = select(reconciliations).where(finished).order_by(reconciliations.c.id.desc())
    return find_one(Run, db, statement.limit(1))


def find(db: Connection, run: int) -> Run:
    return get_one(Run, db, select(reconciliations).where(reconciliations.c.id == run))


def reconciliation(db: Connection) -> Reconciliation:
    running, last = newest(db)
    return Reconciliation(running=running and show(running), last=last and show(last))


def show(run: Run) -> ReconcileRun:
    """Show a run; what its version did not count yet is 0."""
    return ReconcileRun.model_validate({**dict.fromkeys(COUNTED, 0), **run._asdict(), **run.counts})


def due_in(db: Connection, interval_seconds: float, retry_seconds: float) -> float | None:
    """Return in how many seconds the next one is to begin; None before the very first start.

    At once where the last one has begun in the future, by a clock that was set back since.
    """
    running, ended = newest(db)
    since: datetime | None
    if running is not None and running.alive_until is not None:
        seconds, since = ALIVE_SECONDS, running.alive_until - timedelta(seconds=ALIVE_SECONDS)
    elif ended is None:
        seconds, since = interval_seconds, db.execute(select(poller.c.started_at)).scalar_one()
    elif ended.state == "failed":
        seconds, since = min(retry_seconds, interval_seconds), ended.finished_at
    else:
        seconds, since = interval_seconds, ended.started_at
    if since is None:
        return None
    passed = (now_of(db) - since).total_seconds()
    return 0.0 if passed < 0 else seconds - passed
