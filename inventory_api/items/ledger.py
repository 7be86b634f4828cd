"""Moving stock: levels and ledger change together or not at all."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from inventory_api.items import store
from service_kit.process import clock


class StockChange(NamedTuple):
    """A change of one item's stock: how many come or go, and are reserved or released."""

    item_id: int
    on_hand_delta: int
    reserved_delta: int
    reason: str
    reference: str | None = None


def write(db: Connection, moved: Sequence[StockChange], actor: str) -> None:
    """Append these movements and change the levels, with one statement for each item.

    The items must be locked by this transaction, in the order of their ids.
    """
    now = clock.now()
    rows = [{**one._asdict(), "actor": actor, "at": now} for one in moved]
    store.move(db, rows, _totals(moved, now))


def _totals(moved: Sequence[StockChange], now: datetime) -> list[dict[str, Any]]:
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for one in moved:
        sums[one.item_id][0] += one.on_hand_delta
        sums[one.item_id][1] += one.reserved_delta
    return [
        {"item_id": item_id, "on_hand_delta": on_hand, "reserved_delta": reserved, "at": now}
        for item_id, (on_hand, reserved) in sums.items()
    ]
