"""A package request's life: every status and every move, and stock that is moved at most once."""

import asyncio
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.settings import Settings
from tests.conftest import bearer, running
from tests.inventory_api.conftest import LIST, keeps_its_word, request_package
from tests.inventory_api.stock import (
    ALLOWED,
    TARGETS,
    add_item,
    add_kit,
    deltas,
    find_faults,
    ledger,
    levels,
    put_kit,
    status_of,
    take,
)

# How a package gets into each status.
BEFORE: dict[str, list[str]] = {
    "pending": [],
    "backordered": [],
    "packed": ["pack"],
    "shipped": ["pack", "ship"],
    "delivered": ["pack", "ship", "deliver"],
    "cancelled": ["cancel"],
    "returned": ["pack", "ship", "return"],
}
# The row of the ledger that a move from a status writes, where it writes one.
EFFECTS: dict[tuple[str, str], tuple[int, int, str]] = {
    ("pending", "cancel"): (0, -2, "cancelled"),
    ("packed", "ship"): (-2, -2, "shipped"),
    ("shipped", "return"): (2, 0, "returned"),
    ("delivered", "return"): (2, 0, "returned"),
}
EVERY_MOVE = [(status, move) for status in BEFORE for move in TARGETS]


@dataclass(frozen=True)
class Package:
    """A package request that wants two of an item."""

    inventory: httpx.AsyncClient
    request_id: str
    sku: str

    async def move(self, move: str, **headers: str) -> httpx.Response:
        path = f"{LIST}/{self.request_id}/{move}"
        return await self.inventory.post(path, headers=headers)

    async def state(self) -> tuple[dict[str, Any], str, tuple[int, int], list[dict[str, Any]]]:
        """Look up the request, its ETag, the item's levels and its ledger."""
        found = await self.inventory.get(f"{LIST}/{self.request_id}")
        stock = await levels(self.inventory, self.sku)
        return found.json(), found.headers["etag"], stock, await ledger(self.inventory, self.sku)


async def package_that_is(inventory: httpx.AsyncClient, status: str) -> Package:
    sku = await add_item(inventory, 0 if status == "backordered" else 5)
    package_type = await put_kit(inventory, {sku: 2})
    made = await request_package(inventory, package_type=package_type)
    await take(inventory, made["request_id"], *BEFORE[status])
    package = Package(inventory, made["request_id"], sku)
    assert await status_of(inventory, package.request_id) == status
    return package


@pytest.mark.parametrize(("status", "move"), EVERY_MOVE)
async def test_a_move_is_made_once_or_refused_with_what_is_allowed(
    shared_inventory: httpx.AsyncClient, status: str, move: str
) -> None:
    package = await package_that_is(shared_inventory, status)
    before, old_etag, (on_hand, reserved), rows = await package.state()

    answers = [await package.move(move) for _ in range(3)]

    after, etag, stock, rows_after = await package.state()
    if TARGETS[move] in ALLOWED[status]:
        effect = [EFFECTS[status, move]] if (status, move) in EFFECTS else []
        assert after == before | {
            "status": TARGETS[move],
            "to_unpack": (status, move) == ("packed", "cancel"),
            "updated_at": after["updated_at"],
        }
        assert after["updated_at"] > before["updated_at"]
        assert etag != old_etag
        assert stock == (
            on_hand + sum(row[0] for row in effect),
            reserved + sum(row[1] for row in effect),
        )
        assert deltas(rows_after[len(rows) :]) == effect
        for row in rows_after[len(rows) :]:
            assert (row["reference"], row["actor"]) == (package.request_id, "admin")
    else:
        assert (after, etag, stock, rows_after) == (before, old_etag, (on_hand, reserved), rows)
    for answer in answers:
        if TARGETS[move] in {status, *ALLOWED[status]}:
            assert answer.status_code == 200
            assert (answer.json(), answer.headers["etag"]) == (after, etag)
        else:
            problem = answer.json()
            assert answer.status_code == 409
            assert problem["type"] == "urn:problem:invalid-transition"
            assert problem["current_status"] == status
            assert problem["allowed_statuses"] == ALLOWED[status]
    assert await find_faults(shared_inventory) == []


