"""A package request's life: pack, ship, deliver, cancel, unpack, return; each moves stock once."""

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
    target = TARGETS[step]
    seen = service.get(db, request_id)
    kit = kits.by_id(db, {seen.kit_id}).get(seen.kit_id) if seen.kit_id else None
    concerned = {line.item_id for line in allocation.tracked_lines(kit)}
    # Who waits concerns only a move that may serve them; there may be very many.
    frees = target in _FREEING
    locked = allocation.lock_with_backorders(db, concerned) if frees else concerned
    if target == "shipped":
        items.lock(db, concerned)
    row = store.get_locked(db, seen.id)
    check_version(versions, row.version)
    if step == "unpack" and row.status != "cancelled":
        raise InvalidTransition(
            f"A {row.status} package request can't be unpacked; only a cancelled one is.",
            current_status=row.status,
            allowed_statuses=list(ALLOWED[row.status]),
        )
    if row.status == target and not (step == "unpack" and row.to_unpack):
        return service.show(db, request_id)
    if row.status != target and target not in ALLOWED[row.status]:
        raise _refusal(row.status, target)
    _carry_out(db, row, step, kit, who.name)
    audit.record(db, _ACTIONS[step], request_id, by=who)
    if frees:
        allocation.allocate(db, concerned, locked, who.name)
    return service.show(db, request_id)


def _carry_out(
    db: Connection, row: PackageRequest, step: Move, kit: Kit | None, actor: str
) -> None:
    """Move the stock that a step moves, and set the request's new status."""
    if step == "cancel":
        allocation.cancel(db, [row], actor)
    elif step == "unpack":
        allocation.release(db, row.id, row.request_id, "unpacked", actor)
        store.set_unpacked(db, row.id)
    else:
        if step == "ship":
            allocation.hand_out(db, row.id, row.request_id, actor)
        elif step == "return":
            allocation.take_back(db, kit, row.request_id, actor)
        store.set_status(db, {row.id}, TARGETS[step])


def _refusal(status: Status, target: Status) -> InvalidTransition:
    allowed = list(ALLOWED[status])
    can = f"it can become {' or '.join(allowed)}" if allowed else "it stays so"
    return InvalidTransition(
        f"A {status} package request can't become {target}; {can}.",
        current_status=status,
        allowed_statuses=allowed,
    )
