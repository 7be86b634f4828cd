"""The rules about package requests."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from sqlalchemy import Connection

from inventory_api.package_requests import store
from inventory_api.package_requests.schemas import PackageRequestNew
from inventory_api.package_requests.store import Filter, PackageRequestRow
from service_kit import clock
from service_kit.paging import Page, page_of
from service_kit.problems import Problem

logger = logging.getLogger("inventory_api")


class PackageRequestNotFound(Problem):
    status = HTTPStatus.NOT_FOUND
    slug = "package-request-not-found"


class PackageRequestConflict(Problem):
    status = HTTPStatus.CONFLICT
    slug = "package-request-conflict"


@dataclass(frozen=True, slots=True)
class Requested:
    """A package request, and whether it was made just now or was there already."""

    row: PackageRequestRow
    is_new: bool


def get(db: Connection, request_id: str) -> PackageRequestRow:
    """Look up one package request. Raises PackageRequestNotFound."""
    found = store.find(db, request_id)
    if found is None:
        raise PackageRequestNotFound("There is no package request with this id.")
    return found


def page(db: Connection, wanted: Filter, after: int | None, limit: int) -> Page[PackageRequestRow]:
    return page_of(store.page(db, wanted, after, limit + 1), limit, key="id")


def request(db: Connection, new: PackageRequestNew) -> Requested:
    """Have a package made, once. Raises PackageRequestConflict."""
    [result] = request_all(db, [new])
    if isinstance(result, Problem):
        raise result
    return result


def request_all(
    db: Connection, new: Sequence[PackageRequestNew]
) -> list[Requested | PackageRequestConflict]:
    """Have packages made, each for itself, and each once for ever.

    Insert first and read after: whoever comes second, at the same moment or years later, finds the
    request of whoever came first.
    """
    if not new:
        return []
    rows = [_row(item) for item in new]
    store.add_missing(db, rows)
    there = store.of_identities(db, [item.identity for item in new])
    return [
        _answer(item, row["request_id"], there[item.identity])
        for item, row in zip(new, rows, strict=True)
    ]


def tell(results: Sequence[Requested | Problem]) -> None:
    """Log what was made; called when it is committed."""
    for result in results:
        if isinstance(result, Requested) and result.is_new:
            logger.info(
                "INVENTORY_API: Created package request for customer: %s", result.row.customer_id
            )


def _row(new: PackageRequestNew) -> dict[str, Any]:
    now = clock.now()
    return {
        **new.model_dump(),
        "request_id": clock.new_id(),
        "status": "pending",
        "created_at": now,
        "updated_at": now,
    }


def _answer(
    wanted: PackageRequestNew, own_id: str, there: PackageRequestRow
) -> Requested | PackageRequestConflict:
    if there.request_id == own_id:
        return Requested(there, is_new=True)
    for name in ("customer_name", "note"):
        value = getattr(wanted, name)
        # What a repeated request leaves out is no contradiction.
        if value is not None and value != getattr(there, name):
            return PackageRequestConflict(
                f"This customer's package was requested before with another {name}. "
                "request_id is that request's.",
                request_id=there.request_id,
            )
    return Requested(there, is_new=False)