async def test_a_whole_life_is_in_the_ledger_with_whoever_made_each_move(
    shared_inventory: httpx.AsyncClient,
) -> None:
    package = await package_that_is(shared_inventory, "pending")
    for move, role in (
        ("pack", "clerk"),
        ("ship", "clerk"),
        ("deliver", "integration"),
        ("return", "integration"),
    ):
        assert (await package.move(move, **bearer(f"{role}123"))).status_code == 200

    rows = await ledger(shared_inventory, package.sku)
    assert deltas(rows) == [
        (5, 0, "initial stock"),
        (0, 2, "reserved"),
        (-2, -2, "shipped"),
        (2, 0, "returned"),
    ]
    assert [row["actor"] for row in rows] == ["admin", "admin", "clerk", "integration"]
    assert {row["reference"] for row in rows[1:]} == {package.request_id}


@pytest.mark.parametrize("move", TARGETS)
async def test_a_request_that_nobody_made_is_not_found(
    shared_inventory: httpx.AsyncClient, move: str
) -> None:
    answer = await shared_inventory.post(f"{LIST}/{uuid.uuid4()}/{move}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:problem:package-request-not-found"


@pytest.mark.parametrize("move", ["empty", "PACK", "pending", "packed", "%00", "pack%20"])
async def test_a_move_that_there_is_not_is_refused(
    shared_inventory: httpx.AsyncClient, move: str
) -> None:
    package = await package_that_is(shared_inventory, "pending")

    answer = await package.move(move)

    assert answer.status_code in {404, 422}
    assert await status_of(shared_inventory, package.request_id) == "pending"


async def test_an_id_may_be_spelled_in_capitals_and_end_in_a_slash(
    shared_inventory: httpx.AsyncClient,
) -> None:
    package = await package_that_is(shared_inventory, "pending")

    answer = await shared_inventory.post(f"{LIST}/{package.request_id.upper()}/cancel/")

    assert answer.json()["status"] == "cancelled"
    assert deltas(await ledger(shared_inventory, package.sku))[-1] == (0, -2, "cancelled")
    assert (await ledger(shared_inventory, package.sku))[-1]["reference"] == package.request_id


@pytest.mark.parametrize("move", ["pack", "cancel"])
@pytest.mark.parametrize(
    ("if_match", "status"),
    [("{etag}", 200), ("*", 200), ('"99", {etag}', 200), ('"99"', 412), ("W/{etag}", 412)],
)
async def test_a_request_is_moved_if_it_is_one_that_the_caller_names(
    shared_inventory: httpx.AsyncClient, move: str, if_match: str, status: int
) -> None:
    package = await package_that_is(shared_inventory, "pending")
    before = await package.state()

    answer = await package.move(move, **{"If-Match": if_match.format(etag=before[1])})

    assert answer.status_code == status
    if status == 412:
        assert answer.json()["type"] == "urn:problem:precondition-failed"
        assert await package.state() == before
    else:
        assert answer.json()["status"] == TARGETS[move]


async def test_a_stale_etag_is_refused_and_nothing_is_shipped(
    shared_inventory: httpx.AsyncClient,
) -> None:
    package = await package_that_is(shared_inventory, "pending")
    _, stale, _, _ = await package.state()
    fresh = (await package.move("pack")).headers["etag"]
    before = await package.state()

    refused = await package.move("ship", **{"If-Match": stale})

    assert refused.status_code == 412
    assert await package.state() == before
    assert (await package.move("ship", **{"If-Match": fresh})).status_code == 200


async def test_getting_stock_makes_an_etag_stale(shared_inventory: httpx.AsyncClient) -> None:
    package = await package_that_is(shared_inventory, "backordered")
    _, stale, _, _ = await package.state()
    await shared_inventory.post(
        f"/items/{package.sku}/movements", json={"quantity": 2, "reason": "delivery"}
    )

    refused = await package.move("cancel", **{"If-Match": stale})

    assert refused.status_code == 412
    assert await status_of(shared_inventory, package.request_id) == "pending"


async def test_of_shipping_and_cancelling_at_once_just_one_takes_effect(
    settings: Settings,
) -> None:
    outcomes: Counter[str] = Counter()
    async with (
        running(create_app(settings), token="admin123") as one,
        running(create_app(settings), token="admin123") as other,
    ):
        for turn in range(8):
            package = await package_that_is(keeps_its_word(one), "packed")
            moves = ["ship", "cancel"] * 2
            answers = await asyncio.gather(
                *(
                    (one, other)[(n + turn) % 2].post(f"{LIST}/{package.request_id}/{move}")
                    for n, move in enumerate(moves[:: -1 if turn % 4 > 1 else 1])
                )
            )

            found, _, stock, rows = await package.state()
            outcomes[found["status"]] += 1
            effect = {"shipped": [(-2, -2, "shipped")], "cancelled": []}
            assert Counter(answer.status_code for answer in answers) == {200: 2, 409: 2}
            assert stock == {"shipped": (3, 0), "cancelled": (5, 2)}[found["status"]]
            assert deltas(rows[2:]) == effect[found["status"]]
        assert await find_faults(one) == []

    assert outcomes.total() == 8


async def test_of_many_moves_of_one_version_at_once_one_is_made(
    shared_inventory: httpx.AsyncClient,
) -> None:
    package = await package_that_is(shared_inventory, "pending")
    _, seen, _, _ = await package.state()

    answers = await asyncio.gather(
        *(package.move(move, **{"If-Match": seen}) for move in ["pack", "cancel"] * 4)
    )

    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 7}


