"""Many customers in one request: each for itself, in order, in few statements."""

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from crm_api.customers.schemas import CustomerNew
from crm_api.customers.service import register_all
from crm_api.settings import Settings
from service_kit.database.postgres.connect import Connections
from service_kit.web.auth import Principal
from service_kit.web.body import MAX_VALUES
from tests.crm_api.conftest import app_of, numbered, read_feed, register
from tests.statements import before_each_statement

BATCH = "/api/customers/batch"
OTHER = Principal("other", "admin", frozenset())
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")


async def send(crm: httpx.AsyncClient, items: list[Any]) -> list[dict[str, Any]]:
    answer = await crm.post(BATCH, json=items)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    assert len(results) == len(items)
    return results


@contextmanager
def statements_of(crm: httpx.AsyncClient) -> Iterator[list[str]]:
    """Note each statement that the CRM's writing connection sends to its database."""
    database = app_of(crm).state.database
    writing = getattr(database, "_writing", None)
    source = database._pool._engine.sync_engine if writing is None else writing
    seen: list[str] = []
    with before_each_statement(seen.append, source):
        yield seen


async def test_each_item_is_answered_in_its_place(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers", json=numbered(1, external_ref="taken"))

    results = await send(
        crm,
        [
            numbered(2),
            numbered(1),
            {"name": "No address"},
            numbered(3, external_ref="taken"),
            numbered(4, metadata={"plan": "basic"}),
        ],
    )

    assert [result["status"] for result in results] == [201, 409, 422, 409, 201]
    assert [result["customer"]["name"] for result in results if "customer" in result] == [
        "Customer 2",
        "Customer 4",
    ]
    assert [result["problem"]["type"] for result in results if "problem" in result] == [
        "urn:problem:email-taken",
        "urn:problem:invalid-request",
        "urn:problem:external-ref-taken",
    ]
    assert [result["problem"].get("customer_id") for result in results[1:4]] == [1, None, 1]


async def test_what_a_batch_answers_is_the_customer_as_the_list_shows_it(
    crm: httpx.AsyncClient,
) -> None:
    results = await send(crm, [numbered(number) for number in range(1, 6)])

    listed = {one["id"]: one for one in (await crm.get("/api/customers")).json()}
    assert [listed[result["customer"]["id"]] for result in results] == [
        result["customer"] for result in results
    ]
    assert {frozenset(result) for result in results} == {frozenset({"status", "customer"})}


async def test_events_of_a_batch_come_in_the_order_of_its_items(crm: httpx.AsyncClient) -> None:
    await register(crm, 3)

    await send(crm, [numbered(number) for number in (5, 3, 1, 4)])

    page = await read_feed(crm)
    assert [event["data"]["name"] for event in page["events"]] == [
        f"Customer {number}" for number in (3, 5, 1, 4)
    ]


async def test_the_first_of_two_equal_items_wins(crm: httpx.AsyncClient) -> None:
    ref = {"external_ref": "shop-1"}

    results = await send(
        crm,
        [
            numbered(1),
            {**numbered(1), "email": "CUSTOMER-1@EXAMPLE.COM"},
            numbered(2, **ref),
            numbered(3, **ref),
            numbered(1, **ref),
        ],
    )

    assert [result["status"] for result in results] == [201, 409, 201, 409, 409]
    owners = [result.get("problem", {}).get("customer_id") for result in results]
    first, second = results[0]["customer"]["id"], results[2]["customer"]["id"]
    assert owners == [None, first, None, second, first]
    assert (await read_feed(crm))["head_position"] == 2


async def test_five_hundred_items_are_taken(crm: httpx.AsyncClient) -> None:
    results = await send(crm, [numbered(number) for number in range(500)])

    assert {result["status"] for result in results} == {201}
    assert [result["customer"]["name"] for result in results] == [
        f"Customer {number}" for number in range(500)
    ]
    assert (await read_feed(crm, limit=500))["through_position"] == 500


@pytest.mark.parametrize(
    "body", [[], [{}] * 501, {"items": []}, None, "x", 7], ids=lambda body: str(body)[:20]
)
async def test_a_body_that_is_no_batch_is_refused_as_a_whole(
    shared_crm: httpx.AsyncClient, body: Any
) -> None:
    answer = await shared_crm.post(BATCH, json=body)

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:problem:invalid-request"


async def test_five_hundred_whole_customers_are_within_the_budget(crm: httpx.AsyncClient) -> None:
    most = {"company": "Example Ltd", "phone": "+44 20 7946 0000"}
    metadata = {f"key-{number}": "value" for number in range(20)}
    address = 10  # values that an address will have besides
    items = [
        numbered(number, external_ref=f"ref-{number}", metadata=metadata, **most)
        for number in range(500)
    ]
    values = sum(1 + len(item) + len(metadata) for item in items)

    assert values + 500 * address < MAX_VALUES
    assert {result["status"] for result in await send(crm, items)} == {201}


async def test_a_batch_of_errors_is_answered_in_few_words(crm: httpx.AsyncClient) -> None:
    items = [{f"unknown-{number}": 1 for number in range(38)}] * 500

    answer = await crm.post(BATCH, json=items)

    assert {result["status"] for result in answer.json()} == {422}
    assert {len(result["problem"]["errors"]) for result in answer.json()} == {5}
    assert len(answer.content) < len(json.dumps(items))


async def test_nothing_of_a_batch_that_is_too_long_is_added(crm: httpx.AsyncClient) -> None:
    answer = await crm.post(BATCH, json=[numbered(number) for number in range(501)])

    assert answer.status_code == 422
    assert (await crm.get("/api/customers")).json() == []


SPOILERS = [
    None,
    7,
    "text",
    [],
    {},
    [numbered(1)],
    {"name": "x" * 201, "email": "x@example.com"},
    {"name": "a\0b", "email": "x@example.com"},
    {"name": "X", "email": "no address"},
    {"name": "X", "email": "x@example.com", "role": "admin"},
    {"name": "X", "email": "x@example.com", "metadata": {"deep": {"er": {}}}},
    {"name": 10**99, "email": "x@example.com"},
]


@pytest.mark.parametrize("spoiler", SPOILERS, ids=lambda item: str(item)[:40])
async def test_one_bad_item_never_spoils_the_others(
    shared_crm: httpx.AsyncClient, spoiler: Any
) -> None:
    good = [numbered(random.getrandbits(60)) for _ in range(2)]

    results = await send(shared_crm, [good[0], spoiler, good[1]])

    assert [result["status"] for result in results] == [201, 422, 201]
    assert results[1]["problem"]["type"] == "urn:problem:invalid-request"
    assert results[1]["problem"]["errors"]
    assert all(set(error) == {"loc", "msg"} for error in results[1]["problem"]["errors"])


async def test_a_batch_of_nothing_but_bad_items_is_answered(crm: httpx.AsyncClient) -> None:
    results = await send(crm, SPOILERS)

    assert {result["status"] for result in results} == {422}
    assert (await crm.get("/api/customers")).json() == []


async def test_a_batch_takes_few_statements_whatever_its_size(crm: httpx.AsyncClient) -> None:
    """A third of the items is taken, since finding out by whom must not cost one look-up each."""
    await send(crm, [numbered(number) for number in range(0, 450, 3)])
    counts = []
    for items in (range(3), range(450)):
        with statements_of(crm) as seen:
            results = await send(crm, [numbered(number) for number in items])
        assert 409 in {result["status"] for result in results}
        counts.append(len(seen))

    assert 0 < counts[0] == counts[1] <= 10, counts


async def test_batches_that_overlap_add_each_customer_once(crm: httpx.AsyncClient) -> None:
    everyone = [numbered(number) for number in range(100)]
    batches = [random.Random(seed).sample(everyone, 100) for seed in range(6)]

    answers = await asyncio.gather(*(send(crm, batch) for batch in batches))

    statuses = sorted(result["status"] for results in answers for result in results)
    assert statuses == [201] * 100 + [409] * 500
    assert (await read_feed(crm))["head_position"] == 100


@pytest.mark.engine("postgresql")
async def test_a_batch_holds_no_address_while_it_waits_for_an_earlier_one(
    crm: httpx.AsyncClient, settings: Settings
) -> None:
    """Two that each hold what the other waits for are a deadlock: six batches once took 40 s."""
    connections = Connections(settings.database_url, "other", lock_timeout="500")
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connections.open)
    first, second = CustomerNew(**numbered(1)), CustomerNew(**numbered(2))
    async with engine.begin() as other:
        await other.run_sync(register_all, [first], OTHER)
        batch = asyncio.create_task(send(crm, [numbered(2), numbered(1)]))
        async with asyncio.timeout(5):
            while not (await other.execute(WAITING)).scalar_one():
                pass
        # It would have to wait for the batch, in vain, if that held this one already.
        await other.run_sync(register_all, [second], OTHER)
    await engine.dispose()

    assert [result["status"] for result in await batch] == [409, 409]
