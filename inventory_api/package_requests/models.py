"""Package requests and what is reserved for them: the tables, and their rows."""

from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from inventory_api.tables import metadata
from service_kit.database.personal import PERSONAL
from service_kit.database.types import BigInt, UtcDateTime
from service_kit.web.postal import PostalAddressData

Status = Literal[
    "pending", "backordered", "packed", "shipped", "delivered", "cancelled", "returned"
]

package_requests = Table(
    "package_requests",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("request_id", String(36), nullable=False, unique=True),
    Column("customer_id", String(64), nullable=False),
    Column("package_type", String(64), nullable=False),
    Column("occurrence", Integer, nullable=False),
    Column("customer_name", String(200), info=PERSONAL),
    Column("note", Text, info=PERSONAL),
    # A copy of the customer's address. Until it is packed, a newer one replaces it.
    Column("ship_to", JSON(none_as_null=True), info=PERSONAL),
    # When that was the customer's address; empty where nobody has said it.
    Column("ship_to_as_of", UtcDateTime),
    Column("status", String(20), nullable=False),
    # The version of the kit that it was promised; empty where its type had none.
    Column("kit_id", BigInt, ForeignKey("kits.id")),
    Column("version", Integer, nullable=False),
    # Since when its personal fields are blank because the customer was erased.
    Column("erased_at", UtcDateTime),
    # It was cancelled when it was packed: until its box is emptied, its goods stay reserved.
    Column("to_unpack", Boolean, nullable=False, server_default=false()),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # The promise of one package a customer. Rows are never deleted, so it holds for ever:
    # asking again, however much later, finds the request that is there.
    UniqueConstraint(
        "customer_id", "package_type", "occurrence", name="uq_package_requests_identity"
    ),
    Index("ix_package_requests_status", "status", "id"),
    # Who waits for stock, by what they wait for.
    Index("ix_package_requests_waiting", "kit_id", "id", info={"where": "status = 'backordered'"}),
    Index("ix_package_requests_to_unpack", "id", info={"where": "to_unpack"}),
    sqlite_autoincrement=True,
)


class PackageRequest(NamedTuple):
    id: int
    request_id: str
    customer_id: str
    package_type: str
    occurrence: int
    customer_name: str | None
    note: str | None
    ship_to: PostalAddressData | None
    ship_to_as_of: datetime | None
    status: Status
    kit_id: int | None
    version: int
    erased_at: datetime | None
    to_unpack: bool
    created_at: datetime
    updated_at: datetime


# Customers who were erased, kept for ever: a request for one of them may still be on its way.
erased_customers = Table(
    "erased_customers",
    metadata,
    Column("customer_id", String(64), primary_key=True),
    Column("erased_at", UtcDateTime, nullable=False),
)

# A row is a promise that still holds: it goes when its goods are shipped or back on the shelf.
reservations = Table(
    "reservations",
    metadata,
    Column("package_request_id", BigInt, ForeignKey("package_requests.id"), primary_key=True),
    Column("item_id", BigInt, ForeignKey("items.id"), primary_key=True),
    Column("quantity", Integer, nullable=False),
    CheckConstraint("quantity > 0", name="ck_reservations_quantity"),
    Index("ix_reservations_item", "item_id"),
)


class Reservation(NamedTuple):
    package_request_id: int
    item_id: int
    quantity: int