@pytest.mark.parametrize(
    ("status", "move", "stock"),
    [
        ("packed", "ship", (3, 0)),
        ("packed", "cancel", (5, 2)),
        ("pending", "cancel", (5, 0)),
        ("shipped", "return", (5, 0)),
    ],
)
async def test_of_the_same_move_at_once_one_takes_effect_and_all_are_content(
    shared_inventory: httpx.AsyncClient, status: str, move: str, stock: tuple[int, int]
) -> None:
    package = await package_that_is(shared_inventory, status)

    answers = await asyncio.gather(*(package.move(move) for _ in range(12)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert await levels(shared_inventory, package.sku) == stock
    assert await find_faults(shared_inventory) == []


# ---- A box that was packed and is not wanted any more ----


async def test_goods_in_a_box_stay_reserved_until_it_is_emptied(
    shared_inventory: httpx.AsyncClient,
) -> None:
    package = await package_that_is(shared_inventory, "packed")
    await package.move("cancel")
    _, stale, stock, _ = await package.state()
    assert stock == (5, 2)

    answers = [await package.move("unpack", **bearer("clerk123")) for _ in range(3)]

    found, etag, stock, rows = await package.state()
    assert (found["status"], found["to_unpack"], stock) == ("cancelled", False, (5, 0))
    assert deltas(rows[2:]) == [(0, -2, "unpacked")]
    assert (rows[-1]["reference"], rows[-1]["actor"]) == (package.request_id, "clerk")
    assert etag != stale
    for answer in answers:
        assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, found, etag)
    assert await find_faults(shared_inventory) == []


async def test_what_was_in_the_box_goes_to_whoever_waits(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 1)
    holder = await request_package(shared_inventory, package_type=package_type)
    waiting = await request_package(shared_inventory, package_type=package_type)
    await take(shared_inventory, holder["request_id"], "pack", "cancel")
    assert await status_of(shared_inventory, waiting["request_id"]) == "backordered"

    await take(shared_inventory, holder["request_id"], "unpack")

    assert await status_of(shared_inventory, waiting["request_id"]) == "pending"
    assert await levels(shared_inventory, sku) == (1, 1)
    assert await find_faults(shared_inventory) == []


@pytest.mark.parametrize("status", [one for one in BEFORE if one != "cancelled"])
async def test_only_a_cancelled_one_is_unpacked(
    shared_inventory: httpx.AsyncClient, status: str
) -> None:
    package = await package_that_is(shared_inventory, status)
    before = await package.state()

    answer = await package.move("unpack")

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:problem:invalid-transition")
    assert answer.json()["allowed_statuses"] == ALLOWED[status]
    assert await package.state() == before


async def test_there_is_nothing_to_unpack_of_what_was_never_packed(
    shared_inventory: httpx.AsyncClient,
) -> None:
    package = await package_that_is(shared_inventory, "cancelled")
    before = await package.state()

    assert (await package.move("unpack")).status_code == 200
    assert await package.state() == before
