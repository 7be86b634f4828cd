"""The table of customers, and its rows."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import JSON, Boolean, Column, Index, Integer, String, Table, true

from crm_api.tables import metadata
from service_kit.database.personal import PERSONAL
from service_kit.database.types import BigInt, UtcDateTime
from service_kit.web.postal import PostalAddressData

_SEARCHED = PERSONAL | {"searched": True}
_HIDDEN = {"shown": False}

customers = Table(
    "customers",
    metadata,
    Column("id", BigInt, primary_key=True),
    # What other systems store: unlike the id it is never given twice, not even after a restore.
    Column("uid", String(36), nullable=False, unique=True),
    Column("name", String(200), nullable=False, info=_SEARCHED),
    Column("email", String(320), nullable=False, info=_SEARCHED),
    # The address as it is compared: lower case made by Python, so that both engines agree on it.
    Column("email_key", String(320), nullable=False, unique=True, info=PERSONAL | _HIDDEN),
    Column("company", String(200), info=_SEARCHED),
    Column("phone", String(50), info=PERSONAL),
    Column("external_ref", String(200), unique=True, info=PERSONAL),
    Column("metadata", JSON, nullable=False, info=PERSONAL),
    Column("address", JSON(none_as_null=True), info=PERSONAL),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("version", Integer, nullable=False, info=_HIDDEN),
    # Whether a welcome package is wanted for it; the event of its creation says so.
    Column("welcome", Boolean, nullable=False, server_default=true(), info=_HIDDEN),
    # Since when the personal fields are blank.
    Column("erased_at", UtcDateTime, info=_HIDDEN),
    Index("ix_customers_erased", "id", info={"where": "erased_at IS NOT NULL"}),
    # Never hand out a deleted row's id again.
    sqlite_autoincrement=True,
)


class Customer(NamedTuple):
    id: int
    uid: str
    name: str
    email: str
    email_key: str
    company: str | None
    phone: str | None
    external_ref: str | None
    metadata: dict[str, str]
    address: PostalAddressData | None
    created_at: datetime
    updated_at: datetime
    version: int
    welcome: bool
    erased_at: datetime | None


# What callers are shown in a list, and the part of it that a customer is found by. Plain texts: to
# write JSON under SQLAlchemy's own kind of names takes five times as long.
SHOWN = tuple(str(column.key) for column in customers.c if column.info.get("shown", True))
SEARCHED = tuple(column.key for column in customers.c if column.info.get("searched"))
