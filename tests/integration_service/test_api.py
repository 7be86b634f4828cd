"""What people see of the integration, and who may; the tests' own process does the polling."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from integration_service.app import create_app
from integration_service.settings import Settings
from service_kit.process.clock import rfc3339
from tests.conftest import running
from tests.described import keeps_its_word
from tests.integration_service.conftest import FakeClock, Integration, Start, change
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    answers,
    refuses,
    refuses_each,
)
from tests.inventory_api.conftest import app_of

DELIVERIES = "/deliveries"


@pytest.fixture
async def api(settings: Settings, integration: Integration) -> AsyncIterator[httpx.AsyncClient]:
    """A replica that stands by, as an admin sees it."""
    async with running(create_app(settings), token="admin123") as client:
        yield keeps_its_word(client)


async def status_of(api: httpx.AsyncClient) -> dict[str, Any]:
    answer = await api.get("/status")
    assert answer.status_code == 200, answer.text
    status: dict[str, Any] = answer.json()
    return status


CLOSED = {
    "state": "closed",
    "opened_at": None,
    "next_probe_at": None,
    "error_class": None,
    "error": None,
}


async def test_before_the_first_look_the_status_is_empty(
    api: httpx.AsyncClient, integration: Integration
) -> None:
    status = await status_of(api)

    lease_until = status["poller"].pop("lease_until")
    assert lease_until.endswith("Z")
    assert status == status | {
        "feed": {
            "state": "running",
            "recovery": None,
            "recoveries": 0,
            "start_from": None,
            "position": None,
            "head_position": None,
            "lag_events": None,
            "lag_seconds": None,
        },
        "deliveries": {
            "pending": 0,
            "retrying": 0,
            "delivered": 0,
            "skipped": 0,
            "dead": 0,
            "undone": 0,
        },
        "oldest_unfinished_seconds": None,
        "circuits": {"crm": CLOSED, "inventory": CLOSED},
        "paused_at": None,
        "reconcile": None,
        "repair_held_back": None,
        "last_poll_at": None,
        "last_error": None,
        "last_error_at": None,
        "poller": {"is_here": False, "holder": integration.poller.holder},
    }


async def test_the_status_counts_what_is_owed_and_how_far_the_feed_is_read(
    start: Start,
    settings: Settings,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
) -> None:
    integration = await start(batch_size=2)
    crm.register("ada", "bob", "cid", "dan", "eve")
    await integration.poll()
    inventory.faults.append(answers(429))
    await integration.send()

    async with running(create_app(settings), token="viewer123") as api:
        status = await status_of(api)

    assert status["feed"] == {
        "state": "running",
        "recovery": None,
        "recoveries": 0,
        "start_from": "beginning",
        "position": 2,
        "head_position": 5,
        "lag_events": 3,
        "lag_seconds": None,
    }
    assert status["deliveries"]["retrying"] == 2
    assert status["last_poll_at"] == rfc3339(clock())
    assert status["oldest_unfinished_seconds"] > 0


async def test_the_lag_is_how_long_the_feed_was_not_read_to_its_end(
    start: Start, crm: CrmDouble, clock: FakeClock
) -> None:
    integration = await start(batch_size=1)
    crm.register("ada")
    await integration.poll()
    clock.advance(seconds=30)
    assert (await integration.status()).feed.lag_seconds == 0

    crm.register("bob", "cid", "dan")
    await integration.poll()
    clock.advance(seconds=30)
    feed = (await integration.status()).feed
    assert (feed.lag_events, feed.lag_seconds) == (2, 60)


async def test_the_status_says_why_a_far_side_is_not_called(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, clock: FakeClock
) -> None:
    crm.fault = refuses(401, "not-authenticated", "Send a valid token.")
    await integration.poll()

    status = await status_of(api)

    circuit = status["circuits"]["crm"]
    assert circuit["state"] == "open"
    assert circuit["opened_at"] == rfc3339(clock())
    assert circuit["error_class"] == "configuration"
    assert circuit["error"] == "it answered 401: Send a valid token."
    assert status["last_error"] == "CRM: it answered 401: Send a valid token."
    assert status["last_error_at"] == rfc3339(clock())
    assert status["circuits"]["inventory"] == CLOSED


@pytest.fixture
async def mixed(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> Integration:
    """One delivery in each state, and three more delivered ones."""
    integration = await start()
    crm.register("dead")
    inventory.faults.append(refuses_each(422, "invalid-request", "Not that one."))
    await integration.work()
    crm.register("late")
    inventory.faults.append(answers(429, {"Retry-After": "3600"}))
    await integration.work()
    crm.register("one", "two", "three", "four", "left-out")
    await integration.work()
    crm.register("new")
    await integration.poll()
    await integration.database.write(
        change, "UPDATE deliveries SET state = 'skipped' WHERE subject = 'left-out'"
    )
    return integration


@pytest.fixture
async def mixed_api(settings: Settings, mixed: Integration) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings), token="admin123") as client:
        yield keeps_its_word(client)


async def walk(api: httpx.AsyncClient, **query: Any) -> list[list[str]]:
    """Follow the Link headers from the first page. Returns the customers on each page."""
    pages = []
    address = str(httpx.URL(DELIVERIES, params=query))
    while address:
        answer = await api.get(address)
        assert answer.status_code == 200, answer.text
        pages.append([one["customer_uid"] for one in answer.json()])
        address = str(answer.links.get("next", {}).get("url", ""))
        assert bool(address) == ("x-next-cursor" in answer.headers)
    return pages


ALL = ["dead", "late", "one", "two", "three", "four", "left-out", "new"]


LISTS: list[tuple[dict[str, Any], list[list[str]]]] = [
    ({}, [ALL]),
    ({"limit": 3}, [ALL[:3], ALL[3:6], ALL[6:]]),
    ({"limit": 4}, [ALL[:4], ALL[4:]]),
    ({"state": "dead"}, [["dead"]]),
    ({"state": "retrying"}, [["late"]]),
    ({"state": "pending"}, [["new"]]),
    ({"state": "skipped"}, [["left-out"]]),
    ({"state": "delivered"}, [["one", "two", "three", "four"]]),
    ({"state": "delivered", "limit": 3}, [["one", "two", "three"], ["four"]]),
]


async def test_deliveries_are_listed_by_state_and_page_newest_last(
    mixed_api: httpx.AsyncClient,
) -> None:
    for query, expected in LISTS:
        assert await walk(mixed_api, **query) == expected


async def test_a_delivery_says_by_which_trace_it_is_found(
    mixed: Integration, mixed_api: httpx.AsyncClient
) -> None:
    span = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = f"UPDATE deliveries SET traceparent = '{span}' WHERE subject = 'late'"  # noqa: S608
    await mixed.database.write(change, traced)

    for path in (f"{DELIVERIES}/late", "/routes/welcome-package/deliveries/late"):
        assert (await mixed_api.get(path)).json()["traceparent"] == span
    other = next(uid for uid in await mixed.states() if uid != "late")
    assert (await mixed_api.get(f"{DELIVERIES}/{other}")).json()["traceparent"] is None


async def test_a_delivery_is_shown_with_every_attempt(
    mixed: Integration, mixed_api: httpx.AsyncClient, clock: FakeClock
) -> None:
    clock.advance(hours=2)
    await mixed.send()

    late = (await mixed_api.get(f"{DELIVERIES}/late")).json()

    first, second = late["attempts"]
    assert first == first | {
        "at": rfc3339(clock() - timedelta(hours=2)),
        "status": 429,
        "error_class": "transient",
        "error": "it answered 429: no details",
    }
    assert first["duration_ms"] >= 0
    assert second == second | {"at": rfc3339(clock()), "status": 201, "error": None}
    assert late == late | {
        "customer_uid": "late",
        "customer_name": "Customer late",
        "state": "delivered",
        "attempt_count": 2,
        "next_attempt_at": None,
        "error": None,
        "error_class": None,
        "problem": None,
        "raw": None,
        "created_at": rfc3339(clock() - timedelta(hours=2)),
        "updated_at": rfc3339(clock()),
        "delivered_at": rfc3339(clock()),
    }
    assert len(late["request_id"]) == 36


async def test_a_refused_delivery_is_shown_with_the_problem(mixed_api: httpx.AsyncClient) -> None:
    dead = (await mixed_api.get(f"{DELIVERIES}/dead")).json()

    assert (dead["state"], dead["error_class"]) == ("dead", "refused")
    assert dead["problem"]["type"] == "urn:problem:invalid-request"
    assert dead["problem"]["detail"] == "Not that one."
    assert dead["next_attempt_at"] is None
    assert [attempt["status"] for attempt in dead["attempts"]] == [422]


async def test_an_unreadable_event_is_shown_as_it_came(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble
) -> None:
    crm.publish({"type": "customer.created", "nonsense": True})
    await integration.poll()

    [dead] = (await api.get(DELIVERIES, params={"state": "dead"})).json()
    shown = (await api.get(f"{DELIVERIES}/{dead['customer_uid']}")).json()

    assert shown["error_class"] == "unreadable"
    assert shown["raw"] == '{"type": "customer.created", "nonsense": true}'
    assert shown["attempts"] == []


BAD_ADDRESSES = {
    f"{DELIVERIES}/nobody": 404,
    f"{DELIVERIES}/%00": 422,
    f"{DELIVERIES}/a%00b": 422,
    f"{DELIVERIES}/a%0ab": 422,
    f"{DELIVERIES}/%ff%fe": 404,
    f"{DELIVERIES}/%F0%9F%8E%89": 404,
    f"{DELIVERIES}/{'x' * 64}": 404,
    f"{DELIVERIES}/{'x' * 65}": 422,
    f"{DELIVERIES}?state=lost": 422,
    f"{DELIVERIES}?state=%00": 422,
    f"{DELIVERIES}?limit=0": 422,
    f"{DELIVERIES}?limit=501": 422,
    f"{DELIVERIES}?limit={2**63}": 422,
    f"{DELIVERIES}?cursor=": 422,
    f"{DELIVERIES}?cursor=%00": 422,
    f"{DELIVERIES}?cursor=aWQ6LTE": 422,
    f"{DELIVERIES}?cursor={'x' * 201}": 422,
    "/status/x": 404,
}


async def test_an_address_that_makes_no_sense_is_refused(api: httpx.AsyncClient) -> None:
    answers = {path: (await api.get(path)).status_code for path in BAD_ADDRESSES}

    assert answers == BAD_ADDRESSES


async def test_a_replica_that_stands_by_is_ready(api: httpx.AsyncClient) -> None:
    assert (await api.get("/health/ready")).status_code == 200


ROUTES: list[tuple[str, str, int]] = [
    ("GET", "/status", 200),
    ("GET", "/me", 200),
    ("GET", "/audit", 200),
    ("GET", "/routes", 200),
    ("GET", "/routes/welcome-package", 200),
    ("GET", "/routes/none-such", 404),
    ("POST", "/routes/none-such/pause", 404),
    ("POST", "/routes/none-such/resume", 404),
    ("GET", DELIVERIES, 200),
    ("GET", f"{DELIVERIES}/nobody", 404),
    ("GET", f"{DELIVERIES}/nobody/wait?timeout=0", 504),
    ("POST", f"{DELIVERIES}/nobody/retry", 404),
    ("POST", f"{DELIVERIES}/retry", 422),
    ("POST", "/pause", 200),
    ("POST", "/resume", 200),
    ("POST", "/poll", 202),
    ("GET", "/reconcile", 200),
    ("POST", "/reconcile", 422),
]


async def test_who_may_is_answered(api: httpx.AsyncClient) -> None:
    answers = [
        (method, path, (await api.request(method, path)).status_code) for method, path, _ in ROUTES
    ]

    assert answers == ROUTES


async def test_each_operation_says_what_it_does_and_what_it_may_answer(
    api: httpx.AsyncClient,
) -> None:
    for path, operations in app_of(api).openapi()["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            if not path.startswith(("/health", "/metrics")):
                assert {"401", "500", "503"} <= operation["responses"].keys()
                assert ("403" in operation["responses"]) == (path != "/me")


async def test_each_example_of_the_documentation_works_when_sent(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble
) -> None:
    sent = 0
    for path, operations in app_of(api).openapi()["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            for example in parameter["schema"].get("examples", parameter.get("examples", [])):
                name = parameter["name"]
                if parameter["in"] == "path":
                    crm.register(example)
                    await integration.poll()
                    answer = await api.get(re.sub(r"\{\w+\}", str(example), path))
                else:
                    answer = await api.get(path, params={name: example})
                assert answer.status_code == 200
                sent += 1

    assert sent
