"""Lists: filters and pages; every request once, whatever the size of a page."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inventory_api.conftest import BATCH, LIST, change_database, request_package


@pytest.fixture(scope="module")
async def twelve(shared_inventory: httpx.AsyncClient) -> httpx.AsyncClient:
    """Customers 1 to 12: every third shipped, the even ones with a gift, an hour apart."""
    wanted = [
        {"customer_id": f"{n:02}", "package_type": "welcome_package" if n % 2 else "gift"}
        for n in range(1, 13)
    ]
    await shared_inventory.post(BATCH, json=wanted)
    await change_database(
        shared_inventory,
        "UPDATE package_requests SET status = 'shipped'"
        " WHERE customer_id IN ('03', '06', '09', '12')",
        *(
            f"UPDATE package_requests SET created_at = '2026-01-05 {n:02}:00:00.000000'"  # noqa: S608
            f" WHERE customer_id = '{n:02}'"
            for n in range(1, 13)
        ),
    )
    return shared_inventory


async def walk(inventory: httpx.AsyncClient, **query: Any) -> list[list[int]]:
    """Follow the Link headers from the first page. Returns the customers on each page."""
    pages = []
    address = str(httpx.URL(LIST, params=query))
    while address:
        answer = await inventory.get(address)
        assert answer.status_code == 200, answer.text
        pages.append([int(one["customer_id"]) for one in answer.json()])
        address = str(answer.links.get("next", {}).get("url", ""))
        assert bool(address) == ("x-next-cursor" in answer.headers)
        if address:
            assert httpx.URL(address).params["cursor"] == answer.headers["x-next-cursor"]
    return pages


async def test_an_empty_list_is_an_empty_array(inventory: httpx.AsyncClient) -> None:
    answer = await inventory.get(LIST)

    assert answer.json() == []
    assert "link" not in answer.headers


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, list(range(1, 13))),
        ({"customer_id": "07"}, [7]),
        ({"customer_id": "77"}, []),
        ({"status": "shipped"}, [3, 6, 9, 12]),
        ({"status": "returned"}, []),
        ({"package_type": "gift"}, [2, 4, 6, 8, 10, 12]),
        ({"package_type": "Gift"}, []),
        ({"created_after": "2026-01-05T10:00:00Z"}, [11, 12]),
        ({"created_after": "2026-01-05T09:59:59.999999Z"}, [10, 11, 12]),
        ({"created_after": "2026-01-05T12:00:00+02:00"}, [11, 12]),
        ({"status": "shipped", "package_type": "gift"}, [6, 12]),
        ({"status": "shipped", "created_after": "2026-01-05T06:00:00Z"}, [9, 12]),
    ],
)
async def test_filters_leave_what_they_name_newest_last(
    twelve: httpx.AsyncClient, query: dict[str, str], expected: list[int]
) -> None:
    assert await walk(twelve, **query) == [expected]


async def test_fifty_are_shown_unless_a_limit_is_given(inventory: httpx.AsyncClient) -> None:
    await inventory.post(BATCH, json=[{"customer_id": str(n)} for n in range(60)])

    assert [len(page) for page in await walk(inventory)] == [50, 10]
    assert [len(page) for page in await walk(inventory, limit=500)] == [60]


async def test_what_comes_while_someone_pages_is_on_a_later_page(
    inventory: httpx.AsyncClient,
) -> None:
    for customer in "cab":
        await request_package(inventory, customer_id=customer)
    first = await inventory.get(LIST, params={"limit": 2})
    await request_package(inventory, customer_id="0")

    rest = await inventory.get(first.links["next"]["url"])

    assert [one["customer_id"] for one in first.json()] == ["c", "a"]
    assert [one["customer_id"] for one in rest.json()] == ["b", "0"]


async def test_a_list_shows_what_a_look_up_shows(twelve: httpx.AsyncClient) -> None:
    listed = (await twelve.get(LIST, params={"limit": 1})).json()[0]

    assert (await twelve.get(f"{LIST}/{listed['request_id']}")).json() == listed


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "aWQ6", "aWQ6LTE", "bmFtZTox", "%F0%9F%8E%89"])
async def test_a_cursor_that_no_page_gave_out_is_refused(
    shared_inventory: httpx.AsyncClient, cursor: str
) -> None:
    answer = await shared_inventory.get(f"{LIST}?cursor={cursor}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    limit=st.integers(1, 14),
    status=st.sampled_from([None, "pending", "shipped"]),
    package_type=st.sampled_from([None, "gift"]),
    after=st.none() | st.integers(0, 13),
)
async def test_pages_hold_just_what_the_filters_name_each_once_and_in_order(
    twelve: httpx.AsyncClient,
    limit: int,
    status: str | None,
    package_type: str | None,
    after: int | None,
) -> None:
    query: dict[str, Any] = {"limit": limit}
    wanted = list(range(1, 13))
    if status is not None:
        query["status"] = status
        wanted = [n for n in wanted if (status == "shipped") == (n % 3 == 0)]
    if package_type is not None:
        query["package_type"] = package_type
        wanted = [n for n in wanted if n % 2 == 0]
    if after is not None:
        query["created_after"] = f"2026-01-05T{after:02}:00:00Z"
        wanted = [n for n in wanted if n > after]

    pages = await walk(twelve, **query)

    assert [number for page in pages for number in page] == wanted
    assert all(len(page) == limit for page in pages[:-1])
