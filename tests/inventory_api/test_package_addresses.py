"""Where packages go: said with the request, kept fresh until they are packed, then on the label."""

import asyncio
import itertools
from typing import Any

import httpx
import pytest

from service_kit.web.postal import EXAMPLE
from tests.conftest import bearer
from tests.inventory_api.conftest import BATCH, LIST, app_of, new_customer, request_package
from tests.inventory_api.stock import add_item, add_kit, find_faults, put_kit, shown, take
from tests.personal import everything_in
from tests.statements import statements

ADDRESSES = f"{LIST}/addresses"
LONDON: dict[str, Any] = dict(EXAMPLE)
BERLIN = {**LONDON, "lines": ["Döner Straße 1"], "city": "Berlin", "country": "DE"}
PARIS = {**LONDON, "lines": ["1 Rue"], "city": "Paris", "country": "FR"}
MONDAY, TUESDAY, FRIDAY = (f"2026-01-0{day}T12:00:00Z" for day in (5, 6, 9))
Change = dict[str, Any]


def change(customer: str, ship_to: Any, as_of: str = TUESDAY) -> Change:
    return {"customer_id": customer, "ship_to": ship_to, "as_of": as_of}


async def changed(inventory: httpx.AsyncClient, *changes: Change) -> list[dict[str, Any]]:
    answer = await inventory.post(ADDRESSES, json=list(changes))
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    assert len(results) == len(changes)
    return results


async def address_of(inventory: httpx.AsyncClient, made: dict[str, Any]) -> Any:
    found = await shown(inventory, made["request_id"])
    listed = await inventory.get(LIST, params={"customer_id": found["customer_id"]})
    assert found in listed.json()
    return found["ship_to"]


async def test_a_request_keeps_where_it_goes(shared_inventory: httpx.AsyncClient) -> None:
    sent = {"lines": LONDON["lines"], "city": "London", "country": "gb"}

    made = await request_package(shared_inventory, ship_to=sent)
    without = await request_package(shared_inventory)

    assert made["ship_to"] == {**sent, "postal_code": None, "region": None, "country": "GB"}
    assert await address_of(shared_inventory, made) == made["ship_to"]
    assert without["ship_to"] is None
    assert await address_of(shared_inventory, without) is None


async def test_a_batch_takes_addresses_each_for_itself(shared_inventory: httpx.AsyncClient) -> None:
    sent = [
        {"customer_id": new_customer(), "ship_to": BERLIN},
        {"customer_id": new_customer(), "ship_to": {**BERLIN, "country": "XX"}},
        {"customer_id": new_customer()},
    ]

    good, bad, without = (await shared_inventory.post(BATCH, json=sent)).json()

    assert (good["status"], good["package_request"]["ship_to"]) == (201, BERLIN)
    assert (without["status"], without["package_request"]["ship_to"]) == (201, None)
    assert bad["status"] == 422


@pytest.mark.parametrize(("there", "asked"), list(itertools.permutations([None, LONDON, PARIS], 2)))
async def test_a_repeated_request_with_another_address_finds_the_one_that_is_there(
    shared_inventory: httpx.AsyncClient, there: Any, asked: Any
) -> None:
    made = await request_package(shared_inventory, ship_to=there, customer_name="Jane")
    again = {"customer_id": made["customer_id"], "ship_to": asked, "ship_to_as_of": FRIDAY}

    answer = await shared_inventory.post(LIST, json=again)
    other = await shared_inventory.post(LIST, json={**again, "customer_name": "Joan"})

    assert (answer.status_code, answer.json()) == (200, made)
    assert other.status_code == 409


async def test_a_new_address_reaches_all_that_is_not_packed(
    shared_inventory: httpx.AsyncClient,
) -> None:
    customer = new_customer()
    empty = await put_kit(shared_inventory, {await add_item(shared_inventory): 1})
    of_customer = {"customer_id": customer, "ship_to": LONDON}
    pending = await request_package(shared_inventory, **of_customer)
    waiting = await request_package(shared_inventory, **of_customer, package_type=empty)
    packed = await request_package(shared_inventory, **of_customer, occurrence=2)
    cancelled = await request_package(shared_inventory, **of_customer, occurrence=3)
    others = await request_package(shared_inventory, ship_to=LONDON)
    await take(shared_inventory, packed["request_id"], "pack")
    await take(shared_inventory, cancelled["request_id"], "cancel")

    [result] = await changed(shared_inventory, change(customer, PARIS))

    assert result == {"status": 200, "updated": 2}
    assert [
        await address_of(shared_inventory, one)
        for one in (pending, waiting, packed, cancelled, others)
    ] == [PARIS, PARIS, LONDON, LONDON, LONDON]


async def test_a_change_shows_in_the_version_and_a_repetition_does_not(
    shared_inventory: httpx.AsyncClient,
) -> None:
    made = await request_package(shared_inventory, ship_to=LONDON)
    path = f"{LIST}/{made['request_id']}"
    etags = [(await shared_inventory.get(path)).headers["etag"]]

    for _ in range(2):
        await changed(shared_inventory, change(made["customer_id"], PARIS))
        etags.append((await shared_inventory.get(path)).headers["etag"])

    assert etags[0] != etags[1] == etags[2]
    [again] = await changed(shared_inventory, change(made["customer_id"], PARIS))
    assert again["updated"] == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("together", [True, False])
async def test_in_whatever_order_changes_come_the_newest_stays(
    shared_inventory: httpx.AsyncClient, order: tuple[int, ...], together: bool
) -> None:
    made = await request_package(shared_inventory)
    customer = made["customer_id"]
    changes = [change(customer, LONDON, MONDAY), change(customer, PARIS, TUESDAY)]
    changes.append(change(customer, BERLIN, FRIDAY))
    sent = [changes[place] for place in order]

    for some in [sent] if together else [[one] for one in sent]:
        await changed(shared_inventory, *some)

    assert await address_of(shared_inventory, made) == BERLIN


