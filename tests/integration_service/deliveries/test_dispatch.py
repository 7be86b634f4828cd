"""Sending: in batches, side by side, and none forgotten when the database or the process fails."""

import asyncio
from collections import Counter

import httpx
import pytest

from integration_service.deliveries import claims, dispatch, retry_policy
from integration_service.feed import ingest
from integration_service.ledger.lease import Lease
from integration_service.routes.definitions import WELCOME
from service_kit.process.stopping import Stopping
from tests.integration_service.conftest import Integration, Log, Start, change
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    after_effect,
    answers,
)
from tests.integration_service.fragile import FragileDatabase, away


async def owe(integration: Integration, crm: CrmDouble, *uids: str) -> None:
    crm.register(*uids)
    while await integration.poll() == 0:
        pass


async def test_a_backlog_goes_out_in_full_batches_oldest_first(
    start: Start, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    integration = await start(batch_size=4, delivery_concurrency=1)
    uids = [f"c{n:02}" for n in range(10)]
    await owe(integration, crm, *uids)

    await integration.send()

    assert inventory.batches == [uids[:4], uids[4:8], uids[8:]]
    assert inventory.owners == uids


@pytest.mark.parametrize("concurrency", [2, 5])
async def test_batches_are_under_way_side_by_side_up_to_the_limit(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, concurrency: int
) -> None:
    integration = await start(batch_size=1, delivery_concurrency=concurrency)
    await owe(integration, crm, *(f"c{n}" for n in range(3 * concurrency)))
    # Nobody gets an answer before so many wait for one.
    full = asyncio.Barrier(concurrency)
    under_way: list[int] = []

    async def wait(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        await full.wait()
        under_way.append(len(double.requests) - len(double.owners))
        return double.carry_out(request)

    inventory.fault = wait
    async with asyncio.timeout(10):
        await integration.send()

    assert max(under_way) == concurrency
    assert len(inventory.owners) == 3 * concurrency


@pytest.mark.parametrize("failed_before", [*range(12), 100, 10**9])
def test_a_wait_after_a_failure_is_anything_up_to_a_bound_that_doubles(failed_before: int) -> None:
    waits = [retry_policy.wait_seconds(failed_before) for _ in range(300)]

    longest = min(2 ** min(failed_before, 20), 300)
    assert 0 <= min(waits) < 0.2 * longest
    # Spread over all of it, so that what failed together does not come back together.
    assert 0.8 * longest < max(waits) <= longest


@pytest.mark.parametrize("retry_after", [0.5, 7, 3600])
def test_a_wait_is_never_shorter_than_what_was_asked_for(retry_after: float) -> None:
    waits = [retry_policy.wait_seconds(0, retry_after) for _ in range(300)]

    assert min(waits) >= retry_after
    assert max(waits) <= max(1.1 * retry_after, 1)
    assert len(set(waits)) > 100


async def test_a_delivery_that_fails_holds_up_nobody_who_comes_later(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await owe(integration, crm, "bad")
    inventory.faults.append(answers(429, {"Retry-After": "3600"}))
    await integration.send()

    await owe(integration, crm, "ada")
    await integration.send()

    assert await integration.states() == {"bad": "retrying", "ada": "delivered"}


@pytest.mark.parametrize("failures", [1, 2, 5])
@pytest.mark.parametrize("side", ["before", "after"])
async def test_what_could_not_be_written_down_is_sent_again(
    shaky: Integration,
    fragile: FragileDatabase,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
    side: str,
    failures: int,
) -> None:
    await owe(shaky, crm, "ada", "bob")

    def lose_the_database(_double: InventoryDouble, _request: httpx.Request) -> None:
        # From here on: neither can the outcome be written down, nor that nobody is sending it.
        getattr(fragile, side).extend(away() for _ in range(failures))

    inventory.faults.append(lose_the_database)
    task = await run(shaky)
    await delivered(shaky, 2)
    shaky.poller._stopping.begin()
    await task

    assert inventory.owners == ["ada", "bob"]
    assert any("It is away." in line for line in log.warnings)
    assert log.errors == []
    # Only what is written down has come about.
    told = "Successfully created package request for customer ID: ada"
    assert log.infos.count(told) <= 1


async def test_a_bug_in_one_batch_is_told_with_its_trace_and_stops_no_other(
    shaky: Integration,
    fragile: FragileDatabase,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await owe(shaky, crm, "ada")

    def plant(_double: InventoryDouble, _request: httpx.Request) -> None:
        fragile.before.append(ZeroDivisionError("a bug"))

    inventory.faults.append(plant)
    await shaky.send()

    assert await shaky.states() == {"ada": "delivered"}
    assert log.errors == ["A batch failed because of a bug; it is sent again."]
    assert "ZeroDivisionError: a bug" in caplog.text


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_page_that_could_not_be_written_down_is_read_again(
    shaky: Integration, fragile: FragileDatabase, crm: CrmDouble, side: str
) -> None:
    await owe(shaky, crm, "ada")
    crm.register("bob", "cid")
    getattr(fragile, side).append(away())

    with pytest.raises(type(away())):
        await shaky.poll()
    await shaky.poll()

    assert list(await shaky.rows()) == ["ada", "bob", "cid"]
    assert (await shaky.status()).feed.position == 3


async def run(integration: Integration) -> asyncio.Task[None]:
    """Have it run by itself, as the service does."""
    await integration.poller.give_back(integration.lease)
    return asyncio.create_task(integration.poller.run())


async def delivered(integration: Integration, number: int) -> None:
    """Wait until so many are delivered; looked at again after each change of the database."""
    async with asyncio.timeout(10):
        while Counter((await integration.states()).values())["delivered"] < number:
            await asyncio.wait([integration.database.committed.next()], timeout=0.05)


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_running_integration_outlives_a_database_that_goes_away(
    shaky: Integration,
    fragile: FragileDatabase,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
    side: str,
) -> None:
    task = await run(shaky)
    crm.register("ada")
    await delivered(shaky, 1)

    getattr(fragile, side).extend(away() for _ in range(4))
    crm.register("bob")
    await delivered(shaky, 2)
    # Where the note was committed though it failed, what it said is looked after until that works.
    async with asyncio.timeout(10):
        while getattr(fragile, side):
            await asyncio.wait([shaky.database.committed.next()], timeout=0.05)

    assert inventory.owners == ["ada", "bob"]
    assert log.errors == []
    shaky.poller._stopping.begin()
    await task


async def test_a_bug_in_a_turn_is_told_and_the_next_turn_starts_afresh(
    shaky: Integration,
    fragile: FragileDatabase,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    understand = ingest.understand
    bugs = iter([ZeroDivisionError("a bug")])

    def stumble(*args: object) -> object:
        for bug in bugs:
            raise bug
        return understand(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "understand", stumble)
    task = await run(shaky)
    crm.register("ada")
    await delivered(shaky, 1)

    assert log.errors == ["A turn failed because of a bug; the next one starts afresh."]
    shaky.poller._stopping.begin()
    await task


async def test_a_stop_finishes_what_is_under_way_and_starts_nothing_new(
    start: Start, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    integration = await start(batch_size=1, delivery_concurrency=2)
    await owe(integration, crm, *(f"c{n}" for n in range(6)))
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        if len(double.requests) == 2:
            asked.set()
        await go_on.wait()
        return double.carry_out(request)

    inventory.fault = wait
    task = await run(integration)
    async with asyncio.timeout(10):
        await asked.wait()
        integration.poller._stopping.begin()
        # Long after both loops have heard of it.
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        await task

    assert Counter((await integration.states()).values()) == {"delivered": 2, "pending": 4}
    assert len(inventory.requests) == 2
    assert (await integration.status()).poller.holder is None
    unclaimed = await integration.database.read(claims.next_due, integration.lease, WELCOME.name)
    assert unclaimed is not None


async def test_a_stop_waits_only_so_long_for_what_is_under_way(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "FINISH_SECONDS", 0.05)
    integration = await start()
    await owe(integration, crm, "ada")
    asked = asyncio.Event()

    async def never(_double: InventoryDouble, _request: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    inventory.fault = after_effect(never)
    task = await run(integration)
    async with asyncio.timeout(10):
        await asked.wait()
        integration.poller._stopping.begin()
        await task

    inventory.fault = None
    heir = await integration.restarted()
    await heir.send()
    assert await heir.states() == {"ada": "delivered"}
    assert inventory.owners == ["ada"]
    await heir.die()


async def test_stopping_before_the_start_is_no_trouble(
    start: Start, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    integration = await start()
    integration.poller._stopping.begin()

    await (await run(integration))

    assert crm.requests == inventory.requests == []
    assert Stopping().begun is False


async def test_a_new_customer_is_sent_at_once_by_a_running_integration(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LONGEST_NAP_SECONDS", 3600.0)
    integration = await start(polling_interval_seconds=3600)
    task = await run(integration)
    crm.register("first")
    await delivered(integration, 1)

    crm.register("second")
    await delivered(integration, 2)

    integration.poller._stopping.begin()
    await task


async def test_an_arrival_during_a_look_at_what_is_due_is_seen_by_the_next(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "LONGEST_NAP_SECONDS", 3600)
    monkeypatch.setattr(integration.poller.ingest, "send_ahead", None)
    sending = integration.poller.dispatch
    started = sending.start_batches

    async def start_batches(lease: Lease) -> float:
        nap = await started(lease)
        if not crm.events:
            await owe(integration, crm, "ada")
        return nap

    monkeypatch.setattr(sending, "start_batches", start_batches)
    stopping = Stopping()
    task = asyncio.create_task(sending.run(integration.lease, stopping))

    await delivered(integration, 1)
    stopping.begin()
    await task
    assert inventory.owners == ["ada"]


async def test_nothing_is_left_claimed_by_a_claim_whose_answer_was_lost(
    shaky: Integration, fragile: FragileDatabase, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await owe(shaky, crm, "ada")
    claimed = await shaky.database.write(
        claims.claim_fresh, shaky.lease, WELCOME.name, shaky.clock(), 10
    )
    assert len(claimed) == 1

    stopping = Stopping()
    task = asyncio.create_task(shaky.poller.dispatch.run(shaky.lease, stopping))
    await delivered(shaky, 1)

    stopping.begin()
    await task
    assert inventory.owners == ["ada"]


async def test_a_delivery_that_someone_puts_back_is_sent_again(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await owe(integration, crm, "ada")
    await integration.send()
    await integration.database.write(
        change,
        "UPDATE deliveries SET state = 'pending', next_attempt_at = created_at",
    )

    await integration.send()

    assert inventory.batches == [["ada"], ["ada"]]
    assert inventory.owners == ["ada"]
    ada = await integration.delivery("ada")
    assert [attempt.status for attempt in ada.attempts] == [201, 200]
