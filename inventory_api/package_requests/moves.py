"""A package request's life: pack, ship, deliver, cancel, return; each moves stock at most once."""

from http import HTTPStatus

from sqlalchemy import Connection

from inventory_api.items import store as items
from inventory_api.kits import store as kits
from inventory_api.package_requests import allocation, service, store
from inventory_api.package_requests.schemas import Move, Status
from inventory_api.package_requests.service import Shown
from service_kit.auth import Principal
from service_kit.etags import check_version
from service_kit.problems import Problem

TARGETS: dict[Move, Status] = {
    "pack": "packed",
    "ship": "shipped",
    "deliver": "delivered",
    "cancel": "cancelled",
    "return": "returned",
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
    db: Connection, request_id: str, wanted: Move, versions: frozenset[int] | None, who: Principal
) -> Shown:
    """Take a package request one step on. A step that was taken already is no step.

    Raises PackageRequestNotFound, PreconditionFailed, or InvalidTransition with what is allowed.
    """
    target = TARGETS[wanted]
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
    if row.status == target:
        return service.show(db, request_id)
    if target not in ALLOWED[row.status]:
        raise _refusal(row.status, target)
    if target == "cancelled":
        allocation.release(db, row.id, request_id, "cancelled", who.name)
    elif target == "shipped":
        allocation.hand_out(db, row.id, request_id, who.name)
    elif target == "returned":
        allocation.take_back(db, kit, request_id, who.name)
    store.set_status(db, {row.id}, target)
    if frees:
        allocation.allocate(db, concerned, locked, who.name)
    return service.show(db, request_id)


def _refusal(status: Status, target: Status) -> InvalidTransition:
    allowed = list(ALLOWED[status])
    can = f"it can become {' or '.join(allowed)}" if allowed else "it stays so"
    return InvalidTransition(
        f"A {status} package request can't become {target}; {can}.",
        current_status=status,
        allowed_statuses=allowed,
    )
