"""What the integration counts on from Inventory, tried with the service and with its double."""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.engine("double", "sqlite", "postgresql")

WELCOME = "welcome_package"


def wanted(customer: str, name: str | None = "Jane Doe", occurrence: int = 1) -> dict[str, Any]:
    item = {"customer_id": customer, "package_type": WELCOME, "occurrence": occurrence}
    return item | ({"customer_name": name} if name else {})


async def batch(inventory: httpx.AsyncClient, *items: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await inventory.post("/package-requests/batch", json=list(items))
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    return results


async def listed(inventory: httpx.AsyncClient, **query: Any) -> httpx.Response:
    query = {"package_type": WELCOME, "limit": 500, **query}
    answer = await inventory.get("/package-requests", params=query)
    assert answer.status_code == 200, answer.text
    return answer


async def test_one_for_ever_and_the_same_again_is_the_one_that_is_there(
    inventory: httpx.AsyncClient,
) -> None:
    [first] = await batch(inventory, wanted("ada"))
    again, other = await batch(inventory, wanted("ada"), wanted("bob", None))

    assert (first["status"], again["status"], other["status"]) == (201, 200, 201)
    assert again["package_request"]["request_id"] == first["package_request"]["request_id"]
    made = first["package_request"]
    assert (made["customer_id"], made["package_type"], made["occurrence"]) == ("ada", WELCOME, 1)
    assert made["status"] in {"pending", "backordered"}


async def test_each_item_is_answered_for_itself_and_in_order(inventory: httpx.AsyncClient) -> None:
    await batch(inventory, wanted("ada"))

    results = await batch(
        inventory,
        wanted("bob"),
        wanted("ada", "Another Name"),
        wanted("x" * 65),
        wanted("bob"),
        wanted("cid"),
    )

    assert [one["status"] for one in results] == [201, 409, 422, 200, 201]
    assert results[1]["problem"]["type"] == "urn:problem:package-request-conflict"
    assert results[2]["problem"]["status"] == 422
    assert len((await listed(inventory)).json()) == 3


async def test_the_list_has_all_once_in_pages_and_one_customers_alone(
    inventory: httpx.AsyncClient,
) -> None:
    there = [f"c{n}" for n in range(5)]
    await batch(inventory, *map(wanted, there), wanted("c0", occurrence=2))
    await batch(inventory, wanted("other") | {"package_type": "other"})

    found, cursor = [], {}
    while True:
        answer = await listed(inventory, limit=2, **cursor)
        found += [one["customer_id"] for one in answer.json()]
        if "x-next-cursor" not in answer.headers:
            break
        cursor = {"cursor": answer.headers["x-next-cursor"]}

    assert sorted(found) == sorted([*there, "c0"])
    own = (await listed(inventory, customer_id="c0")).json()
    assert [one["customer_id"] for one in own] == ["c0", "c0"]
    assert {"request_id", "customer_id", "status"} <= set(own[0])
    assert (await listed(inventory, customer_id="nobody")).json() == []


async def test_a_new_address_is_taken_until_it_is_packed_and_no_older_one(
    inventory: httpx.AsyncClient,
) -> None:
    ship_to = {"lines": ["1 Rue"], "postal_code": None, "city": None, "region": None}
    there, elsewhere = {**ship_to, "country": "FR"}, {**ship_to, "country": "BE"}
    noon, later = "2026-01-05T12:00:00Z", "2026-01-05T13:00:00Z"
    dated = {"ship_to": there, "ship_to_as_of": noon}
    [first] = await batch(inventory, wanted("ada") | dated)
    [again] = await batch(inventory, wanted("ada") | {"ship_to": elsewhere})
    await inventory.post("/package-requests/erasures", json={"customer_ids": ["bob"]})

    async def told(uid: str, address: Any, as_of: str) -> Any:
        change = {"customer_id": uid, "ship_to": address, "as_of": as_of}
        answer = await inventory.post("/package-requests/addresses", json=[change])
        assert answer.status_code == 200, answer.text
        [result] = answer.json()
        return result["status"], result.get("updated")

    assert (first["status"], again["status"]) == (201, 200)
    assert again["package_request"]["ship_to"] == there
    assert await told("ada", elsewhere, later) == (200, 1)
    assert await told("ada", elsewhere, later) == (200, 0)
    assert await told("ada", there, noon) == (200, 0)
    assert await told("nobody", there, noon) == (200, 0)
    assert (await told("ada", {"lines": []}, later))[0] == 422
    assert (await told("bob", there, later))[0] == 410


async def test_an_erasure_says_what_was_erased_and_may_be_asked_for_again(
    inventory: httpx.AsyncClient,
) -> None:
    await batch(inventory, wanted("ada"), wanted("bob"))

    async def erase(*uids: str) -> Any:
        order = {"customer_ids": list(uids)}
        answer = await inventory.post("/package-requests/erasures", json=order)
        assert answer.status_code == 200, answer.text
        return answer.json()["erased"]

    assert await erase("ada", "nobody") == 1
    assert isinstance(await erase("ada"), int)
    assert len((await listed(inventory, customer_id="bob")).json()) == 1
