"""Filters of lists; and every request once, whatever the size of a page."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inventory_api.conftest import BATCH, change_database, walk


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
        ({"created_before": "2026-01-05T03:00:00Z"}, [1, 2]),
        ({"created_before": "2026-01-05T03:00:00.000001Z"}, [1, 2, 3]),
        (
            {"created_after": "2026-01-05T02:00:00Z", "created_before": "2026-01-05T05:00:00Z"},
            [3, 4],
        ),
        ({"status": "shipped", "package_type": "gift"}, [6, 12]),
        ({"status": "shipped", "created_after": "2026-01-05T06:00:00Z"}, [9, 12]),
    ],
)
async def test_filters_leave_what_they_name_newest_last(
    twelve: httpx.AsyncClient, query: dict[str, str], expected: list[int]
) -> None:
    assert await walk(twelve, **query) == [[f"{n:02}" for n in expected]]


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

    assert [int(customer) for page in pages for customer in page] == wanted
    assert all(len(page) == limit for page in pages[:-1])
