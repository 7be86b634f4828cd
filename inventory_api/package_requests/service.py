"""The rules about package requests."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from inventory_api.kits import store as kits
from inventory_api.kits.schemas import LineOut
from inventory_api.kits.store import Kit
from inventory_api.package_requests import allocation, store
from inventory_api.package_requests.models import PackageRequest, package_requests
from inventory_api.package_requests.schemas import PackageRequestNew, PackageRequestOut
from inventory_api.package_requests.store import Filter
from inventory_api.tables import audit
from service_kit.database.personal import personal
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.web.auth import Principal
from service_kit.web.paging import Page

logger = logging.getLogger("inventory_api")

# What a request says besides its identity, and what another one for the same package must not
# contradict: what is personal, but for the address. That is a copy which is kept fresh, so a
# request that is repeated may well bring an older or a newer one.
_CONTENT = tuple(name for name in personal(package_requests) if name != "ship_to")


class PackageRequestNotFound(Problem):
    """There is no package request with this id."""

    status = HTTPStatus.NOT_FOUND
    slug = "package-request-not-found"


class PackageRequestConflict(Problem):
    """The same package was requested with other content; `request_id` is that request."""

    status = HTTPStatus.CONFLICT
    slug = "package-request-conflict"
    example = {"request_id": "019a5d3d-10f2-7d52-8f4e-7f0b6f2f9c3a"}


class CustomerErased(Problem):
    """The customer was erased: no package is made, and none that was is shown."""

    status = HTTPStatus.GONE
    slug = "customer-erased"


class PackageView(NamedTuple):
    """A package request, and what goes into it."""

    row: PackageRequest
    lines: list[LineOut]


_shown = attrgetter(
    *(name if name == "lines" else f"row.{name}" for name in PackageRequestOut.model_fields)
)


def as_shown(view: PackageView) -> dict[str, Any]:
    """Return what `PackageRequestOut` describes."""
    return dict(zip(PackageRequestOut.model_fields, _shown(view), strict=True))


@dataclass(frozen=True, slots=True)
class Requested:
    """A package request, and whether it was made just now or was there already."""

    view: PackageView
    is_new: bool


def get(db: Connection, request_id: str) -> PackageRequest:
    """Look up one package request. Raises PackageRequestNotFound."""
    found = store.find(db, request_id)
    if found is None:
        raise no_such_request()
    return found


def no_such_request() -> PackageRequestNotFound:
    return PackageRequestNotFound("There is no package request with this id.")


def show(db: Connection, request_id: str) -> PackageView:
    """Look up one package request with its lines. Raises PackageRequestNotFound."""
    [shown] = present(db, [get(db, request_id)])
    return shown


def page(db: Connection, filters: Filter, after: int | None, limit: int) -> Page[PackageView]:
    found = store.page(db, filters, after, limit)
    return Page(rows=present(db, found.rows), next_key=found.next_key)


def present(db: Connection, rows: Sequence[PackageRequest]) -> list[PackageView]:
    """Show rows with what goes into each package."""
    kits_by_id = kits.by_id(db, {row.kit_id for row in rows if row.kit_id is not None})
    lines = {
        kit.id: [LineOut(sku=line.sku, quantity=line.quantity) for line in kit.lines]
        for kit in kits_by_id.values()
    }
    return [PackageView(row, lines[row.kit_id] if row.kit_id else []) for row in rows]


def request(db: Connection, new: PackageRequestNew, who: Principal) -> Requested:
    """Request a package, once. Raises PackageRequestConflict or CustomerErased."""
    [result] = request_all(db, [new], who)
    if isinstance(result, Problem):
        raise result
    return result


def request_all(
    db: Connection, new: Sequence[PackageRequestNew], who: Principal
) -> list[Requested | Problem]:
    """Request packages, each on its own and each once for ever; none for erased customers.

    Insert first, read after: a second caller, at the same moment or years later, finds the first
    one's request. A request is never refused for lack of stock; it waits.
    """
    if not new:
        return []
    erased = store.erased_among(db, {item.customer_id for item in new})
    kept = [item for item in new if item.customer_id not in erased]
    made = iter(_request_kept(db, kept, who) if kept else ())
    return [customer_erased() if item.customer_id in erased else next(made) for item in new]


def _request_kept(
    db: Connection, new: Sequence[PackageRequestNew], who: Principal
) -> list[Requested | Problem]:
    kits_by_type = kits.newest(db, {item.package_type for item in new})
    rows = [_row(item, kits_by_type.get(item.package_type)) for item in new]
    store.add_missing(db, rows)
    identities = [item.identity for item in new]
    there = store.of_identities(db, identities)
    own_ids = {row["request_id"] for row in rows}
    made = sorted(
        (row for row in there.values() if row.request_id in own_ids), key=attrgetter("id")
    )
    if _reserve(db, made, kits_by_type, who):
        there = store.of_identities(db, identities)
    if who.role != "integration":  # whose deliveries say it already
        audit.record(db, "package.requested", *(row.request_id for row in made), by=who)
    shown = dict(zip(there, present(db, list(there.values())), strict=True))
    return [
        _answer(item, row["request_id"], shown[item.identity])
        for item, row in zip(new, rows, strict=True)
    ]


def customer_erased() -> CustomerErased:
    return CustomerErased("This customer was erased; no package is made.")


def log_new(results: Sequence[Requested | Problem]) -> None:
    """Log what was made, after the commit."""
    for result in results:
        if isinstance(result, Requested) and result.is_new:
            logger.info(
                "INVENTORY_API: Created package request for customer: %s",
                result.view.row.customer_id,
            )


def _reserve(
    db: Connection, made: Sequence[PackageRequest], kits_by_type: Mapping[str, Kit], who: Principal
) -> bool:
    """Reserve stock for new requests. Returns whether some did not get theirs."""
    waiting = [
        allocation.Waiting(row.id, row.request_id, kits_by_type[row.package_type])
        for row in made
        if row.package_type in kits_by_type
    ]
    served = allocation.reserve(db, waiting, who.name)
    unserved = {one.id for one in waiting} - served
    store.set_status(db, unserved, "backordered")
    return bool(unserved)


def _row(new: PackageRequestNew, kit: Kit | None) -> dict[str, Any]:
    return {
        **vars(new),
        "ship_to": new.ship_to and new.ship_to.model_dump(),
        "request_id": clock.new_id(),
        "kit_id": kit.id if kit else None,
    }


def _answer(
    new: PackageRequestNew, own_id: str, found: PackageView
) -> Requested | PackageRequestConflict:
    there = found.row
    if there.request_id == own_id:
        return Requested(found, is_new=True)
    # What a repeated request leaves out is no contradiction, nor what was erased meanwhile.
    for name in () if there.erased_at else _CONTENT:
        value = getattr(new, name)
        if value is not None and value != getattr(there, name):
            return PackageRequestConflict(
                f"This customer's package was requested before with another {name}. "
                "request_id is that request's.",
                request_id=there.request_id,
            )
    return Requested(found, is_new=False)
