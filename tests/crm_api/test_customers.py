"""One customer at a time: registered, looked up, and refused when it is there already."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from crm_api.app import create_app
from crm_api.customers.schemas import CustomerOut
from crm_api.settings import Settings
from tests.conftest import bearer, running
from tests.crm_api.conftest import keeps_its_word, numbered, register

JANE = {"name": "Jane Doe", "email": "jane@example.com"}
EVERYTHING = {
    **JANE,
    "company": "Example Ltd",
    "phone": "+44 20 7946 0000",
    "external_ref": "shop-1001",
    "metadata": {"plan": "basic", "språk": "日本語 🎉"},
    "address": {
        "lines": ["Döner Straße 1", "2. Stock"],
        "postal_code": "10115",
        "city": "Berlin",
        "region": None,
        "country": "DE",
    },
}
NOWHERE = ["999999", "0", "9" * 18, "9" * 19, "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c", "no-uid"]


async def test_callers_racing_for_one_address_leave_one_customer(crm: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(crm.post("/api/customers", json=JANE) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert len((await crm.get("/api/customers")).json()) == 1


async def test_a_customer_comes_back_with_every_field_that_was_sent(crm: httpx.AsyncClient) -> None:
    answer = await crm.post("/api/customers", json=EVERYTHING)

    customer = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/customers/{customer['id']}"
    assert {name: customer.pop(name) for name in EVERYTHING} == EVERYTHING
    assert set(customer) == {"id", "uid", "created_at", "updated_at"}
    assert customer["id"] == 1
    assert UUID(customer["uid"]).version == 7


async def test_an_answer_is_what_its_model_would_write(crm: httpx.AsyncClient) -> None:
    answer = await crm.post("/api/customers", json=numbered(1, metadata={"plan": "ä"}))

    assert answer.text == CustomerOut.model_validate_json(answer.text).model_dump_json()


async def test_what_was_not_sent_is_null(crm: httpx.AsyncClient) -> None:
    customer = (await crm.post("/api/customers", json=JANE)).json()

    assert [customer[name] for name in ("company", "phone", "external_ref")] == [None] * 3
    assert customer["metadata"] == {}


async def test_times_are_now_in_utc_and_end_in_z(crm: httpx.AsyncClient) -> None:
    customer = (await crm.post("/api/customers", json=JANE)).json()

    assert customer["created_at"] == customer["updated_at"]
    assert customer["created_at"].endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(customer["created_at"])
    assert timedelta(0) <= age < timedelta(seconds=10)


async def test_spaces_around_a_value_are_not_part_of_it(crm: httpx.AsyncClient) -> None:
    sent = {"name": "  Jane Doe ", "email": " jane@example.com ", "company": " Example Ltd\t"}

    customer = (await crm.post("/api/customers", json=sent)).json()

    assert customer["name"] == "Jane Doe"
    assert customer["email"] == "jane@example.com"
    assert customer["company"] == "Example Ltd"


async def test_the_longest_values_fit(crm: httpx.AsyncClient) -> None:
    longest = {
        "name": "ñ" * 200,
        "email": f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.com",
        "company": "字" * 200,
        "phone": "1" * 50,
        "external_ref": "🎉" * 200,
        "metadata": {f"{number:064}": "🎉" * 500 for number in range(20)},
    }

    answer = await crm.post("/api/customers", json=longest)

    assert answer.status_code == 201
    found = (await crm.get(answer.headers["location"])).json()
    assert {name: found[name] for name in longest} == longest


@pytest.mark.parametrize("key", ["id", "uid"])
@pytest.mark.parametrize("path", ["/api/customers/{}", "/customers/{}", "/customers/{}/"])
async def test_a_customer_is_found_by_id_and_by_uid(
    crm: httpx.AsyncClient, path: str, key: str
) -> None:
    _, wanted, _ = await register(crm, 1, 2, 3)

    answer = await crm.get(path.format(wanted[key]))

    assert answer.status_code == 200
    assert answer.json() == wanted


async def test_a_uid_in_capitals_is_the_same_uid(crm: httpx.AsyncClient) -> None:
    [customer] = await register(crm, 1)

    assert (await crm.get(f"/api/customers/{customer['uid'].upper()}")).json() == customer


@pytest.mark.parametrize("key", NOWHERE)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_an_unknown_customer_is_not_found(
    shared_crm: httpx.AsyncClient, method: str, key: str
) -> None:
    body = {"json": {"name": "Jane"}} if method == "PATCH" else {}

    answer = await shared_crm.request(method, f"/api/customers/{key}", **body)

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:problem:customer-not-found"


@pytest.mark.parametrize("path", ["/api/customers", "/api/customers/", "/customers", "/customers/"])
async def test_every_form_of_the_path_is_the_same_route(crm: httpx.AsyncClient, path: str) -> None:
    created = await crm.post(path, json=JANE)

    assert created.status_code == 201
    assert created.headers["location"] == "/api/customers/1"
    assert (await crm.get(path)).json() == [created.json()]


@pytest.mark.parametrize("again", ["jane@example.com", "JANE@EXAMPLE.COM", " Jane@Example.com "])
async def test_an_address_is_taken_whatever_its_case(crm: httpx.AsyncClient, again: str) -> None:
    first = (await crm.post("/api/customers", json=JANE)).json()

    answer = await crm.post("/api/customers", json={"name": "Another", "email": again})

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:problem:email-taken"
    assert answer.json()["customer_id"] == first["id"]
    assert len((await crm.get("/api/customers")).json()) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [("ärger@example.com", "ÄRGER@example.com"), ("ж@example.com", "Ж@example.com")],
)
async def test_case_is_ignored_beyond_ascii_on_both_engines(
    crm: httpx.AsyncClient, first: str, second: str
) -> None:
    answers = [
        await crm.post("/api/customers", json={"name": "Jane", "email": email})
        for email in (first, second)
    ]

    assert [answer.status_code for answer in answers] == [201, 409]


async def test_an_external_ref_is_taken(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)
    first = (await crm.post("/api/customers", json=EVERYTHING)).json()

    answer = await crm.post("/api/customers", json=numbered(2, external_ref="shop-1001"))

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:problem:external-ref-taken"
    assert answer.json()["customer_id"] == first["id"]


async def test_external_refs_may_be_missing_many_times_and_differ_by_case(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2)
    for number, ref in enumerate(("shop-1", "SHOP-1"), start=3):
        answer = await crm.post("/api/customers", json=numbered(number, external_ref=ref))
        assert answer.status_code == 201


async def test_who_may_not_read_customers_does_not_learn_whose_an_address_is(
    settings: Settings,
) -> None:
    open_to_all = settings.model_copy(update={"anonymous_scopes": frozenset({"customers:create"})})
    async with running(create_app(open_to_all)) as anyone:
        keeps_its_word(anyone)
        await anyone.post("/customers", json=EVERYTHING)

        for taken in (JANE, numbered(2, external_ref="shop-1001")):
            refused = await anyone.post("/customers", json=taken)
            assert refused.status_code == 409
            assert "customer_id" not in refused.json()
            [result] = (await anyone.post("/customers/batch", json=[taken])).json()
            assert result["status"] == 409
            assert "customer_id" not in result["problem"]

        agent = await anyone.post("/customers", json=JANE, headers=bearer("agent123"))
        assert agent.json()["customer_id"] == 1


async def test_a_refused_customer_leaves_no_event(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers", json=JANE)
    await crm.post("/api/customers", json=JANE)

    events = (await crm.get("/api/events")).json()["events"]

    assert [event["type"] for event in events] == ["customer.created"]
