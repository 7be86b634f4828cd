"""Items and the movements of their stock: the tables, and their rows."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from inventory_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

items = Table(
    "items",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("sku", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    # Of an untracked item there is always enough; it has no movements and no reservations.
    Column("tracked", Boolean, nullable=False),
    Column("on_hand", BigInt, nullable=False),
    Column("reserved", BigInt, nullable=False),
    Column("reorder_level", BigInt, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # The last word: whatever the code gets wrong, stock is never promised twice.
    CheckConstraint("0 <= reserved AND reserved <= on_hand", name="ck_items_levels"),
    sqlite_autoincrement=True,
)


class Item(NamedTuple):
    id: int
    sku: str
    name: str
    tracked: bool
    on_hand: int
    reserved: int
    reorder_level: int
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def available(self) -> int:
        """How many are not reserved."""
        return self.on_hand - self.reserved


# Append-only. The sums over an item's rows are its levels.
movements = Table(
    "movements",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("item_id", BigInt, ForeignKey("items.id"), nullable=False),
    Column("on_hand_delta", BigInt, nullable=False),
    Column("reserved_delta", BigInt, nullable=False),
    Column("reason", String(100), nullable=False),
    # The package request it was for, where it was for one.
    Column("reference", String(36)),
    Column("actor", String(100), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_movements_item", "item_id", "id"),
    sqlite_autoincrement=True,
)
