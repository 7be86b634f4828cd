"""Items: added once, changed by whom has seen what they change, listed with what is running low."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from tests.inventory_api.conftest import app_of, request_package
from tests.inventory_api.stock import (
    add_item,
    add_kit,
    deltas,
    ledger,
    new_sku,
    put_kit,
    receive,
)


async def look_up(inventory: httpx.AsyncClient, sku: str) -> tuple[dict[str, Any], str]:
    """Look up an item. Returns it and its ETag."""
    answer = await inventory.get(f"/items/{sku}")
    assert answer.status_code == 200, answer.text
    return answer.json(), answer.headers["etag"]


async def change(
    inventory: httpx.AsyncClient, sku: str, if_match: str, **wanted: Any
) -> httpx.Response:
    return await inventory.patch(f"/items/{sku}", json=wanted, headers={"If-Match": if_match})


async def test_a_new_item_has_its_stock_from_its_first_movement(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = new_sku()
    sent = {"sku": sku, "name": "Red pen", "on_hand": 100, "reorder_level": 20}

    answer = await shared_inventory.post("/items", json=sent)

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/items/{sku}"
    assert datetime.now(UTC) - datetime.fromisoformat(made["created_at"]) < timedelta(minutes=1)
    assert made["created_at"].endswith("Z")
    assert made["updated_at"].endswith("Z")
    assert made == made | sent | {"tracked": True, "reserved": 0, "available": 100}
    assert (await shared_inventory.get(answer.headers["location"])).json() == made
    [row] = await ledger(shared_inventory, sku)
    assert row == row | {
        "on_hand_delta": 100,
        "reserved_delta": 0,
        "reason": "initial stock",
        "reference": None,
        "actor": "admin",
    }


@pytest.mark.parametrize("tracked", [True, False])
async def test_an_item_of_which_there_is_nothing_has_no_movement(
    shared_inventory: httpx.AsyncClient, tracked: bool
) -> None:
    sku = await add_item(shared_inventory, tracked=tracked)

    item, _ = await look_up(shared_inventory, sku)
    assert item == item | {
        "tracked": tracked,
        "on_hand": 0,
        "reserved": 0,
        "available": 0,
        "reorder_level": 0,
    }
    assert await ledger(shared_inventory, sku) == []


async def test_what_is_not_counted_has_no_number(shared_inventory: httpx.AsyncClient) -> None:
    item = {"sku": new_sku(), "name": "Card", "tracked": False, "on_hand": 5}

    assert (await shared_inventory.post("/items", json=item)).status_code == 422
    assert (await shared_inventory.get(f"/items/{item['sku']}")).status_code == 404


async def test_a_sku_is_taken_once(shared_inventory: httpx.AsyncClient) -> None:
    sku = await add_item(shared_inventory, 3)
    before = await look_up(shared_inventory, sku)

    again = await shared_inventory.post("/items", json={"sku": sku, "name": "Other", "on_hand": 9})

    assert again.status_code == 409
    assert again.json()["type"] == "urn:problem:sku-taken"
    assert await look_up(shared_inventory, sku) == before
    assert len(await ledger(shared_inventory, sku)) == 1


async def test_one_of_many_who_add_the_same_sku_adds_it(
    shared_inventory: httpx.AsyncClient,
) -> None:
    item = {"sku": new_sku(), "name": "Thing", "on_hand": 5}

    answers = await asyncio.gather(*(shared_inventory.post("/items", json=item) for _ in range(10)))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 9}
    assert deltas(await ledger(shared_inventory, item["sku"])) == [(5, 0, "initial stock")]


async def test_skus_that_differ_in_case_are_of_different_items(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = await add_item(shared_inventory)

    answer = await shared_inventory.post("/items", json={"sku": sku.lower(), "name": "Other"})

    assert answer.status_code == 201
    assert (await look_up(shared_inventory, sku))[0]["name"] == "Thing"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "Other"}),
        ("GET", "/movements", None),
        ("POST", "/movements", {"quantity": 1, "reason": "delivery"}),
    ],
)
async def test_an_item_that_nobody_added_is_not_found(
    shared_inventory: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    answer = await shared_inventory.request(method, f"/items/{new_sku()}{path}", json=body)

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:problem:item-not-found"


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "Other"},
        {"reorder_level": 7},
        {"reorder_level": 0},
        {"name": "Zoë's 🎉", "reorder_level": 1_000_000_000},
    ],
)
async def test_what_is_sent_is_changed_and_nothing_else(
    shared_inventory: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    sku = await add_item(shared_inventory, 5, reorder_level=3)
    before, etag = await look_up(shared_inventory, sku)

    answer = await change(shared_inventory, sku, etag, **wanted)

    after = answer.json()
    assert answer.status_code == 200
    assert after == before | wanted | {"updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    assert answer.headers["etag"] != etag
    assert await look_up(shared_inventory, sku) == (after, answer.headers["etag"])


async def test_a_reader_that_has_the_newest_version_is_sent_no_body(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = await add_item(shared_inventory)
    _, seen = await look_up(shared_inventory, sku)

    same = await shared_inventory.get(f"/items/{sku}", headers={"If-None-Match": seen})
    await receive(shared_inventory, sku, 7)
    newer = await shared_inventory.get(f"/items/{sku}", headers={"If-None-Match": seen})

    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", seen)
    assert (newer.status_code, newer.json()["on_hand"]) == (200, 7)


@pytest.mark.parametrize("wanted", [{}, {"name": "Thing"}, {"name": " Thing "}])
async def test_what_is_so_already_is_no_change(
    shared_inventory: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    sku = await add_item(shared_inventory)
    before = await look_up(shared_inventory, sku)

    answer = await shared_inventory.patch(f"/items/{sku}", json=wanted)

    assert (answer.json(), answer.headers["etag"]) == before


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ("{etag}", 200),
        ("*", 200),
        ('"999", {etag}', 200),
        ('"999",{etag} , "x"', 200),
        ('"999"', 412),
        ('"999", "998"', 412),
        ("W/{etag}", 412),
        ("nonsense", 412),
        ("", 412),
    ],
)
async def test_an_item_is_changed_if_it_is_one_that_the_caller_names(
    shared_inventory: httpx.AsyncClient, if_match: str, status: int
) -> None:
    sku = await add_item(shared_inventory)
    before, etag = await look_up(shared_inventory, sku)

    answer = await change(shared_inventory, sku, if_match.format(etag=etag), name="Other")

    after, new_etag = await look_up(shared_inventory, sku)
    assert answer.status_code == status
    if status == 412:
        assert answer.json()["type"] == "urn:problem:precondition-failed"
        assert (after, new_etag) == (before, etag)
    else:
        assert after["name"] == "Other"


async def test_moving_or_reserving_stock_makes_an_etag_stale(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 5)
    _, first = await look_up(shared_inventory, sku)
    await receive(shared_inventory, sku, 1)
    _, second = await look_up(shared_inventory, sku)
    await request_package(shared_inventory, package_type=package_type)
    _, third = await look_up(shared_inventory, sku)

    answers = [
        (await change(shared_inventory, sku, etag, name=etag)).status_code
        for etag in (first, second, third)
    ]

    assert answers == [412, 412, 200]


async def test_one_of_two_who_have_seen_the_same_changes_it(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = await add_item(shared_inventory)
    _, etag = await look_up(shared_inventory, sku)

    answers = await asyncio.gather(
        *(change(shared_inventory, sku, etag, name=f"Name {n}") for n in range(8))
    )

    [changed] = [answer for answer in answers if answer.status_code == 200]
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 7}
    assert await look_up(shared_inventory, sku) == (changed.json(), changed.headers["etag"])


@pytest.mark.engine("postgresql")
async def test_who_waits_for_a_change_to_end_is_told_of_it(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = await add_item(shared_inventory)
    _, etag = await look_up(shared_inventory, sku)
    other = await asyncpg.connect(app_of(shared_inventory).state.settings.database_url)
    changing = other.transaction()
    await changing.start()
    await other.execute(
        "UPDATE items SET name = 'Other', version = version + 1 WHERE sku = $1", sku
    )

    waiting = asyncio.create_task(change(shared_inventory, sku, etag, name="Mine"))
    while not await other.fetchval("SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1"):
        assert not waiting.done()
        await asyncio.wait([waiting], timeout=0.02)
    await changing.commit()
    await other.close()

    assert (await waiting).status_code == 412
    assert (await look_up(shared_inventory, sku))[0]["name"] == "Other"


async def test_of_changes_at_once_none_is_lost(shared_inventory: httpx.AsyncClient) -> None:
    sku = await add_item(shared_inventory, 10)

    answers = await asyncio.gather(
        *(shared_inventory.patch(f"/items/{sku}", json={"reorder_level": 77}) for _ in range(4)),
        *(shared_inventory.patch(f"/items/{sku}", json={"name": "Other"}) for _ in range(4)),
        *(receive(shared_inventory, sku, 1) for _ in range(4)),
    )

    item, _ = await look_up(shared_inventory, sku)
    assert len(answers) == 12
    assert (item["name"], item["reorder_level"], item["on_hand"]) == ("Other", 77, 14)


# On hand, reserved, level, tracked, and whether it is listed.
@pytest.mark.parametrize(
    ("on_hand", "reserved", "reorder_level", "tracked", "low"),
    [
        (5, 0, 6, True, True),
        (5, 0, 5, True, False),
        (5, 1, 5, True, True),
        (0, 0, 1, True, True),
        (0, 0, 0, True, False),
        (3, 3, 0, True, False),
        (0, 0, 9, False, False),
    ],
)
async def test_an_item_is_low_when_fewer_are_available_than_its_level(
    shared_inventory: httpx.AsyncClient,
    on_hand: int,
    reserved: int,
    reorder_level: int,
    tracked: bool,
    low: bool,
) -> None:
    sku = await add_item(shared_inventory, on_hand, reorder_level=reorder_level, tracked=tracked)
    if reserved:
        package_type = await put_kit(shared_inventory, {sku: reserved})
        await request_package(shared_inventory, package_type=package_type)

    answers = [
        await shared_inventory.get("/items", params={"limit": 500, **query})
        for query in ({"below_reorder_level": "true"}, {"below_reorder_level": "false"}, {})
    ]
    stats = (await shared_inventory.get("/stats")).json()

    listed = [sku in [item["sku"] for item in answer.json()] for answer in answers]
    assert listed == [low, True, True]
    assert (sku in stats["low_stock"]) == low


@pytest.mark.parametrize("limit", [1, 3, 500])
async def test_pages_hold_every_item_once_newest_last(
    shared_inventory: httpx.AsyncClient, limit: int
) -> None:
    added = [await add_item(shared_inventory, reorder_level=1) for _ in range(4)]
    seen: list[dict[str, Any]] = []
    address = f"/items?below_reorder_level=true&limit={limit}"
    while address:
        answer = await shared_inventory.get(address)
        assert answer.status_code == 200
        assert len(answer.json()) <= limit
        seen += answer.json()
        address = str(answer.links.get("next", {}).get("url", ""))
        assert bool(address) == ("x-next-cursor" in answer.headers)

    skus = [item["sku"] for item in seen]
    assert skus[-4:] == added
    assert len(set(skus)) == len(skus)
    assert seen[-1] == (await look_up(shared_inventory, added[-1]))[0]
