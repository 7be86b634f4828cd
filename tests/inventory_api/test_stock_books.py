"""The books: each kind of damage is named, repaired with a row for it, and by whom who may."""

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from inventory_api.commands import main
from tests.conftest import ROOT, bearer
from tests.inventory_api.conftest import app_of, change_database, request_package
from tests.inventory_api.stock import (
    add_item,
    add_kit,
    deltas,
    find_faults,
    ledger,
    levels,
    put_kit,
    receive,
    request_many,
    status_of,
    take,
)

Differences = list[tuple[str, int, int]]


@dataclass(frozen=True)
class Books:
    """An item of which 8 are on hand and 4 of them promised, by twos, to live requests."""

    inventory: httpx.AsyncClient
    sku: str
    requests: dict[str, str]

    async def damage(self, statement: str) -> None:
        """Run SQL in which {item} and {<status>} stand for rows, as none of Inventory's does."""
        row = "(SELECT id FROM package_requests WHERE request_id = '{}')"
        ids = {status: row.format(request_id) for status, request_id in self.requests.items()}
        item = f"(SELECT id FROM items WHERE sku = '{self.sku}')"  # noqa: S608
        await change_database(self.inventory, *statement.format(item=item, **ids).split(";"))

    async def verify(self) -> Differences:
        """Ask whether the books balance. Returns what differs of this item."""
        return self._own((await self.inventory.get("/verify")).json()["differences"])

    async def repair(self) -> Differences:
        answer = await self.inventory.post("/verify/repair")
        assert answer.status_code == 200, answer.text
        assert answer.json()["verification"]["balanced"]
        return self._own(answer.json()["repaired"])

    def _own(self, differences: list[dict[str, Any]]) -> Differences:
        return [
            (one["kind"], one["level"], one["should_be"])
            for one in differences
            if one["sku"] == self.sku
        ]


async def keep_books(inventory: httpx.AsyncClient) -> Books:
    sku = await add_item(inventory, 10)
    package_type = await put_kit(inventory, {sku: 2})
    requests = {}
    for status, *moves in (
        ("pending",),
        ("packed", "pack"),
        ("shipped", "pack", "ship"),
        ("cancelled", "cancel"),
    ):
        made = await request_package(inventory, package_type=package_type)
        await take(inventory, made["request_id"], *moves)
        requests[status] = made["request_id"]
    assert await levels(inventory, sku) == (8, 4)
    return Books(inventory, sku, requests)


