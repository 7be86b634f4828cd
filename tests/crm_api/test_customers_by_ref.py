"""A system that knows customers by a key of its own makes them be as it says."""

import asyncio
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import running
from tests.crm_api.conftest import numbered, read_feed

JANE = {"name": "Jane Doe", "email": "jane@example.com", "company": "Example Ltd"}
PATH = "/api/customers/by-ref/shop-1"


async def told(crm: httpx.AsyncClient) -> list[str]:
    return [event["type"] for event in (await read_feed(crm, limit=500))["events"]]


async def count(crm: httpx.AsyncClient) -> int:
    return len((await crm.get("/api/customers")).json())


async def test_who_is_not_there_is_created_and_who_is_there_becomes_as_sent(
    crm: httpx.AsyncClient,
) -> None:
    new = await crm.put(PATH, json={**JANE, "phone": "1", "metadata": {"plan": "basic"}})
    found = await crm.get(new.headers["Location"])
    changed = await crm.put(PATH, json={**JANE, "name": "Jane Roe"})

    assert (new.status_code, changed.status_code) == (201, 200)
    assert found.json() == new.json()
    assert found.headers["ETag"] == new.headers["ETag"] != changed.headers["ETag"]
    assert "Location" not in changed.headers
    assert changed.json() == {
        **new.json(),
        "name": "Jane Roe",
        "phone": None,
        "metadata": {},
        "updated_at": changed.json()["updated_at"],
    }
    assert new.json()["external_ref"] == "shop-1"
    assert await told(crm) == ["customer.created", "customer.updated"]


async def test_a_customer_is_looked_up_by_its_ref(crm: httpx.AsyncClient) -> None:
    path = "/api/customers/by-ref/shop/1"
    missing = await crm.get(path)
    new = await crm.put(path, json=JANE)
    found = await crm.get(path)
    known = await crm.get(path, headers={"If-None-Match": found.headers["ETag"]})

    assert (missing.status_code, missing.json()["type"]) == (404, "urn:problem:customer-not-found")
    assert (found.status_code, found.json()) == (200, new.json())
    assert found.headers["ETag"] == new.headers["ETag"]
    assert known.status_code == 304


async def test_sending_the_same_again_leaves_no_event(crm: httpx.AsyncClient) -> None:
    answers = [await crm.put(PATH, json=JANE) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    assert len({answer.text for answer in answers}) == 1
    assert await told(crm) == ["customer.created"]


async def test_a_customer_of_any_other_way_is_found_by_its_ref(crm: httpx.AsyncClient) -> None:
    posted = await crm.post("/api/customers", json={**JANE, "external_ref": "shop-1"})

    answer = await crm.put(PATH, json=JANE)

    assert (answer.status_code, answer.json()) == (200, posted.json())


@pytest.mark.parametrize("ref", ["a b", "ß", "1", "by-ref", "a/b/c", "%41", "?", "x" * 200])
async def test_a_ref_is_any_text_of_one_line(shared_crm: httpx.AsyncClient, ref: str) -> None:
    path = httpx.URL(f"/api/customers/by-ref/{''.join(f'%{byte:02x}' for byte in ref.encode())}")
    wanted = {"name": "Ada", "email": f"ada-{abs(hash(ref))}@example.com"}

    answers = [await shared_crm.put(path, json=wanted) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 200]
    assert {answer.json()["external_ref"] for answer in answers} == {ref}


@pytest.mark.parametrize("ref", ["%00", "%20", "%0a", "a%0ab", "x" * 201])
async def test_what_can_be_no_ref_is_refused(shared_crm: httpx.AsyncClient, ref: str) -> None:
    answer = await shared_crm.put(f"/api/customers/by-ref/{ref}", json=JANE)

    assert answer.status_code == 422


async def test_the_body_may_repeat_the_ref_and_name_no_other(crm: httpx.AsyncClient) -> None:
    other = await crm.put(PATH, json={**JANE, "external_ref": "shop-2"})
    same = await crm.put(PATH, json={**JANE, "external_ref": "shop-1"})

    assert (other.status_code, same.status_code) == (422, 201)
    assert other.json()["errors"][0]["loc"] == ["body", "external_ref"]


async def test_an_address_of_somebody_else_is_taken(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers", json=numbered(1))
    await crm.put(PATH, json=JANE)
    taken = {**JANE, "email": numbered(1)["email"]}

    created = await crm.put("/api/customers/by-ref/shop-2", json=taken)
    updated = await crm.put(PATH, json=taken)

    for answer in (created, updated):
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:problem:email-taken")
        assert answer.json()["customer_id"] == 1
    assert (await crm.get("/api/customers/2")).json()["email"] == JANE["email"]
    assert await told(crm) == ["customer.created"] * 2


async def test_if_match_guards_against_overwriting(crm: httpx.AsyncClient) -> None:
    for nobody in ('"1"', "*"):
        answer = await crm.put(PATH, json=JANE, headers={"If-Match": nobody})
        assert (answer.status_code, await count(crm)) == (412, 0)
    seen = (await crm.put(PATH, json=JANE)).headers["ETag"]

    fresh = await crm.put(PATH, json={**JANE, "name": "A"}, headers={"If-Match": seen})
    stale = await crm.put(PATH, json={**JANE, "name": "B"}, headers={"If-Match": seen})
    whichever = await crm.put(PATH, json={**JANE, "name": "C"}, headers={"If-Match": "*"})

    assert [a.status_code for a in (fresh, stale, whichever)] == [200, 412, 200]


async def test_an_erased_customer_has_given_its_ref_back(crm: httpx.AsyncClient) -> None:
    first = (await crm.put(PATH, json=JANE)).json()
    await crm.delete("/api/customers/1")

    again = await crm.put(PATH, json=JANE)

    assert (again.status_code, again.json()["id"]) == (201, 2)
    assert again.json()["uid"] != first["uid"]
    assert (await crm.get("/api/customers/1")).json()["external_ref"] is None


async def test_two_processes_that_race_for_one_ref_make_one_customer(settings: Settings) -> None:
    names = [f"Jane {number}" for number in range(24)]

    async with (
        running(create_app(settings), token="admin123") as one,
        running(create_app(settings), token="admin123") as other,
    ):

        def put(number: int, **more: Any) -> Any:
            crm = (one, other)[number % 2]
            return crm.put(PATH, json={**JANE, "name": names[number], **more})

        answers = await asyncio.gather(*map(put, range(24)))
        mixed = await asyncio.gather(
            *(put(number, email=f"jane-{number}@example.com") for number in range(24))
        )
        types = await told(one)
        assert await count(one) == 1

    assert sorted(answer.status_code for answer in answers) == [200] * 23 + [201]
    assert {answer.status_code for answer in mixed} == {200}
    assert types.count("customer.created") == 1
    assert len(types) == 48
