"""The table of customers, and its rows."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import JSON, Boolean, Column, Index, Integer, String, Table, true

from crm_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

customers = Table(
    "customers",
    metadata,
    Column("id", BigInt, primary_key=True),
    # What other systems store: unlike the id it is never given twice, not even after a restore.
    Column("uid", String(36), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("email", String(320), nullable=False),
    # The address as it is compared: lower case made by Python, so that both engines agree on it.
    Column("email_key", String(320), nullable=False, unique=True),
    Column("company", String(200)),
    Column("phone", String(50)),
    Column("external_ref", String(200), unique=True),
    Column("metadata", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("version", Integer, nullable=False),
    # Whether whoever added it wanted a welcome package for it; the event of its creation says so.
    Column("welcome", Boolean, nullable=False, server_default=true()),
    # Since when the personal fields are blank.
    Column("erased_at", UtcDateTime),
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
    created_at: datetime
    updated_at: datetime
    version: int
    welcome: bool
    erased_at: datetime | None
