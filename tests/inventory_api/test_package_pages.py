"""Pages of lists: how long they are, what leads from one to the next."""

import httpx
import pytest

from tests.inventory_api.conftest import BATCH, LIST, request_package, walk


async def test_an_empty_list_is_an_empty_array(shared_inventory: httpx.AsyncClient) -> None:
    answer = await shared_inventory.get(LIST, params={"package_type": "nobody-has-it"})

    assert answer.json() == []
    assert "link" not in answer.headers


async def test_fifty_are_shown_unless_a_limit_is_given(shared_inventory: httpx.AsyncClient) -> None:
    sixty = {"package_type": "sixty"}
    await shared_inventory.post(BATCH, json=[{"customer_id": str(n), **sixty} for n in range(60)])

    assert [len(page) for page in await walk(shared_inventory, **sixty)] == [50, 10]
    assert [len(page) for page in await walk(shared_inventory, **sixty, limit=500)] == [60]


async def test_what_comes_while_someone_pages_is_on_a_later_page(
    shared_inventory: httpx.AsyncClient,
) -> None:
    late = {"package_type": "late"}
    for customer in "cab":
        await request_package(shared_inventory, customer_id=customer, **late)
    first = await shared_inventory.get(LIST, params={"limit": 2, **late})
    await request_package(shared_inventory, customer_id="0", **late)

    rest = await shared_inventory.get(first.links["next"]["url"])

    assert [one["customer_id"] for one in first.json()] == ["c", "a"]
    assert [one["customer_id"] for one in rest.json()] == ["b", "0"]


async def test_a_list_shows_what_a_look_up_shows(shared_inventory: httpx.AsyncClient) -> None:
    made = await request_package(shared_inventory, customer_name="Jane Doe")

    listed = await shared_inventory.get(LIST, params={"customer_id": made["customer_id"]})

    assert listed.json() == [made]
    assert (await shared_inventory.get(f"{LIST}/{made['request_id']}")).json() == made


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "aWQ6", "aWQ6LTE", "bmFtZTox", "%F0%9F%8E%89"])
async def test_a_cursor_that_no_page_gave_out_is_refused(
    shared_inventory: httpx.AsyncClient, cursor: str
) -> None:
    answer = await shared_inventory.get(f"{LIST}?cursor={cursor}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]