# What is done to the database; what is named; the levels after the repair, and the rows it wrote.
DAMAGES: dict[str, tuple[str, Differences, tuple[int, int], list[tuple[int, int]]]] = {
    "on_hand is too high": (
        "UPDATE items SET on_hand = 9 WHERE id = {item}",
        [("on_hand", 9, 8)],
        (8, 4),
        [],
    ),
    "on_hand is too low": (
        "UPDATE items SET on_hand = 5 WHERE id = {item}",
        [("on_hand", 5, 8)],
        (8, 4),
        [],
    ),
    "reserved is too high": (
        "UPDATE items SET reserved = 5 WHERE id = {item}",
        [("reserved", 5, 4), ("promised", 5, 4)],
        (8, 4),
        [],
    ),
    "reserved is too low": (
        "UPDATE items SET reserved = 0 WHERE id = {item}",
        [("reserved", 0, 4), ("promised", 0, 4)],
        (8, 4),
        [],
    ),
    "a row of the ledger is gone": (
        "DELETE FROM movements WHERE item_id = {item} AND reason = 'shipped'",
        [("on_hand", 8, 10), ("reserved", 4, 6)],
        (10, 4),
        [(0, -2)],
    ),
    "a reservation's row of the ledger is gone": (
        (
            "DELETE FROM movements WHERE id = (SELECT min(id) FROM movements"
            " WHERE item_id = {item} AND reason = 'reserved')"
        ),
        [("reserved", 4, 2)],
        (8, 4),
        [(0, 2)],
    ),
    "the ledger knows of less than is promised": (
        "DELETE FROM movements WHERE item_id = {item} AND reason = 'initial stock'",
        [("on_hand", 8, -2)],
        (4, 4),
        [(6, 0)],
    ),
    "a row of the ledger is there twice": (
        (
            "INSERT INTO movements (item_id, on_hand_delta, reserved_delta, reason, actor, at)"
            " SELECT item_id, on_hand_delta, reserved_delta, reason, actor, at"
            " FROM movements WHERE item_id = {item} AND reason = 'initial stock'"
        ),
        [("on_hand", 8, 18)],
        (18, 4),
        [],
    ),
    "a reservation is gone": (
        "DELETE FROM reservations WHERE package_request_id = {pending}",
        [("reservations", 2, 4)],
        (8, 4),
        [],
    ),
    "a reservation is orphaned": (
        "INSERT INTO reservations VALUES ({cancelled}, {item}, 2)",
        [("orphaned", 2, 0)],
        (8, 4),
        [],
    ),
    "a reservation is of what is shipped": (
        (
            "UPDATE reservations SET package_request_id = {shipped}"
            " WHERE package_request_id = {packed}"
        ),
        [("reservations", 2, 4), ("orphaned", 2, 0)],
        (8, 4),
        [],
    ),
    "one has too much of what another lacks": (
        (
            "UPDATE reservations SET quantity = 1 WHERE package_request_id = {pending};"
            "UPDATE reservations SET quantity = 3 WHERE package_request_id = {packed}"
        ),
        [("reservations", 0, 4), ("orphaned", 4, 0)],
        (8, 4),
        [],
    ),
    "a request has come to its end unnoticed": (
        "UPDATE package_requests SET status = 'delivered' WHERE id = {packed}",
        [("promised", 4, 2), ("orphaned", 2, 0)],
        (8, 2),
        [(0, -2)],
    ),
    "a request has come back to life": (
        "UPDATE package_requests SET status = 'pending' WHERE id = {cancelled}",
        [("promised", 4, 6), ("reservations", 4, 6)],
        (8, 6),
        [(0, 2)],
    ),
    "more is promised than there is": (
        (
            "DELETE FROM reservations WHERE item_id = {item};"
            "DELETE FROM movements WHERE item_id = {item};"
            "UPDATE items SET on_hand = 0, reserved = 0 WHERE id = {item}"
        ),
        [("promised", 0, 4), ("reservations", 0, 4)],
        (4, 4),
        [(4, 4)],
    ),
    "a request waits for what it has": (
        "UPDATE package_requests SET status = 'backordered' WHERE id = {pending}",
        [("promised", 4, 2), ("orphaned", 2, 0)],
        (8, 4),
        # What the repair takes back it gives out again.
        [(0, -2), (0, 2)],
    ),
}
every_damage = pytest.mark.parametrize(
    ("statement", "differences", "stock", "written"), DAMAGES.values(), ids=DAMAGES
)


@every_damage
async def test_damage_is_named_and_repaired_with_rows_in_the_ledger(
    shared_inventory: httpx.AsyncClient,
    statement: str,
    differences: Differences,
    stock: tuple[int, int],
    written: list[tuple[int, int]],
) -> None:
    books = await keep_books(shared_inventory)
    assert await books.verify() == []
    await books.damage(statement)
    before = await ledger(shared_inventory, books.sku)

    found = [await books.verify(), await books.verify()]
    repaired = await books.repair()

    after = await ledger(shared_inventory, books.sku)
    assert found == [differences, differences]
    assert repaired == differences
    assert await levels(shared_inventory, books.sku) == stock
    assert after[: len(before)] == before
    rows = after[len(before) :]
    assert [(row["on_hand_delta"], row["reserved_delta"]) for row in rows] == written
    assert {(row["reason"], row["actor"]) for row in rows[:1]} <= {("repair", "admin")}
    assert await find_faults(shared_inventory) == []
    assert await books.repair() == []
    assert await ledger(shared_inventory, books.sku) == after


