"""What stock costs: a few statements, however many packages are asked for or served at once."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import Connection

from inventory_api.package_requests import store
from tests.inventory_api.conftest import LIST
from tests.inventory_api.stock import (
    add_item,
    add_kit,
    find_faults,
    put_kit,
    receive,
    request_many,
    take,
)
from tests.statements import before_each_statement


@pytest.fixture
def statements() -> Iterator[Callable[[], list[str]]]:
    """Give the verbs that were sent to this process's databases since the last look."""
    seen: list[str] = []

    def note(statement: str) -> None:
        verb = statement.split(maxsplit=1)[0]
        if verb not in {"SAVEPOINT", "RELEASE"}:
            seen.append(verb)

    def since() -> list[str]:
        found = seen.copy()
        seen.clear()
        return found

    with before_each_statement(note):
        yield since


@pytest.mark.parametrize("share", [0, 0.5, 1], ids=["none in stock", "half", "all"])
async def test_a_batch_costs_the_same_whatever_its_size(
    shared_inventory: httpx.AsyncClient, statements: Callable[[], list[str]], share: float
) -> None:
    costs = []
    for size in (20, 500):
        _, package_type = await add_kit(shared_inventory, int(size * share))
        statements()
        counted = await request_many(shared_inventory, package_type, size)
        costs.append(statements())
        assert counted["pending"] == int(size * share)

    assert costs[0] == costs[1]
    assert len(costs[0]) <= 14


async def test_a_batch_of_kits_of_many_items_costs_one_more_an_item(
    shared_inventory: httpx.AsyncClient, statements: Callable[[], list[str]]
) -> None:
    costs = []
    for number in (2, 7):
        items = [await add_item(shared_inventory, 500) for _ in range(number)]
        package_type = await put_kit(shared_inventory, dict.fromkeys(items, 1))
        statements()
        await request_many(shared_inventory, package_type, 100)
        costs.append(len(statements()))

    assert costs[1] - costs[0] == 5


async def test_what_comes_in_is_given_out_at_the_same_cost_to_one_or_to_hundreds(
    shared_inventory: httpx.AsyncClient, statements: Callable[[], list[str]]
) -> None:
    costs = []
    for size in (1, 20, 499):
        sku, package_type = await add_kit(shared_inventory)
        await request_many(shared_inventory, package_type, size)
        statements()
        await receive(shared_inventory, sku, size)
        costs.append(statements())

    assert costs[0] == costs[1] == costs[2]
    assert len(costs[0]) <= 20
    assert await find_faults(shared_inventory) == []


@pytest.mark.parametrize("moves", [("cancel",), ("pack", "ship", "return")], ids=" ".join)
async def test_a_move_costs_the_same_however_many_wait(
    shared_inventory: httpx.AsyncClient,
    statements: Callable[[], list[str]],
    moves: tuple[str, ...],
) -> None:
    costs = []
    for waiting in (1, 400):
        _, package_type = await add_kit(shared_inventory, 1)
        await request_many(shared_inventory, package_type, waiting + 1)
        listed = await shared_inventory.get(LIST, params={"package_type": package_type})
        [holder] = [one for one in listed.json() if one["status"] == "pending"]
        statements()
        await take(shared_inventory, holder["request_id"], *moves)
        costs.append(statements())

    assert costs[0] == costs[1]
    assert len(costs[0]) <= 25 * len(moves)


@pytest.mark.parametrize(
    ("before", "move", "looks"),
    [
        ((), "pack", False),
        (("pack",), "ship", False),
        (("pack", "ship"), "deliver", False),
        ((), "cancel", True),
        (("pack", "ship"), "return", True),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
async def test_only_a_move_that_frees_stock_asks_who_waits(
    shared_inventory: httpx.AsyncClient, before: tuple[str, ...], move: str, looks: bool
) -> None:
    _, package_type = await add_kit(shared_inventory, 1)
    await request_many(shared_inventory, package_type, 1)
    [holder] = (await shared_inventory.get(LIST, params={"package_type": package_type})).json()
    await take(shared_inventory, holder["request_id"], *before)
    asked: list[bool] = []

    def note(statement: str) -> None:
        asked.append("'backordered'" in statement)

    with before_each_statement(note):
        await take(shared_inventory, holder["request_id"], move)

    assert any(asked) == looks


async def test_who_waits_is_looked_up_in_an_index_on_sqlite(
    shared_inventory: httpx.AsyncClient, engine: str
) -> None:
    if engine != "sqlite":
        return  # PostgreSQL's planner chooses by how many rows there are

    def plan(db: Connection) -> str:
        compiled = store._KITS_OF_BACKORDERS.compile(db).construct_expanded_state({"items": [1, 2]})
        values = tuple(compiled.parameters[name] for name in compiled.positiontup)
        explained = f"EXPLAIN QUERY PLAN {compiled.statement}"
        return str(db.exec_driver_sql(explained, values).all())

    found = await shared_inventory.app.state.database.read(plan)  # type: ignore[attr-defined]

    assert "ix_package_requests_waiting" in found
    assert "SCAN package_requests" not in found
