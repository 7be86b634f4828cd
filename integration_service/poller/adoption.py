"""A poller begins to work by its file of routes; the ledger knows by which the one before did."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from integration_service.deliveries.models import deliveries
from integration_service.feed import places
from integration_service.ledger.lease import Lease, fence
from integration_service.ledger.models import RouteState, poller, routes
from integration_service.routes.changes import Identity, changes, identity_of
from integration_service.routes.definitions import Route
from integration_service.routes.file import hash_of
from service_kit.database.on_conflict import insert_missing

_HASHES = select(poller.c.routes_hash, poller.c.accepted_routes_hash)
_UNFINISHED = ("pending", "retrying")


class RoutesRefused(Exception):
    """What the ledger has is not to be changed into what the file of routes says."""


def check(db: Connection, wanted: Sequence[Route]) -> None:
    """Raise RoutesRefused where the file changes what may not change, or may have renamed one."""
    states = places.states(db)
    # A removed one may come back; it is what it was.
    changed = changes(map(_remembered, states.values()), map(identity_of, wanted))
    # Under a name by which nothing is owed yet, everything may change.
    if forbidden := [one for one in changed.forbidden if _has_any(db, one.name)]:
        raise RoutesRefused("; ".join(map(str, forbidden)))
    gone = [name for name in changed.gone if states[name].removed_at is None and _has_any(db, name)]
    stored, accepted = db.execute(_HASHES).one()
    if not gone or not changed.new or hash_of(wanted) in (stored, accepted):
        return
    left = _unfinished(db, gone)
    raise RoutesRefused(
        f"the routes {', '.join(gone)} are gone from the file and {', '.join(changed.new)} are "
        f"new. A new name is a new route; {left} unfinished deliveries of the old ones would be "
        "skipped. Keep the old names, or accept this by: python -m integration_service routes "
        "accept"
    )


def adopt(db: Connection, lease: Lease, wanted: Sequence[Route], now: datetime) -> list[str]:
    """Work by these routes from now on. Returns the names of those removed that had deliveries.

    What is owed by a removed one is skipped. Raises RoutesRefused.
    """
    fence(db, lease)
    check(db, wanted)
    for route in wanted:
        row = _row(route)
        db.execute(insert_missing(routes), [{**row, "feed_state": "running"}])
        db.execute(update(routes).where(routes.c.name == route.name).values(**row, removed_at=None))
    names = [route.name for route in wanted]
    removed = [
        name
        for name, one in places.states(db).items()
        if one.removed_at is None and name not in names
    ]
    db.execute(update(routes).where(routes.c.name.in_(removed)).values(removed_at=now))
    _skip(db, removed, now)
    db.execute(update(poller).values(routes_hash=hash_of(wanted), accepted_routes_hash=None))
    # A new ledger has the built-in route, which a file without it never worked by.
    return [name for name in removed if _has_any(db, name)]


def accept(db: Connection, wanted: Sequence[Route]) -> None:
    """Let a poller work by these routes although names are gone and others are new."""
    db.execute(update(poller).values(accepted_routes_hash=hash_of(wanted)))


def _remembered(state: RouteState) -> Identity:
    return Identity(state.name, state.target, state.ordering, state.package_type)


def _row(route: Route) -> dict[str, str | None]:
    name, target, order, package_type = identity_of(route)
    return {
        "name": name,
        "target": target,
        "ordering": order,
        "package_type": package_type,
    }


def _has_any(db: Connection, name: str) -> bool:
    found = select(deliveries.c.id).where(deliveries.c.route == name).limit(1)
    return db.execute(found).first() is not None


def _unfinished(db: Connection, names: Sequence[str]) -> int:
    counted = select(func.count()).select_from(deliveries)
    which = deliveries.c.route.in_(names) & deliveries.c.state.in_(_UNFINISHED)
    return db.execute(counted.where(which)).scalar_one()


def _skip(db: Connection, names: Sequence[str], now: datetime) -> None:
    db.execute(
        update(deliveries)
        .where(deliveries.c.route.in_(names), deliveries.c.state.in_(_UNFINISHED))
        .values(
            state="skipped",
            skip_reason="route-removed",
            next_attempt_at=None,
            claimed_epoch=None,
            updated_at=now,
        )
    )
