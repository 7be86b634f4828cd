"""Forgetting a customer: names and notes go, everywhere they are kept; packages and stock stay."""

from typing import Any

import httpx
import pytest

from tests.inventory_api.conftest import BATCH, LIST, new_customer, request_package
from tests.inventory_api.stock import add_kit, deltas, find_faults, ledger, levels, take

PERSONAL = {"customer_name": "Jane Doe", "note": "Ring twice"}


async def erase(inventory: httpx.AsyncClient, *customers: str) -> int:
    answer = await inventory.post(f"{LIST}/erasures", json={"customer_ids": customers})
    assert answer.status_code == 200, answer.text
    erased: int = answer.json()["erased"]
    return erased


async def packages_of(inventory: httpx.AsyncClient, customer: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        await inventory.get(LIST, params={"customer_id": customer})
    ).json()
    return found


async def test_all_requests_of_a_customer_lose_name_and_note_and_nothing_else(
    shared_inventory: httpx.AsyncClient,
) -> None:
    customer, other = new_customer(), new_customer()
    for occurrence in (1, 2):
        await request_package(
            shared_inventory, customer_id=customer, occurrence=occurrence, **PERSONAL
        )
    kept = await request_package(shared_inventory, customer_id=other, **PERSONAL)
    before = await packages_of(shared_inventory, customer)

    assert await erase(shared_inventory, customer, new_customer()) == 2

    after = await packages_of(shared_inventory, customer)
    blank = {"customer_name": None, "note": None}
    assert [one | {"updated_at": ""} for one in after] == [
        one | blank | {"updated_at": ""} for one in before
    ]
    assert await packages_of(shared_inventory, other) == [kept]


async def test_an_erasure_happens_once(shared_inventory: httpx.AsyncClient) -> None:
    made = await request_package(shared_inventory, **PERSONAL)
    path = f"{LIST}/{made['request_id']}"
    before = (await shared_inventory.get(path)).headers["etag"]

    erased = [await erase(shared_inventory, made["customer_id"])]
    once = await shared_inventory.get(path)
    erased.append(await erase(shared_inventory, made["customer_id"]))
    twice = await shared_inventory.get(path)

    assert erased == [1, 0]
    assert once.headers["etag"] != before
    assert (twice.headers["etag"], twice.json()) == (once.headers["etag"], once.json())


async def test_whoever_asks_later_finds_the_package_and_brings_no_name_back(
    shared_inventory: httpx.AsyncClient,
) -> None:
    made = await request_package(shared_inventory, **PERSONAL)
    await erase(shared_inventory, made["customer_id"])

    wanted = {"customer_id": made["customer_id"], **PERSONAL}
    again = await shared_inventory.post(LIST, json=wanted)
    batched = (await shared_inventory.post(BATCH, json=[wanted])).json()

    assert (again.status_code, batched[0]["status"]) == (200, 200)
    for found in (again.json(), batched[0]["package_request"]):
        assert found["request_id"] == made["request_id"]
        assert (found["customer_name"], found["note"]) == (None, None)


async def test_stock_and_moves_know_nothing_of_it(shared_inventory: httpx.AsyncClient) -> None:
    sku, package_type = await add_kit(shared_inventory, 2)
    made = await request_package(shared_inventory, package_type=package_type, **PERSONAL)
    await erase(shared_inventory, made["customer_id"])

    await take(shared_inventory, made["request_id"], "pack", "ship", "deliver")

    assert await levels(shared_inventory, sku) == (1, 0)
    assert deltas(await ledger(shared_inventory, sku))[1:] == [
        (0, 1, "reserved"),
        (-1, -1, "shipped"),
    ]
    assert await find_faults(shared_inventory) == []


@pytest.mark.parametrize(
    ("customer", "other"),
    [
        ("plain", "plainer"),
        ("%", "anyone"),
        ("____", "four"),
        ('quo"te', "quote"),
        ("back\\slash", "backslash"),
        ("Zoë 🎉", "Zoe"),
        ("/", "//"),
        ("'; --", "x"),
    ],
)
@pytest.mark.parametrize("path", [LIST, BATCH])
async def test_what_was_answered_to_a_key_is_forgotten_too_and_no_other_answer_is(
    shared_inventory: httpx.AsyncClient, path: str, customer: str, other: str
) -> None:
    async def ask(whom: str, **more: Any) -> httpx.Response:
        wanted = {"customer_id": whom, "package_type": path.replace("/", "."), **PERSONAL, **more}
        return await shared_inventory.post(
            path,
            json=[wanted] if path == BATCH else wanted,
            headers={"Idempotency-Key": f"{path}:{customer.encode().hex()}:{whom.encode().hex()}"},
        )

    for whom in (customer, other):
        assert (await ask(whom)).status_code in {200, 201}
    await erase(shared_inventory, customer)

    again = [await ask(customer), await ask(customer, occurrence=2)]
    unharmed, reused = await ask(other), await ask(other, occurrence=2)

    for answer in again:
        assert PERSONAL["customer_name"] not in answer.text
        whole = answer.json()[0]["problem"] if path == BATCH else answer.json()
        assert (whole["type"], whole["status"]) == ("urn:problem:erased", 410)
        assert answer.status_code == (200 if path == BATCH else 410)
    assert unharmed.headers["idempotent-replayed"] == "true"
    assert reused.status_code == 422
    assert len(await packages_of(shared_inventory, customer)) <= 2, "of two paths, one each"


async def test_in_a_batch_the_others_are_answered_as_before(
    shared_inventory: httpx.AsyncClient,
) -> None:
    whom = [new_customer() for _ in range(4)]
    wanted = [{"customer_id": one, **PERSONAL} for one in whom]
    wanted.insert(1, {"customer_id": ""})
    headers = {"Idempotency-Key": new_customer()}
    first = (await shared_inventory.post(BATCH, json=wanted, headers=headers)).json()

    await erase(shared_inventory, whom[1], whom[3])
    await erase(shared_inventory, whom[1])
    answer = await shared_inventory.post(BATCH, json=wanted, headers=headers)
    again = answer.json()

    assert answer.headers["idempotent-replayed"] == "true"
    assert [one["status"] for one in first] == [201, 422, 201, 201, 201]
    assert [one["status"] for one in again] == [201, 422, 410, 201, 410]
    assert [again[at] for at in (0, 1, 3)] == [first[at] for at in (0, 1, 3)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"customer_ids": []},
        {"customer_ids": [""]},
        {"customer_ids": ["\0"]},
        {"customer_ids": "x"},
        {"customer_ids": [None]},
        {"customer_ids": ["x" * 65]},
        {"customer_ids": ["x"] * 101},
        {"customer_ids": ["x"], "all": True},
    ],
    ids=lambda body: str(body)[:40],
)
async def test_whom_to_forget_must_be_said(
    shared_inventory: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await shared_inventory.post(f"{LIST}/erasures", json=body)).status_code == 422