async def test_a_repaired_package_can_be_shipped_and_another_cancelled(
    shared_inventory: httpx.AsyncClient,
) -> None:
    books = await keep_books(shared_inventory)
    await books.damage("DELETE FROM reservations WHERE item_id = {item}")
    await books.repair()

    await take(shared_inventory, books.requests["packed"], "ship")
    await take(shared_inventory, books.requests["pending"], "cancel")

    assert await levels(shared_inventory, books.sku) == (6, 0)
    assert await find_faults(shared_inventory) == []


async def test_a_repair_reserves_nothing_of_what_is_not_counted(
    shared_inventory: httpx.AsyncClient,
) -> None:
    card, mug = await add_item(shared_inventory, tracked=False), await add_item(shared_inventory, 2)
    package_type = await put_kit(shared_inventory, {card: 1, mug: 1})
    made = await request_package(shared_inventory, package_type=package_type)
    await change_database(
        shared_inventory,
        f"UPDATE items SET on_hand = 3 WHERE sku = '{mug}'",  # noqa: S608
    )

    await shared_inventory.post("/verify/repair")
    await take(shared_inventory, made["request_id"], "pack", "ship")

    assert await levels(shared_inventory, card) == (0, 0)
    assert await levels(shared_inventory, mug) == (1, 0)
    assert await find_faults(shared_inventory) == []


async def test_what_a_repair_frees_goes_to_whoever_waits_for_it(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 1)
    holder = await request_package(shared_inventory, package_type=package_type)
    waiting = await request_package(shared_inventory, package_type=package_type)
    await change_database(
        shared_inventory,
        "UPDATE package_requests SET status = 'cancelled'"  # noqa: S608
        f" WHERE request_id = '{holder['request_id']}'",
    )

    await shared_inventory.post("/verify/repair")

    assert await status_of(shared_inventory, waiting["request_id"]) == "pending"
    assert deltas(await ledger(shared_inventory, sku))[-2:] == [
        (0, -1, "repair"),
        (0, 1, "reserved"),
    ]
    assert await find_faults(shared_inventory) == []


async def test_all_that_is_wrong_is_repaired_at_once(shared_inventory: httpx.AsyncClient) -> None:
    shelves = [await keep_books(shared_inventory) for _ in range(3)]
    for books, name in zip(shelves, DAMAGES, strict=False):
        await books.damage(DAMAGES[name][0])

    answer = await shared_inventory.post("/verify/repair")

    assert len({one["sku"] for one in answer.json()["repaired"]}) == 3
    assert await find_faults(shared_inventory) == []


async def test_a_repair_of_what_is_right_changes_nothing(
    shared_inventory: httpx.AsyncClient,
) -> None:
    books = await keep_books(shared_inventory)
    before = (await shared_inventory.get(f"/items/{books.sku}")).json()

    assert await books.repair() == []

    assert (await shared_inventory.get(f"/items/{books.sku}")).json() == before


async def test_what_is_checked_is_counted(shared_inventory: httpx.AsyncClient) -> None:
    before = (await shared_inventory.get("/verify")).json()
    await add_item(shared_inventory, 3)
    await add_item(shared_inventory, tracked=False)

    after = (await shared_inventory.get("/verify")).json()

    assert before["balanced"]
    assert after == {**before, "items_checked": before["items_checked"] + 1}


async def test_only_an_admin_may_repair(shared_inventory: httpx.AsyncClient) -> None:
    books = await keep_books(shared_inventory)
    await books.damage("UPDATE items SET on_hand = 9 WHERE id = {item}")

    refused = await shared_inventory.post("/verify/repair", headers=bearer("clerk123"))

    assert refused.status_code == 403
    assert "stock:repair" in refused.json()["detail"]
    assert await books.verify() == [("on_hand", 9, 8)]
    assert await books.repair() == [("on_hand", 9, 8)]


