"""Kits and their lines: the tables, and their rows.

A version is never changed, so a request keeps what it was promised.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, String, Table, UniqueConstraint

from inventory_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

kits = Table(
    "kits",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("package_type", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("package_type", "version", name="uq_kits_version"),
    sqlite_autoincrement=True,
)


class KitVersion(NamedTuple):
    """One version of what goes into a package."""

    id: int
    package_type: str
    version: int
    actor: str
    created_at: datetime


kit_lines = Table(
    "kit_lines",
    metadata,
    Column("kit_id", BigInt, ForeignKey("kits.id"), primary_key=True),
    Column("item_id", BigInt, ForeignKey("items.id"), primary_key=True),
    Column("quantity", Integer, nullable=False),
    CheckConstraint("quantity > 0", name="ck_kit_lines_quantity"),
)
