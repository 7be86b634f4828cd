"""A package request's life: pack, ship, deliver, cancel, unpack, return; each moves stock once."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from sqlalchemy import Connection

from inventory_api.items import store as items
from inventory_api.kits import store as kits
from inventory_api.kits.store import Kit
from inventory_api.package_requests import allocation, service, store
from inventory_api.package_requests.models import PackageRequest, Status
from inventory_api.package_requests.schemas import Move
from inventory_api.package_requests.service import PackageView
from inventory_api.tables import Action, audit
from service_kit.problems import Problem
from service_kit.web.auth import Principal
from service_kit.web.etags import check_version

TARGETS: dict[Move, Status] = {
    "pack": "packed",
    "ship": "shipped",
    "deliver": "delivered",
    "cancel": "cancelled",
    # It empties the box of one that was cancelled when it was packed.
    "unpack": "cancelled",
    "return": "returned",
}
_ACTIONS: dict[Move, Action] = {
    "pack": "package.packed",
    "ship": "package.shipped",
    "deliver": "package.delivered",
    "cancel": "package.cancelled",
    "unpack": "package.unpacked",
    "return": "package.returned",
}
ALLOWED: dict[Status, tuple[Status, ...]] = {
    "pending": ("packed", "cancelled"),
    # Stock alone ends the waiting.
    "backordered": ("cancelled",),
    "packed": ("shipped", "cancelled"),
    "shipped": ("delivered", "returned"),
    "delivered": ("returned",),
    "cancelled": (),
    "returned": (),
}
# These free stock that others may be waiting for.
_FREEING: frozenset[Status] = frozenset({"cancelled", "returned"})


class InvalidTransition(Problem):
    """The package request can't take this step now; `allowed_statuses` says what it can become."""

    status = HTTPStatus.CONFLICT
    slug = "invalid-transition"
    example = {"current_status": "pending", "allowed_statuses": ["packed", "cancelled"]}


def move(
    db: Connection, request_id: str, step: Move, versions: frozenset[int] | None, who: Principal
) -> PackageView:
    """Move a package request one step forward. A step that was taken already is no step.

    Raises PackageRequestNotFound, PreconditionFailed, or InvalidTransition with what is allowed.
    """
    [result] = _move(db, [service.get(db, request_id)], step, versions, who).values()
    if isinstance(result, Problem):
        raise result
    return result


def move_all(
    db: Connection, request_ids: Sequence[str], step: Move, who: Principal
) -> list[PackageView | Problem]:
    """Move package requests one step forward, each on its own; what `move` raises is returned.

    It costs a few statements, however many requests there are.
    """
    seen = store.by_request_ids(db, request_ids)
    results = _move(db, list(seen.values()), step, None, who) if seen else {}
    return [results.get(one) or service.no_such_request() for one in request_ids]


def _move(
    db: Connection,
    seen: Sequence[PackageRequest],
    step: Move,
    versions: frozenset[int] | None,
    who: Principal,
) -> dict[str, PackageView | Problem]:
    """Move requests that exist. Returns what became of each, by its id."""
    kits_by_id = kits.by_id(db, {row.kit_id for row in seen if row.kit_id is not None})
    concerned = allocation.tracked_items(kits_by_id)
    # Who waits concerns only a move that may serve them; there may be very many.
    frees = TARGETS[step] in _FREEING
    locked = allocation.lock_with_backorders(db, concerned) if frees else concerned
    # Of several requests one may be served meanwhile by a transaction that has another: whoever
    # locks the items first does not meet it.
    if step == "ship" or (len(seen) > 1 and not frees):
        items.lock(db, concerned)
    rows = store.get_locked(db, [row.id for row in seen])
    for row in rows:
        check_version(versions, row.version)
    refusals = {row.request_id: refusal for row in rows if (refusal := _refusal(row, step))}
    to_move = [row for row in rows if row.request_id not in refusals and not _is_done(row, step)]
    if to_move:
        _carry_out(db, to_move, step, kits_by_id, who.name)
        audit.record(db, _ACTIONS[step], *(row.request_id for row in to_move), by=who)
    if to_move and frees:
        allocation.allocate(db, concerned, locked, who.name)
    after = store.by_request_ids(db, [row.request_id for row in rows])
    views = {view.row.request_id: view for view in service.present(db, list(after.values()))}
    return {**views, **refusals}


def _is_done(row: PackageRequest, step: Move) -> bool:
    return row.status == TARGETS[step] and not (step == "unpack" and row.to_unpack)


def _carry_out(
    db: Connection,
    rows: Sequence[PackageRequest],
    step: Move,
    kits_by_id: Mapping[int, Kit],
    actor: str,
) -> None:
    """Move the stock that a step moves, and set the requests' new status."""
    ids = {row.id for row in rows}
    if step == "cancel":
        allocation.cancel(db, rows, actor)
    elif step == "unpack":
        allocation.release(db, rows, "unpacked", actor)
        store.set_unpacked(db, ids)
    else:
        if step == "ship":
            allocation.hand_out(db, rows, actor)
        elif step == "return":
            allocation.take_back(db, rows, kits_by_id, actor)
        store.set_status(db, ids, TARGETS[step])


def _refusal(row: PackageRequest, step: Move) -> InvalidTransition | None:
    """Return why a request can't take a step; None where it can, or has taken it."""
    status, target = row.status, TARGETS[step]
    if step == "unpack" and status != "cancelled":
        reason = f"A {status} package request can't be unpacked; only a cancelled one is."
    elif status != target and target not in ALLOWED[status]:
        can = f"it can become {' or '.join(ALLOWED[status])}" if ALLOWED[status] else "it stays so"
        reason = f"A {status} package request can't become {target}; {can}."
    else:
        return None
    return InvalidTransition(reason, current_status=status, allowed_statuses=list(ALLOWED[status]))