async def test_the_books_balance_at_every_moment_of_a_busy_day(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 20)

    async def work() -> None:
        for _ in range(5):
            await request_many(shared_inventory, package_type, 3)
            made = await request_package(shared_inventory, package_type=package_type)
            if made["status"] == "pending":
                await take(shared_inventory, made["request_id"], "pack", "ship")
            await receive(shared_inventory, sku, 2)

    async def look() -> list[bool]:
        answers = [await shared_inventory.get("/verify") for _ in range(15)]
        return [answer.json()["balanced"] for answer in answers]

    looked, *_ = await asyncio.gather(look(), *(work() for _ in range(4)))

    assert looked == [True] * 15
    assert await find_faults(shared_inventory) == []


async def test_stats_count_packages_by_status_and_name_what_runs_low(
    inventory: httpx.AsyncClient,
) -> None:
    empty = (await inventory.get("/stats")).json()
    sku, package_type = await add_kit(inventory, 4)
    await inventory.patch(f"/items/{sku}", json={"reorder_level": 4})
    before = (await inventory.get("/stats")).json()
    await request_many(inventory, package_type, 5)
    made = await request_package(inventory, package_type=await put_kit(inventory, {}))
    await take(inventory, made["request_id"], "pack", "ship")

    after = (await inventory.get("/stats")).json()

    assert Counter(empty["package_requests"]) == Counter()
    assert before["low_stock"] == []
    counted = {status: number for status, number in after["package_requests"].items() if number}
    assert counted == {"pending": 4, "backordered": 1, "shipped": 1}
    assert after["low_stock"] == [sku]


# ---- The same on the command line ----


async def run(*arguments: str) -> int:
    """Run a command in a thread, since it brings an event loop of its own."""
    return await asyncio.to_thread(main, arguments)


@pytest.fixture
async def books(inventory: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> Books:
    """Books that an Inventory at work keeps in the environment's database."""
    monkeypatch.setenv("DATABASE_URL", app_of(inventory).state.settings.database_url)
    return await keep_books(inventory)


@pytest.mark.usefixtures("log_as_before")
async def test_verify_exits_with_1_until_a_repair_has_put_the_books_right(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    codes, said = [], []
    for damage in ("a request has come to its end unnoticed", None):
        for arguments in (["verify"], ["verify"], ["verify", "--repair"]):
            codes.append(await run(*arguments))
            said.append(capsys.readouterr().out)
        if damage:
            await books.damage(DAMAGES[damage][0])

    differs = f"differs: {books.sku} promised is 4, not 2\n"
    orphaned = f"differs: {books.sku} orphaned is 2, not 0\n"
    bad = f"{differs}{orphaned}3 tracked items checked: the books do not balance\n"
    good = "3 tracked items checked: the books balance\n"
    assert codes == [0, 0, 0, 1, 1, 0]
    repaired = (differs + orphaned).replace("differs", "repaired")
    assert said == [good, good, good, bad, bad, repaired + good]
    row = (await ledger(books.inventory, books.sku))[-1]
    assert (row["reserved_delta"], row["reason"], row["actor"]) == (-2, "repair", "command-line")
    assert await find_faults(books.inventory) == []


@pytest.mark.usefixtures("log_as_before")
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://localhost/inventory", "DATABASE_URL"),
        ("postgresql://nobody@127.0.0.1:1/inventory", "database"),
        ("sqlite:////proc/no/such/folder.db", "database"),
        ("sqlite:///{folder}/empty.db", "database"),
    ],
)
@pytest.mark.parametrize("arguments", [["verify"], ["verify", "--repair"]], ids=" ".join)
async def test_a_database_that_cannot_be_checked_is_no_database_that_does_not_balance(
    url: str,
    reason: str,
    arguments: list[str],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", url.format(folder=tmp_path))

    assert await run(*arguments) == 2

    printed = capsys.readouterr()
    assert reason in printed.err
    assert "balance" not in printed.out


@pytest.mark.slow
@pytest.mark.engine("sqlite")
async def test_python_dash_m_does_the_same(books: Books) -> None:
    await books.damage("UPDATE items SET on_hand = 9 WHERE id = {item}")

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inventory_api", "verify"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()

    assert process.returncode == 1
    assert out.decode().splitlines()[0] == f"differs: {books.sku} on_hand is 9, not 8"
