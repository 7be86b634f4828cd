"""Moving stock: levels and ledger change together or not at all."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from inventory_api.items import store
from service_kit.process import clock


@dataclass(frozen=True, slots=True)
class StockChange:
    """A change of one item's stock: how many come or go, and are reserved or released."""

    item_id: int
    on_hand: int
    reserved: int
    reason: str
    reference: str | None = None


def write(db: Connection, moved: Sequence[StockChange], actor: str) -> None:
    """Append these movements and change the levels, with one statement for each item.

    The items must be locked by this transaction, in the order of their ids.
    """
    now = clock.now()
    store.move(db, [_row(one, actor, now) for one in moved], _totals(moved, now))


def _row(one: StockChange, actor: str, now: datetime) -> dict[str, Any]:
    return {
        "item_id": one.item_id,
        "on_hand_delta": one.on_hand,
        "reserved_delta": one.reserved,
        "reason": one.reason,
        "reference": one.reference,
        "actor": actor,
        "at": now,
    }


def _totals(moved: Sequence[StockChange], now: datetime) -> list[dict[str, Any]]:
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for one in moved:
        sums[one.item_id][0] += one.on_hand
        sums[one.item_id][1] += one.reserved
    return [
        {"item_id": item_id, "on_hand_delta": on_hand, "reserved_delta": reserved, "at": now}
        for item_id, (on_hand, reserved) in sums.items()
    ]
