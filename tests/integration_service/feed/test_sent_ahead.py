"""New customers who are sent while their page is noted: one commit, and nobody lost or doubled."""

import asyncio
import json

import httpx
import pytest

from integration_service.feed import ingest
from integration_service.ledger import control
from service_kit.web.auth import COMMAND_LINE
from tests.commits import commits_of
from tests.integration_service.conftest import Integration, Log, Start
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    answers,
    erased,
    refused,
)
from tests.integration_service.fragile import FragileDatabase, away


@pytest.fixture(autouse=True)
def _answers_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "ANSWER_SECONDS", 20.0)


@pytest.fixture
def running(integration: Integration) -> Integration:
    """The integration while its loop sends."""
    return run(integration)


def run(integration: Integration) -> Integration:
    integration.poller.dispatch._is_running = True
    return integration


async def finish(integration: Integration) -> None:
    await integration.poller.dispatch.finish()


async def test_one_commit_notes_a_page_and_what_came_of_it(
    running: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    await running.poll()
    crm.register("ada", "bob")
    with commits_of(running.database) as counted:
        await running.poll()
        await finish(running)

    assert (counted.commits, counted.flushes) == (1, 1)
    assert inventory.batches == [["ada", "bob"]]
    assert await running.states() == {"ada": "delivered", "bob": "delivered"}
    [attempt] = (await running.delivery("ada")).attempts
    assert (attempt.status, attempt.error_class) == (201, None)
    assert (await running.rows())["bob"].attempt_count == 1
    said = [line for line in log.infos if "ada" in line]
    assert [line.split()[0] for line in said] == ["Found", "Creating", "Successfully"]


async def test_who_is_not_answered_in_time_is_noted_as_being_sent(
    running: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest, "ANSWER_SECONDS", 0.0)
    noted = asyncio.Event()

    async def slow(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        await noted.wait()
        return double.carry_out(request)

    inventory.fault = slow
    crm.register("ada")
    await running.poll()
    assert await running.states() == {"ada": "pending"}
    await running.poller.dispatch.start_batches(running.lease)
    noted.set()
    await finish(running)

    assert inventory.batches == [["ada"]]
    assert await running.states() == {"ada": "delivered"}


@pytest.mark.parametrize(
    ("answer", "states"),
    [
        (503, {"ada": "retrying", "bob": "retrying"}),
        (401, {"ada": "pending", "bob": "pending"}),
    ],
)
async def test_a_call_that_fails_is_settled_as_any_other(
    running: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    answer: int,
    states: dict[str, str],
) -> None:
    inventory.fault = answers(answer)
    crm.register("ada", "bob")
    await running.poll()
    await finish(running)
    assert await running.states() == states

    inventory.fault = None
    running.clock.advance(minutes=6)
    await running.send()
    assert await running.states() == {"ada": "delivered", "bob": "delivered"}
    assert inventory.owners == ["ada", "bob"]


async def test_one_who_is_refused_is_dead_beside_another_who_is_served(
    running: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    def refuse_ada(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        made = json.loads(double.carry_out(request).content)
        return httpx.Response(200, json=[refused("ada", 422, "invalid-request"), made[1]])

    inventory.fault = refuse_ada
    crm.register("ada", "bob")
    await running.poll()
    await finish(running)

    assert await running.states() == {"ada": "dead", "bob": "delivered"}


async def test_while_paused_nobody_is_sent(
    running: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await running.database.write(control.pause, running.clock(), COMMAND_LINE)
    crm.register("ada")
    await running.poll()

    assert inventory.batches == []
    assert await running.states() == {"ada": "pending"}


async def test_nobody_overtakes_who_waits(
    start: Start, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    integration = await start()
    crm.register("ada")
    await integration.poll()
    run(integration)
    crm.register("bob")
    await integration.poll()
    assert inventory.batches == []

    await integration.send()
    assert inventory.batches == [["ada", "bob"]]


async def test_who_is_known_is_not_sent_again(
    running: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada")
    await running.poll()
    crm.register("ada", "bob")
    await running.poll()
    await finish(running)
    await running.send()

    assert inventory.batches == [["ada"], ["bob"]]


async def test_who_was_erased_is_not_sent(
    running: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada")
    crm.publish(erased("ada", 2))
    await running.poll()
    await finish(running)

    assert inventory.batches == []
    assert await running.states() == {"ada": "skipped"}


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("seconds", [0.0, 20.0])
async def test_a_note_whose_outcome_nobody_knows_loses_nobody(
    shaky: Integration,
    fragile: FragileDatabase,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
    seconds: float,
) -> None:
    monkeypatch.setattr(ingest, "ANSWER_SECONDS", seconds)
    noted = asyncio.Event()

    async def slow(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        await noted.wait()
        return double.carry_out(request)

    await shaky.poll()
    run(shaky)
    if not seconds:
        inventory.fault = slow
    (fragile.after if committed else fragile.before).append(away())
    crm.register("ada")
    with pytest.raises(type(away())):
        await shaky.poll()
    noted.set()
    await finish(shaky)

    await shaky.poll()
    await finish(shaky)
    await shaky.send()

    assert inventory.owners == ["ada"]
    assert await shaky.states() == {"ada": "delivered"}


async def test_who_is_sent_by_a_loop_that_ended_meanwhile_is_given_back(
    running: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("integration_service.deliveries.dispatch.FINISH_SECONDS", 0.01)
    asked = asyncio.Event()

    async def mute(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    inventory.fault = mute
    crm.register("ada")
    polling = asyncio.create_task(running.poll())
    await asked.wait()
    await finish(running)
    await polling
    inventory.fault = None
    assert await running.states() == {"ada": "pending"}

    await running.poll()
    await running.send()
    assert await running.states() == {"ada": "delivered"}
