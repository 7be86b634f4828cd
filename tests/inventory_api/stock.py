"""Items and kits that no other test knows; and an auditor who trusts none of Inventory's words."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import asyncpg
import httpx
from sqlalchemy import Connection, text

from tests.inventory_api.conftest import BATCH, LIST, app_of, new_customer

# Answers a question in SQL.
Ask = Callable[[str], Sequence[Sequence[Any]]]

WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
PAUSE = 0.002
PATIENCE = 2_000

LIVE = {"pending", "packed"}
TARGETS = {
    "pack": "packed",
    "ship": "shipped",
    "deliver": "delivered",
    "cancel": "cancelled",
    "return": "returned",
}
# What may become of a package in each status, as a caller is told.
ALLOWED: dict[str, list[str]] = {
    "pending": ["packed", "cancelled"],
    "backordered": ["cancelled"],
    "packed": ["shipped", "cancelled"],
    "shipped": ["delivered", "returned"],
    "delivered": ["returned"],
    "cancelled": [],
    "returned": [],
}


def new_sku() -> str:
    return f"SKU-{uuid.uuid4().hex[:12]}"


async def add_item(inventory: httpx.AsyncClient, on_hand: int = 0, **more: Any) -> str:
    """Add an item that is new. Returns its SKU."""
    item = {"sku": new_sku(), "name": "Thing", "on_hand": on_hand, **more}
    answer = await inventory.post("/items", json=item)
    assert answer.status_code == 201, answer.text
    sku: str = answer.json()["sku"]
    return sku


async def put_kit(
    inventory: httpx.AsyncClient, quantities: dict[str, int], package_type: str = ""
) -> str:
    """Say what goes into packages of a type, a new one unless it is given. Returns the type."""
    package_type = package_type or f"kit-{uuid.uuid4().hex[:12]}"
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in quantities.items()]
    answer = await inventory.put(f"/kits/{package_type}", json={"lines": lines})
    assert answer.status_code in {200, 201}, answer.text
    return package_type


async def add_kit(inventory: httpx.AsyncClient, on_hand: int = 0) -> tuple[str, str]:
    """Make a kit of one item of which there are so many. Returns the item's SKU and the type."""
    sku = await add_item(inventory, on_hand)
    return sku, await put_kit(inventory, {sku: 1})


async def request_many(
    inventory: httpx.AsyncClient, package_type: str, number: int
) -> Counter[str]:
    """Have so many packages made in a batch. Returns how many there are in each status."""
    wanted = [{"customer_id": new_customer(), "package_type": package_type} for _ in range(number)]
    answer = await inventory.post(BATCH, json=wanted)
    assert {result["status"] for result in answer.json()} == {201}, answer.text
    return Counter(result["package_request"]["status"] for result in answer.json())


async def receive(inventory: httpx.AsyncClient, sku: str, quantity: int) -> dict[str, Any]:
    """Move stock, and find that it was allowed. Returns the row of the ledger."""
    moved = {"quantity": quantity, "reason": "delivery"}
    answer = await inventory.post(f"/items/{sku}/movements", json=moved)
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    return row


async def take(inventory: httpx.AsyncClient, request_id: str, *moves: str) -> None:
    """Take a package request these steps on."""
    for move in moves:
        answer = await inventory.post(f"{LIST}/{request_id}/{move}")
        assert answer.status_code == 200, answer.text


async def shown(inventory: httpx.AsyncClient, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await inventory.get(f"{LIST}/{request_id}")).json()
    return found


async def status_of(inventory: httpx.AsyncClient, request_id: str) -> str:
    status: str = (await shown(inventory, request_id))["status"]
    return status


async def statuses(inventory: httpx.AsyncClient, package_type: str) -> list[str]:
    """List the statuses of all packages of a type, the oldest first."""
    found: list[str] = []
    address = f"{LIST}?package_type={package_type}&limit=500"
    while address:
        answer = await inventory.get(address)
        found += [one["status"] for one in answer.json()]
        address = str(answer.links.get("next", {}).get("url", ""))
    return found


async def levels(inventory: httpx.AsyncClient, sku: str) -> tuple[int, int]:
    """Look up how many of an item are on hand, and how many of them are reserved."""
    item = (await inventory.get(f"/items/{sku}")).json()
    assert item["available"] == item["on_hand"] - item["reserved"]
    return item["on_hand"], item["reserved"]


