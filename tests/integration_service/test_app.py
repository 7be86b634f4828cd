"""The whole service as a server runs it: it polls by itself, stops soon, and dies aloud."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from integration_service.app import create_app
from integration_service.settings import Settings
from tests.conftest import running
from tests.described import keeps_its_word
from tests.integration_service.conftest import Log, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble
from tests.inventory_api.conftest import app_of


@asynccontextmanager
async def serving(settings: Settings, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings.model_copy(update=changes)
    async with running(create_app(settings), token="admin123") as client:
        yield keeps_its_word(client)


Condition = Callable[[httpx.Response], bool]


async def answered(client: httpx.AsyncClient, path: str, is_so: Condition) -> Any:
    """Wait for such an answer; asked again after each change of the database."""
    database = app_of(client).state.database
    async with asyncio.timeout(10):
        while True:
            answer = await client.get(path)
            if is_so(answer):
                return answer.json()
            await asyncio.wait([database.committed.next()], timeout=0.02)


def is_delivered(answer: httpx.Response) -> bool:
    return bool(answer.json().get("state") == "delivered")


def polls(answer: httpx.Response) -> bool:
    return bool(answer.json()["poller"]["is_here"])


@pytest.mark.parametrize("long_poll_seconds", [10, 0])
async def test_a_customer_in_the_feed_is_delivered(
    settings: Settings, crm: CrmDouble, inventory: InventoryDouble, long_poll_seconds: float
) -> None:
    changes = {"long_poll_seconds": long_poll_seconds, "polling_interval_seconds": 0.05}
    async with serving(settings, **changes) as client:
        crm.register("before")
        await answered(client, "/deliveries/before", is_delivered)
        crm.register("while-it-runs")
        shown = await answered(client, "/deliveries/while-it-runs", is_delivered)
        status = (await client.get("/status")).json()

    assert inventory.owners == ["before", "while-it-runs"]
    assert len(shown["attempts"]) == 1
    assert status["poller"]["is_here"]
    assert status["feed"]["lag_events"] == 0


async def test_a_stop_does_not_wait_for_a_long_poll_and_gives_the_lease_back(
    settings: Settings, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    async with asyncio.timeout(15), serving(settings, long_poll_seconds=25) as client:
        await answered(client, "/status", lambda _: bool(crm.requests))

    async with serving(settings) as heir:
        await answered(heir, "/status", polls)


async def test_it_can_be_told_to_look_at_once(
    settings: Settings, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    async with serving(settings, long_poll_seconds=0, polling_interval_seconds=3600) as client:
        crm.register("ada")
        await answered(client, "/deliveries/ada", is_delivered)
        crm.register("bob")

        told = await client.post("/poll")

        assert (told.status_code, told.json()) == (202, {"status": "accepted"})
        await answered(client, "/deliveries/bob", is_delivered)


async def test_a_far_side_that_is_down_at_the_start_is_no_reason_not_to_start(
    settings: Settings, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.fault = lambda *_: httpx.Response(503)
    async with serving(settings, polling_interval_seconds=0.05) as client:
        await answered(
            client, "/status", lambda answer: answer.json()["circuits"]["crm"]["state"] == "open"
        )
        assert (await client.get("/health/ready")).status_code == 200

        crm.register("ada")
        crm.fault = None
        await answered(client, "/deliveries/ada", is_delivered)


async def test_two_replicas_make_one_package_a_customer(
    settings: Settings, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    async with serving(settings) as one, serving(settings) as other:
        crm.register("ada", "bob")
        for client in (one, other):
            await answered(client, "/deliveries/bob", is_delivered)
        polling = [(await one.get("/status")).json(), (await other.get("/status")).json()]

    assert inventory.batches == [["ada", "bob"]]
    assert sorted(status["poller"]["is_here"] for status in polling) == [False, True]


async def test_a_poller_that_dies_makes_it_unready_and_ends_the_process(
    settings: Settings,
    database: Any,
    crm: CrmDouble,
    log: Log,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signals: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", signals.append)
    # What no code of ours expects: somebody has dropped a row that was made with the table.
    await database.write(change, "DELETE FROM poller")

    async with serving(settings) as client:
        ready = await answered(client, "/health/ready", lambda answer: answer.status_code == 503)
        alive = await client.get("/health")
        stopping = app_of(client).state.stopping

    assert ready["status"] == "unavailable"
    assert ready["database"] == "connected"
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert signals == [signal.SIGTERM]
    assert stopping.failed
    assert "The poller has died; the process ends." in caplog.text