async def test_a_newer_confirmation_of_an_address_outlasts_an_older_change(
    shared_inventory: httpx.AsyncClient,
) -> None:
    made = await request_package(shared_inventory)
    customer = made["customer_id"]

    for one in (change(customer, LONDON, MONDAY), change(customer, LONDON, FRIDAY)):
        await changed(shared_inventory, one)
    [late] = await changed(shared_inventory, change(customer, PARIS, TUESDAY))

    assert late["updated"] == 0
    assert await address_of(shared_inventory, made) == LONDON


async def test_an_address_said_with_the_request_is_as_old_as_it_says(
    shared_inventory: httpx.AsyncClient,
) -> None:
    dated = await request_package(shared_inventory, ship_to=LONDON, ship_to_as_of=TUESDAY)
    undated = await request_package(shared_inventory, ship_to=LONDON)

    results = await changed(
        shared_inventory,
        change(dated["customer_id"], PARIS, MONDAY),
        change(undated["customer_id"], PARIS, MONDAY),
    )

    assert [result["updated"] for result in results] == [0, 1]
    assert await address_of(shared_inventory, dated) == LONDON
    assert await address_of(shared_inventory, undated) == PARIS


async def test_an_address_can_be_taken_away(shared_inventory: httpx.AsyncClient) -> None:
    made = await request_package(shared_inventory, ship_to=LONDON)

    await changed(shared_inventory, change(made["customer_id"], None))

    assert await address_of(shared_inventory, made) is None


async def test_one_bad_change_does_not_spoil_the_others(
    shared_inventory: httpx.AsyncClient,
) -> None:
    made = await request_package(shared_inventory)
    sent = [
        {"customer_id": made["customer_id"], "as_of": MONDAY},
        change(made["customer_id"], {"city": "Paris"}),
        change(made["customer_id"], LONDON, "yesterday"),
        change(made["customer_id"], PARIS),
        change(new_customer(), PARIS),
        "x",
    ]

    results = await changed(shared_inventory, *sent)

    assert [result["status"] for result in results] == [422, 422, 422, 200, 200, 422]
    assert [result.get("updated") for result in results[3:5]] == [1, 0]
    assert await address_of(shared_inventory, made) == PARIS


async def test_nothing_but_bad_changes_is_answered_too(shared_inventory: httpx.AsyncClient) -> None:
    assert [one["status"] for one in await changed(shared_inventory, {}, {})] == [422, 422]


async def test_of_an_erased_customer_no_address_is_left_and_none_is_taken(
    shared_inventory: httpx.AsyncClient,
) -> None:
    hidden = {**LONDON, "lines": ["Hidden Lane"]}
    made = await request_package(shared_inventory, ship_to=hidden)
    customer = made["customer_id"]
    read = app_of(shared_inventory).state.database.read
    assert "hidden lane" in await read(everything_in)
    erasure = {"customer_ids": [customer]}

    assert (await shared_inventory.post(f"{LIST}/erasures", json=erasure)).status_code == 200

    [result] = await changed(shared_inventory, change(customer, hidden))
    assert (result["status"], result["problem"]["type"]) == (410, "urn:problem:customer-erased")
    assert await address_of(shared_inventory, made) is None
    assert "hidden lane" not in await read(everything_in)


async def test_many_changes_cost_as_many_statements_as_few(
    shared_inventory: httpx.AsyncClient,
) -> None:
    costs = []
    for size in (3, 200):
        _, package_type = await add_kit(shared_inventory, size)
        customers = [new_customer() for _ in range(size)]
        sent = [{"customer_id": one, "package_type": package_type} for one in customers]
        assert (await shared_inventory.post(BATCH, json=sent)).status_code == 200
        with statements() as seen:
            results = await changed(shared_inventory, *(change(one, PARIS) for one in customers))
        assert {result["updated"] for result in results} == {1}
        costs.append(len(seen))

    assert costs[0] == costs[1]
    assert costs[0] <= 9


async def test_a_package_has_the_old_address_or_the_new_but_is_packed_once(
    shared_inventory: httpx.AsyncClient,
) -> None:
    """What the label says is what the request says: nothing changes behind the packing."""
    for _ in range(8):
        _, package_type = await add_kit(shared_inventory, 2)
        made = await request_package(shared_inventory, package_type=package_type, ship_to=LONDON)
        packing = shared_inventory.post(f"{LIST}/{made['request_id']}/pack")

        packed, [result] = await asyncio.gather(
            packing, changed(shared_inventory, change(made["customer_id"], PARIS))
        )

        on_label = packed.json()["ship_to"]
        assert on_label == (PARIS if result["updated"] else LONDON)
        assert await address_of(shared_inventory, made) == on_label
    assert await find_faults(shared_inventory) == []


async def test_who_changes_an_address_by_hand_is_in_the_audit(
    shared_inventory: httpx.AsyncClient,
) -> None:
    made = await request_package(shared_inventory, ship_to=LONDON)

    for role, as_of in (("integration", MONDAY), ("clerk", TUESDAY)):
        ship_to = BERLIN if role == "clerk" else PARIS
        answer = await shared_inventory.post(
            ADDRESSES,
            json=[change(made["customer_id"], ship_to, as_of)],
            headers=bearer(f"{role}123"),
        )
        assert answer.json() == [{"status": 200, "updated": 1}]

    query = {"subject": made["request_id"], "action": "package.readdressed"}
    [entry] = (await shared_inventory.get("/audit", params=query)).json()
    assert entry["actor"] == "clerk"
