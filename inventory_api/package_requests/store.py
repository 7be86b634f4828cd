"""The statements about package requests."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from inventory_api.package_requests.models import package_requests
from service_kit.database.types import AnyRow

PackageRequestRow = AnyRow

_BY_REQUEST_ID = select(package_requests).where(
    package_requests.c.request_id == bindparam("request_id")
)
_OF_CUSTOMERS = select(package_requests).where(
    package_requests.c.customer_id.in_(bindparam("customer_ids", expanding=True)),
    package_requests.c.package_type.in_(bindparam("package_types", expanding=True)),
    package_requests.c.occurrence.in_(bindparam("occurrences", expanding=True)),
)
_ADD = insert(package_requests).on_conflict_do_nothing()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which package requests a list shows."""

    customer_id: str | None = None
    status: str | None = None
    package_type: str | None = None
    created_after: datetime | None = None


def find(db: Connection, request_id: str) -> PackageRequestRow | None:
    return db.execute(_BY_REQUEST_ID, {"request_id": request_id}).one_or_none()


def add_missing(db: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert those whose identity is new; the unique constraint decides which are."""
    db.execute(_ADD, rows)


def of_identities(
    db: Connection, identities: Collection[tuple[str, str, int]]
) -> dict[tuple[str, str, int], PackageRequestRow]:
    """Find requests by customer, type and occurrence."""
    customer_ids, package_types, occurrences = (
        list(set(part)) for part in zip(*identities, strict=True)
    )
    found = db.execute(
        _OF_CUSTOMERS,
        {
            "customer_ids": customer_ids,
            "package_types": package_types,
            "occurrences": occurrences,
        },
    )
    return {(row.customer_id, row.package_type, row.occurrence): row for row in found}


def page(
    db: Connection, wanted: Filter, after: int | None, limit: int
) -> Sequence[PackageRequestRow]:
    """List requests in the order in which they were made."""
    statement = select(package_requests)
    if after is not None:
        statement = statement.where(package_requests.c.id > after)
    if wanted.customer_id is not None:
        statement = statement.where(package_requests.c.customer_id == wanted.customer_id)
    if wanted.status is not None:
        statement = statement.where(package_requests.c.status == wanted.status)
    if wanted.package_type is not None:
        statement = statement.where(package_requests.c.package_type == wanted.package_type)
    if wanted.created_after is not None:
        statement = statement.where(package_requests.c.created_at > wanted.created_after)
    return db.execute(statement.order_by(package_requests.c.id).limit(limit)).all()