async def ledger(inventory: httpx.AsyncClient, sku: str) -> list[dict[str, Any]]:
    answer = await inventory.get(f"/items/{sku}/movements", params={"limit": 500})
    assert "link" not in answer.headers
    rows: list[dict[str, Any]] = answer.json()
    return rows


def deltas(rows: list[dict[str, Any]]) -> list[tuple[int, int, str]]:
    return [(row["on_hand_delta"], row["reserved_delta"], row["reason"]) for row in rows]


async def find_faults(inventory: httpx.AsyncClient) -> list[str]:
    """Audit the database of an Inventory at rest, and hear what it says of itself."""

    def run(db: Connection) -> list[str]:
        return list(audit(lambda question: db.execute(text(question)).all()))

    own = (await inventory.get("/verify")).json()
    assert own["balanced"] == (own["differences"] == [])
    return [*await app_of(inventory).state.database.read(run), *map(str, own["differences"])]


def audit(ask: Ask) -> Iterator[str]:
    """Find what does not fit together in the tables themselves, and who waits for what is there."""
    items = {
        number: (sku, on_hand, reserved)
        for number, sku, on_hand, reserved in ask(
            "SELECT id, sku, on_hand, reserved FROM items WHERE tracked"
        )
    }
    yield from _wrong_levels(items, ask)
    kits: dict[int, dict[int, int]] = {}
    for kit, item, quantity in ask("SELECT kit_id, item_id, quantity FROM kit_lines"):
        if item in items:
            kits.setdefault(kit, {})[item] = quantity
    requests = ask("SELECT id, status, kit_id, to_unpack FROM package_requests ORDER BY id")
    promised = {
        (number, item, quantity)
        for number, status, kit, is_in_box in requests
        if status in LIVE or is_in_box
        for item, quantity in kits.get(kit, {}).items()
    }
    reserved = {tuple(row) for row in ask("SELECT * FROM reservations")}
    yield from (f"no reservation: {one}" for one in sorted(promised - reserved))
    yield from (f"a reservation for nothing: {one}" for one in sorted(reserved - promised))
    for number, status, kit, is_in_box in requests:
        if is_in_box and status != "cancelled":
            yield f"package request {number} is {status} and to unpack"
        wanted = kits.get(kit, {}).items()
        if status == "backordered" and all(
            items[item][1] - items[item][2] >= quantity for item, quantity in wanted
        ):
            yield f"package request {number} waits for what is there"


def _wrong_levels(items: dict[int, tuple[str, int, int]], ask: Ask) -> Iterator[str]:
    on_hand_sums, reserved_sums, held = Counter[int](), Counter[int](), Counter[int]()
    for item, on_hand, reserved in ask(
        "SELECT item_id, on_hand_delta, reserved_delta FROM movements"
    ):
        on_hand_sums[item] += on_hand
        reserved_sums[item] += reserved
    for item, quantity in ask("SELECT item_id, quantity FROM reservations"):
        held[item] += quantity
    for item, (sku, on_hand, reserved) in items.items():
        if not 0 <= reserved <= on_hand:
            yield f"{sku}: {reserved} of {on_hand} reserved"
        if (on_hand, reserved) != (on_hand_sums[item], reserved_sums[item]):
            yield f"{sku}: the ledger says {on_hand_sums[item]}, {reserved_sums[item]}"
        if reserved != held[item]:
            yield f"{sku}: {reserved} reserved, but {held[item]} promised"


class Holder:
    """Keeps everyone else from an item, as a transaction does that takes its time."""

    def __init__(self, url: str, sku: str) -> None:
        self._url = url
        self._sku = sku

    async def __aenter__(self) -> Self:
        # What a transaction has seen of others' waiting it sees until its end; so two connections.
        self._holding, self._looking = [await asyncpg.connect(self._url) for _ in range(2)]
        await self._holding.execute("BEGIN")
        await self._holding.execute("SELECT * FROM items WHERE sku = $1 FOR UPDATE", self._sku)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._holding.close()
        await self._looking.close()

    async def execute(self, statement: str) -> None:
        """Do something else in this transaction."""
        await self._holding.execute(statement)

    async def until_waiting(self, number: int) -> None:
        """Wait until so many transactions wait for a lock."""
        for _ in range(PATIENCE):
            if await self._looking.fetchval(WAITING) == number:
                return
            await asyncio.sleep(PAUSE)
        raise AssertionError(f"never were {number} waiting")
