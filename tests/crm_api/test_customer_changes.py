"""PATCH: the fields that are sent change, the others stay, and a change of nothing is none."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.crm_api.conftest import numbered, read_feed, register

FULL = {
    "name": "Jane Doe",
    "email": "jane@example.com",
    "company": "Example Ltd",
    "phone": "+44 20 7946 0000",
    "external_ref": "shop-1001",
    "metadata": {"plan": "basic", "tier": "gold"},
}
OTHER = {
    "name": "Jane Smith",
    "email": "smith@example.com",
    "company": "Smith & Sons",
    "phone": "+1 202 555 0100",
    "external_ref": "shop-2002",
    "metadata": {"plan": "pro"},
}


async def register_full(crm: httpx.AsyncClient, **other: Any) -> dict[str, Any]:
    answer = await crm.post("/api/customers", json={**FULL, **other})
    assert answer.status_code == 201
    customer: dict[str, Any] = answer.json()
    return customer


async def updates(crm: httpx.AsyncClient) -> list[dict[str, Any]]:
    page = await read_feed(crm, types="customer.updated", limit=500)
    return [event["data"] for event in page["events"]]


async def test_a_reader_that_has_the_newest_version_is_sent_no_body(
    crm: httpx.AsyncClient,
) -> None:
    await register_full(crm)
    ticket = {"customer_id": 1, "subject": "Where is it?", "description": ""}
    await crm.post("/api/tickets", json=ticket)
    for path, change in (("customers", {"name": "Jane Roe"}), ("tickets", {"status": "pending"})):
        seen = (await crm.get(f"/api/{path}/1")).headers["ETag"]
        same = await crm.get(f"/api/{path}/1", headers={"If-None-Match": seen})
        await crm.patch(f"/api/{path}/1", json=change)
        newer = await crm.get(f"/api/{path}/1", headers={"If-None-Match": seen})

        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", seen)
        assert newer.status_code == 200
        assert newer.headers["ETag"] != seen
        assert change.items() <= newer.json().items()


@pytest.mark.parametrize("field", OTHER)
@pytest.mark.parametrize("key", ["id", "uid"])
async def test_a_field_that_is_sent_changes_and_the_others_stay(
    crm: httpx.AsyncClient, field: str, key: str
) -> None:
    before = await register_full(crm)

    answer = await crm.patch(f"/api/customers/{before[key]}", json={field: OTHER[field]})

    after = answer.json()
    assert answer.status_code == 200
    assert after == {**before, field: OTHER[field], "updated_at": after["updated_at"]}
    assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(
        before["updated_at"]
    )
    assert (await crm.get("/api/customers/1")).json() == after
    assert await updates(crm) == [after]


async def test_all_fields_change_at_once_in_one_event(crm: httpx.AsyncClient) -> None:
    before = await register_full(crm)

    after = (await crm.patch("/api/customers/1", json=OTHER)).json()

    assert after == {**before, **OTHER, "updated_at": after["updated_at"]}
    assert await updates(crm) == [after]


@pytest.mark.parametrize("field", ["company", "phone", "external_ref"])
async def test_null_empties_an_optional_field(crm: httpx.AsyncClient, field: str) -> None:
    await register_full(crm)

    answer = await crm.patch("/api/customers/1", json={field: None})

    assert answer.status_code == 200
    assert answer.json()[field] is None
    assert [data[field] for data in await updates(crm)] == [None]


async def test_metadata_is_replaced_and_emptied_as_a_whole(crm: httpx.AsyncClient) -> None:
    await register_full(crm)

    assert (await crm.patch("/api/customers/1", json={"metadata": {}})).json()["metadata"] == {}


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"email": None},
        {"metadata": None},
        {"name": ""},
        {"company": "  "},
        {"nickname": "J"},
        {"id": 7},
        {"uid": "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"},
        {"created_at": "2026-01-05T12:00:00Z"},
        {"name": "Fine", "phone": 7},
        [],
        None,
        "name",
    ],
    ids=str,
)
async def test_a_change_that_does_not_fit_changes_nothing(
    shared_crm: httpx.AsyncClient, change: Any
) -> None:
    before = (await shared_crm.get("/api/customers/1")).json()

    answer = await shared_crm.patch("/api/customers/1", json=change)

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:problem:invalid-request"
    assert (await shared_crm.get("/api/customers/1")).json() == before


@pytest.mark.parametrize(
    "change", [{}, FULL, {"name": " Jane Doe "}, {"metadata": {"tier": "gold", "plan": "basic"}}]
)
async def test_changing_nothing_leaves_no_event_and_no_later_time(
    crm: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    before = await register_full(crm)

    answer = await crm.patch("/api/customers/1", json=change)

    assert answer.status_code == 200
    assert answer.json() == before
    assert await updates(crm) == []


@pytest.mark.parametrize("taken", ["customer-2@example.com", "CUSTOMER-2@Example.com"])
async def test_an_address_of_another_is_refused_and_nothing_changes(
    crm: httpx.AsyncClient, taken: str
) -> None:
    before = await register_full(crm)
    await register(crm, 2)

    answer = await crm.patch("/api/customers/1", json={"name": "New", "email": taken})

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:problem:email-taken"
    assert answer.json()["customer_id"] == 2
    assert (await crm.get("/api/customers/1")).json() == before
    assert await updates(crm) == []


async def test_a_reference_of_another_is_refused(crm: httpx.AsyncClient) -> None:
    await register_full(crm)
    await register(crm, 2)

    answer = await crm.patch("/api/customers/2", json={"external_ref": "shop-1001"})

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:problem:external-ref-taken"
    assert answer.json()["customer_id"] == 1


async def test_ones_own_address_may_change_its_case(crm: httpx.AsyncClient) -> None:
    await register_full(crm)

    answer = await crm.patch("/api/customers/1", json={"email": "JANE@example.com"})

    assert answer.status_code == 200
    assert answer.json()["email"] == "JANE@example.com"
    assert (await crm.post("/api/customers", json=FULL)).status_code == 409


async def test_ones_own_address_is_never_what_stands_in_the_way(crm: httpx.AsyncClient) -> None:
    await register_full(crm)
    await crm.post("/api/customers", json=numbered(2))

    answer = await crm.patch(
        "/api/customers/2",
        json={"email": "CUSTOMER-2@example.com", "external_ref": "shop-1001"},
    )

    assert answer.json()["type"] == "urn:problem:external-ref-taken"
    assert answer.json()["customer_id"] == 1


async def test_an_address_is_free_again_once_it_was_changed(crm: httpx.AsyncClient) -> None:
    await register_full(crm, external_ref=None)
    await crm.patch("/api/customers/1", json={"email": "new@example.com"})

    answer = await crm.post("/api/customers", json={"name": "Jane", "email": FULL["email"]})

    assert answer.status_code == 201


async def test_changes_that_race_for_one_address_leave_it_to_one(crm: httpx.AsyncClient) -> None:
    await register(crm, *range(1, 9))

    answers = await asyncio.gather(
        *(crm.patch(f"/api/customers/{n}", json={"email": "new@example.com"}) for n in range(1, 9))
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    [winner] = (await crm.get("/api/customers", params={"email": "new@example.com"})).json()
    assert {answer.json().get("customer_id", winner["id"]) for answer in answers} == {winner["id"]}


async def test_racing_changes_of_one_customer_lose_none_and_tell_of_each(
    crm: httpx.AsyncClient,
) -> None:
    """Each event shows what all before it had done: a lost update would show an old field again."""
    await register_full(crm)
    fields = [{"company": "New Ltd"}, {"phone": "112"}, {"name": "New"}, {"external_ref": "new"}]

    answers = await asyncio.gather(*(crm.patch("/api/customers/1", json=one) for one in fields))

    assert {answer.status_code for answer in answers} == {200}
    final = (await crm.get("/api/customers/1")).json()
    assert {**final, **{k: v for one in fields for k, v in one.items()}} == final
    told = await updates(crm)
    assert told[-1] == final
    changed = [sum(data[k] != FULL[k] for one in fields for k in one) for data in told]
    assert changed == [1, 2, 3, 4]


async def test_of_many_who_change_one_version_at_once_one_does(crm: httpx.AsyncClient) -> None:
    await register_full(crm)
    seen = {"If-Match": (await crm.get("/api/customers/1")).headers["ETag"]}

    answers = await asyncio.gather(
        *(
            crm.patch("/api/customers/1", json={"phone": f"11{digit}"}, headers=seen)
            for digit in range(4)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    assert len(await updates(crm)) == 1


async def test_two_customers_that_swap_their_addresses_at_once_are_both_answered(
    crm: httpx.AsyncClient,
) -> None:
    one, two = await register(crm, 1, 2)

    answers = await asyncio.gather(
        crm.patch("/api/customers/1", json={"email": two["email"]}),
        crm.patch("/api/customers/2", json={"email": one["email"]}),
    )

    assert {answer.status_code for answer in answers} == {409}
