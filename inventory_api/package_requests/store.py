"""The statements about package requests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Connection,
    Update,
    bindparam,
    delete,
    exists,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)

from inventory_api.kits.models import kit_lines
from inventory_api.package_requests.models import (
    PackageRequest,
    Reservation,
    erased_customers,
    package_requests,
    reservations,
)
from inventory_api.tables import stored_answers
from service_kit.database.counting import KindCounts
from service_kit.database.listed import is_listed
from service_kit.database.on_conflict import insert_missing
from service_kit.database.personal import blanks
from service_kit.database.prepared import Prepared, PreparedChange, PreparedValues
from service_kit.database.rows import find_all, find_one, page_after
from service_kit.process import clock
from service_kit.web.paging import Page, page_of

_BY_REQUEST_ID = select(package_requests).where(
    package_requests.c.request_id == bindparam("request_id")
)
_BY_REQUEST_IDS = Prepared(
    PackageRequest,
    select(package_requests).where(is_listed(package_requests.c.request_id, "request_ids")),
)
_OF_CUSTOMERS = Prepared(
    PackageRequest,
    select(package_requests).where(
        is_listed(package_requests.c.customer_id, "customer_ids"),
        is_listed(package_requests.c.package_type, "package_types"),
        is_listed(package_requests.c.occurrence, "occurrences"),
    ),
)
_ADD = PreparedChange(
    insert_missing(package_requests).inline(),
    columns=[
        one.key for one in package_requests.c if one.key not in {"id", "erased_at", "to_unpack"}
    ],
)
# In the order of their ids, as items are.
_LOCKED = (
    select(package_requests)
    .where(package_requests.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(package_requests.c.id)
    .with_for_update()
)


# What a change of address writes.
_OF_ADDRESS = ("ship_to", "ship_to_as_of", "version", "updated_at")


def _changing(**values: Any) -> Update:
    of_these = package_requests.c.id.in_(bindparam("ids", expanding=True))
    again = {"version": package_requests.c.version + 1, "updated_at": bindparam("at")}
    return update(package_requests).where(of_these).values(**values, **again)


_NOT_PACKED = select(package_requests).where(
    or_(package_requests.c.status == "pending", package_requests.c.status == "backordered"),
    package_requests.c.erased_at.is_(None),
)
_NOT_PACKED_OF = Prepared(
    PackageRequest, _NOT_PACKED.where(is_listed(package_requests.c.customer_id, "customer_ids"))
)
_LOCK_NOT_PACKED = (
    _NOT_PACKED.where(package_requests.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(package_requests.c.id)
    .with_for_update()
)
_SET_SHIP_TO = PreparedChange(
    update(package_requests)
    .where(package_requests.c.id == bindparam("row_id"))
    .values(
        {
            name: bindparam(f"new_{name}", type_=package_requests.c[name].type)
            for name in _OF_ADDRESS
        }
    )
)
_SET_STATUS = _changing(status=bindparam("to_status"))
# To unpack is what was packed: the value before this change counts.
_CANCEL = _changing(status="cancelled", to_unpack=package_requests.c.status == "packed")
_UNPACKED = _changing(to_unpack=False)
_KITS_WITH = select(kit_lines.c.kit_id).where(
    kit_lines.c.item_id.in_(bindparam("items", expanding=True))
)
# Written out, for the engines to see that the index of what waits answers it.
_WAITS = package_requests.c.status == literal_column("'backordered'")
# Kit by kit, one look into that index each, however many wait for it.
_KITS_OF_BACKORDERS = _KITS_WITH.where(
    exists().where(_WAITS, package_requests.c.kit_id == kit_lines.c.kit_id)
).distinct()
_BACKORDERS_PAGE = (
    select(package_requests)
    .where(_WAITS, package_requests.c.kit_id.in_(_KITS_WITH))
    .where(package_requests.c.id > bindparam("after"))
    .order_by(package_requests.c.id)
    .limit(bindparam("limit"))
)
_RESERVE = PreparedChange(insert(reservations).inline(), columns=reservations.c.keys())
_TAKE = (
    delete(reservations)
    .where(reservations.c.package_request_id.in_(bindparam("row_ids", expanding=True)))
    .returning(*reservations.c)
)
# On PostgreSQL the lock on the table keeps `close_to_new` waiting until the package is made; there
# is seldom a row to lock.
_ERASED_AMONG = PreparedValues[str](
    select(erased_customers.c.customer_id)
    .where(is_listed(erased_customers.c.customer_id, "customer_ids"))
    .with_for_update(read=True, key_share=True)
)
_REMEMBER = insert_missing(erased_customers)
_IS_LIVE = package_requests.c.status.in_(("pending", "backordered", "packed"))
_TO_ERASE = (
    select(package_requests)
    .where(
        package_requests.c.customer_id.in_(bindparam("customer_ids", expanding=True)),
        or_(package_requests.c.erased_at.is_(None), _IS_LIVE),
    )
    .order_by(package_requests.c.id)
)
_LOCK_LIVE = (
    select(package_requests)
    .where(package_requests.c.id.in_(bindparam("ids", expanding=True)), _IS_LIVE)
    .order_by(package_requests.c.id)
    .with_for_update()
)
_ERASE = (
    update(package_requests)
    .where(
        package_requests.c.customer_id.in_(bindparam("customer_ids", expanding=True)),
        package_requests.c.erased_at.is_(None),
    )
    .values(
        **blanks(package_requests),
        erased_at=bindparam("at"),
        updated_at=bindparam("at"),
        version=package_requests.c.version + 1,
    )
)
_COUNTS = KindCounts(package_requests.c.status)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which package requests a list shows."""

    customer_id: str | None = None
    status: str | None = None
    package_type: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def find(db: Connection, request_id: str) -> PackageRequest | None:
    return find_one(PackageRequest, db, _BY_REQUEST_ID, {"request_id": request_id})


def by_request_ids(db: Connection, request_ids: Collection[str]) -> dict[str, PackageRequest]:
    """Find those of these requests that there are, by their ids."""
    found = _BY_REQUEST_IDS.all(db, request_ids=list(request_ids))
    return {row.request_id: row for row in found}


def add_missing(db: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert those whose identity is new, as pending; the unique constraint decides which are.

    In one order for every caller: two that insert the same rows in different orders deadlock.
    """
    identity = itemgetter("customer_id", "package_type", "occurrence")
    now = clock.now()
    same = {"status": "pending", "version": 1, "created_at": now, "updated_at": now}
    _ADD.each(db, sorted(rows, key=identity), **same)


def of_identities(
    db: Connection, identities: Collection[tuple[str, str, int]]
) -> dict[tuple[str, str, int], PackageRequest]:
    """Find requests by customer, type and occurrence."""
    customer_ids, package_types, occurrences = (
        list(set(part)) for part in zip(*identities, strict=True)
    )
    found = _OF_CUSTOMERS.all(
        db, customer_ids=customer_ids, package_types=package_types, occurrences=occurrences
    )
    return {(row.customer_id, row.package_type, row.occurrence): row for row in found}


def page(db: Connection, filters: Filter, after: int | None, limit: int) -> Page[PackageRequest]:
    """List requests in the order in which they were made."""
    statement = select(package_requests)
    for column in ("customer_id", "status", "package_type"):
        if (value := getattr(filters, column)) is not None:
            statement = statement.where(package_requests.c[column] == value)
    if filters.created_after is not None:
        statement = statement.where(package_requests.c.created_at > filters.created_after)
    if filters.created_before is not None:
        statement = statement.where(package_requests.c.created_at < filters.created_before)
    statement = page_after(statement, package_requests.c.id, after, limit + 1)
    return page_of(find_all(PackageRequest, db, statement), limit, key="id")


def get_locked(db: Connection, row_ids: Collection[int]) -> list[PackageRequest]:
    """Read requests that exist, and lock them until the transaction ends."""
    return find_all(PackageRequest, db, _LOCKED, {"ids": list(row_ids)})


def set_status(db: Connection, row_ids: Collection[int], status: str) -> None:
    if row_ids:
        values = {"ids": list(row_ids), "to_status": status, "at": clock.now()}
        db.execute(_SET_STATUS, values)


def not_packed_of(db: Connection, customer_ids: Collection[str]) -> list[PackageRequest]:
    """Find the requests of these customers that are still to be packed."""
    return _NOT_PACKED_OF.all(db, customer_ids=list(customer_ids)) if customer_ids else []


def lock_not_packed(db: Connection, row_ids: Collection[int]) -> list[PackageRequest]:
    """Read which of these requests are still to be packed, and lock them."""
    return find_all(PackageRequest, db, _LOCK_NOT_PACKED, {"ids": list(row_ids)})


def set_ship_to(db: Connection, rows: Sequence[PackageRequest]) -> None:
    """Write the addresses of these rows, which are locked."""
    written = [
        {"row_id": row.id, **{f"new_{name}": getattr(row, name) for name in _OF_ADDRESS}}
        for row in rows
    ]
    _SET_SHIP_TO.each(db, written)


def cancel(db: Connection, row_ids: Collection[int]) -> None:
    """Cancel requests; those that are packed are to be unpacked."""
    if row_ids:
        db.execute(_CANCEL, {"ids": list(row_ids), "at": clock.now()})


def set_unpacked(db: Connection, row_ids: Collection[int]) -> None:
    db.execute(_UNPACKED, {"ids": list(row_ids), "at": clock.now()})


def kits_of_backorders(db: Connection, item_ids: Collection[int]) -> set[int]:
    """Find the kits that requests are waiting for and that hold one of these items."""
    return set(db.execute(_KITS_OF_BACKORDERS, {"items": list(item_ids)}).scalars())


def backorders(
    db: Connection, item_ids: Collection[int], after: int, limit: int
) -> Sequence[PackageRequest]:
    """List the requests that wait for one of these items, the oldest first."""
    values = {"items": list(item_ids), "after": after, "limit": limit}
    return find_all(PackageRequest, db, _BACKORDERS_PAGE, values)


def add_reservations(db: Connection, rows: Sequence[Mapping[str, int]]) -> None:
    _RESERVE.each(db, rows)


def take_reservations(db: Connection, row_ids: Collection[int]) -> list[Reservation]:
    """Delete what is reserved for requests, and return it; repeated, it finds nothing."""
    return sorted(find_all(Reservation, db, _TAKE, {"row_ids": list(row_ids)}))


def erased_among(db: Connection, customer_ids: Collection[str]) -> set[str]:
    """Find which of these customers were erased; no other can be until this transaction ends."""
    return set(_ERASED_AMONG.all(db, customer_ids=list(customer_ids)))


def close_to_new(db: Connection) -> None:
    """Wait for transactions that make packages, and block new ones until this one ends.

    On SQLite there is one writer at a time anyway.
    """
    if db.dialect.name == "postgresql":
        db.execute(text("LOCK TABLE erased_customers IN EXCLUSIVE MODE"))


def to_erase(db: Connection, customer_ids: Collection[str]) -> Sequence[PackageRequest]:
    """List the requests of these customers that can still be shipped or that hold who they are."""
    return find_all(PackageRequest, db, _TO_ERASE, {"customer_ids": list(customer_ids)})


def lock_live(db: Connection, row_ids: Collection[int]) -> Sequence[PackageRequest]:
    """Read which of these requests can still be shipped, and lock them."""
    return find_all(PackageRequest, db, _LOCK_LIVE, {"ids": list(row_ids)})


def erase(db: Connection, customer_ids: Collection[str]) -> None:
    """Remember that these customers were erased, and blank their personal fields."""
    now = clock.now()
    db.execute(_REMEMBER, [{"customer_id": one, "erased_at": now} for one in customer_ids])
    # Stored answers hold the same fields.
    stored_answers.forget(db, customer_ids)
    db.execute(_ERASE, {"customer_ids": list(customer_ids), "at": now})


def counts(db: Connection) -> dict[str, int]:
    return {status: number for (status,), number in _COUNTS(db).items()}
