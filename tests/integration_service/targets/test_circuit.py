"""An Inventory that can't be used: it is left alone, nobody pays for it, and it is found again."""

import asyncio
import json
from collections import Counter

import httpx
import pytest

from service_kit.database import Database
from tests.integration_service.conftest import FakeClock, Integration, Log, Start, change
from tests.integration_service.doubles import (
    CrmDouble,
    Fault,
    InventoryDouble,
    answers,
    customers_in,
    raises,
    refuses,
    refuses_each,
)

# A circuit's rules are the same on both; test_law tries all of it together on each.
pytestmark = pytest.mark.engine("sqlite")

DOWN = answers(500)


async def owe(integration: Integration, crm: CrmDouble, *uids: str) -> None:
    crm.register(*uids)
    while await integration.poll() == 0:
        pass


async def fail(integration: Integration, times: int) -> None:
    """Have all that is owed fail so many times, long enough after one another."""
    for _ in range(times):
        await integration.send()
        integration.clock.advance(minutes=6)


async def circuit_of(integration: Integration) -> str:
    return (await integration.status()).circuits["inventory"].state


async def attempts(integration: Integration) -> dict[str, int]:
    return {uid: row.attempt_count for uid, row in (await integration.rows()).items()}


async def test_it_opens_after_five_transient_failures_in_a_row(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = DOWN

    await fail(integration, 4)
    assert await circuit_of(integration) == "closed"
    assert not any("can't be reached" in line for line in log.warnings)

    await integration.send()
    circuit = (await integration.status()).circuits["inventory"]
    assert (circuit.state, circuit.opened_at) == ("open", integration.clock())
    assert (circuit.error_class, circuit.error) == ("transient", "it answered 500: no details")
    assert len([line for line in log.warnings if "Inventory can't be reached" in line]) == 1
    assert await attempts(integration) == {"ada": 5}


async def test_a_success_between_starts_the_count_again(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = lambda _, request: (
        httpx.Response(503, headers={"Retry-After": "1"})
        if "ada" in customers_in(request)
        else None
    )

    for uid in ("bob", "cid", "dan"):
        await fail(integration, 4)
        await owe(integration, crm, uid)
        await integration.send()

    assert await circuit_of(integration) == "closed"
    assert Counter((await integration.states()).values()) == {"retrying": 1, "delivered": 3}


async def test_probes_go_out_at_growing_intervals_and_count_as_no_attempt(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "ada", "bob")
    inventory.fault = DOWN
    await fail(integration, 4)
    await integration.send()
    opened_at, before = clock(), len(inventory.requests)

    probed_at = []
    for _ in range(250):
        clock.advance(seconds=1)
        await integration.send()
        if len(inventory.requests) > before + len(probed_at):
            probed_at.append(clock())

    gaps = [
        (later - earlier).total_seconds()
        for earlier, later in zip([opened_at, *probed_at], probed_at, strict=False)
    ]
    # Up to a tenth sooner, so that several integrations do not come together.
    for gap, longest in zip(gaps, [5, 10, 20, 40, 60, 60], strict=False):
        assert 0.9 * longest <= gap <= longest
    assert len(gaps) >= 6
    assert {len(batch) for batch in inventory.batches[before:]} == {1}
    # The fifth failure was of one of them alone; none after it is counted.
    assert Counter((await attempts(integration)).values()) == {4: 1, 5: 1}
    tried = {len((await integration.delivery(uid)).attempts) for uid in ("ada", "bob")}
    assert tried == {4, 5}


async def test_a_probe_is_tried_once(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = raises(httpx.ConnectError("refused"))
    await fail(integration, 5)
    assert await circuit_of(integration) == "open"
    before = len(inventory.requests)

    await integration.send()

    assert len(inventory.requests) == before + 1


async def test_a_probe_takes_the_least_tried_delivery(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "ada", "bob")
    inventory.fault = DOWN
    await fail(integration, 5)
    before = await attempts(integration)
    await owe(integration, crm, "new")

    await integration.send()

    assert inventory.batches[-1] == ["new"]
    assert await attempts(integration) == {**before, "new": 0}


async def test_when_it_answers_again_all_that_was_held_is_due_at_once(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
) -> None:
    await owe(integration, crm, *(f"c{n}" for n in range(10)))
    inventory.fault = DOWN
    await fail(integration, 5)
    assert await circuit_of(integration) == "open"
    await integration.database.write(
        change,
        "UPDATE deliveries SET next_attempt_at = '2030-01-01 00:00:00.000000'",
    )

    inventory.fault = None
    clock.advance(seconds=5)
    await integration.send()

    assert set((await integration.states()).values()) == {"delivered"}
    assert inventory.owners == sorted(f"c{n}" for n in range(10))
    assert await circuit_of(integration) == "closed"
    assert "Inventory answers again; 9 deliveries are due at once." in log.infos


async def test_new_customers_wait_while_it_is_open_and_are_found_all_the_same(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = DOWN
    await fail(integration, 4)
    await integration.send()
    before = len(inventory.requests)

    await owe(integration, crm, *(f"c{n}" for n in range(50)))
    await integration.send()

    assert len(inventory.requests) == before
    assert Counter((await integration.states()).values()) == {"retrying": 1, "pending": 50}


async def test_batches_under_way_when_it_opens_do_not_put_off_the_first_probe(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    integration = await start(batch_size=1, delivery_concurrency=8)
    await owe(integration, crm, *(f"c{n}" for n in range(8)))
    together = asyncio.Barrier(8)

    async def fail_together(_double: InventoryDouble, _request: httpx.Request) -> httpx.Response:
        await together.wait()
        return httpx.Response(500)

    inventory.fault = fail_together
    await integration.send()
    assert await circuit_of(integration) == "open"

    inventory.fault = None
    clock.advance(seconds=5)
    await integration.send()

    assert set((await integration.states()).values()) == {"delivered"}


@pytest.mark.parametrize("hours", [1, 100, 10_000])
async def test_an_outage_of_any_length_kills_no_delivery(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    hours: int,
) -> None:
    await owe(integration, crm, "ada", "bob")
    inventory.fault = DOWN
    await fail(integration, 5)
    await owe(integration, crm, "new")

    for _ in range(5):
        clock.advance(hours=hours / 5)
        await integration.send()
    assert Counter((await integration.states()).values()) == {"retrying": 2, "pending": 1}

    # It answers again, but not yet to all: what has failed before goes on with its clock.
    inventory.fault = lambda _, request: (
        None if "new" in customers_in(request) else httpx.Response(500)
    )
    clock.advance(minutes=6)
    await integration.send()
    assert await circuit_of(integration) == "closed"
    clock.advance(minutes=6)
    await integration.send()
    states = await integration.states()
    assert states == {"ada": "retrying", "bob": "retrying", "new": "delivered"}

    inventory.fault = None
    clock.advance(minutes=6)
    await integration.send()
    assert set((await integration.states()).values()) == {"delivered"}


async def test_72_hours_of_a_link_that_answers_make_a_failing_delivery_dead(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
) -> None:
    await owe(integration, crm, "bad", "ada")
    inventory.fault = lambda _, request: (
        httpx.Response(503, headers={"Retry-After": "1"}, json={"detail": "Not yet."})
        if "bad" in customers_in(request)
        else None
    )
    await integration.send()
    for hour in range(6, 72, 6):
        await owe(integration, crm, f"c{hour}")  # the link answers: others get theirs
        clock.advance(hours=6)
        await integration.send()
    clock.advance(hours=5, minutes=59)
    await integration.send()
    assert (await integration.states())["bad"] == "retrying"
    assert await circuit_of(integration) == "closed"

    clock.advance(minutes=7)
    await integration.send()

    bad = await integration.delivery("bad")
    assert (bad.state, bad.error_class) == ("dead", "transient")
    assert bad.error == "it answered 503: Not yet."
    assert bad.attempt_count == len(bad.attempts) == 14
    assert len([line for line in log.errors if "customer ID: bad is dead" in line]) == 1
    assert Counter((await integration.states()).values()) == {"dead": 1, "delivered": 12}


async def test_time_that_the_link_was_down_does_not_age_a_delivery(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "bad")
    inventory.fault = DOWN
    await fail(integration, 5)  # opened at minute 24, so of age that much
    clock.advance(hours=1000)
    assert integration.poller.targets.inventory.circuit.tried() == 24 * 60
    inventory.faults.append(lambda *_: None)
    await owe(integration, crm, "ada")
    await integration.send()
    assert await circuit_of(integration) == "closed"

    clock.advance(hours=71)
    await integration.send()
    assert (await integration.states())["bad"] == "retrying"

    clock.advance(hours=1)
    await integration.send()
    assert (await integration.states())["bad"] == "retrying"  # tried eight times only
    await fail(integration, 3)
    assert (await integration.states())["bad"] == "dead"
    assert (await attempts(integration))["bad"] == 10


async def test_own_downtime_does_not_age_a_delivery(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    """One failure, four days switched off, one more: it was dead after two attempts."""
    await owe(integration, crm, "bad")
    inventory.fault = answers(429)
    await integration.send()

    for _ in range(12):
        await integration.die()
        clock.advance(days=4)
        integration = await integration.restarted()
        await integration.send()
        clock.advance(minutes=6)

    bad = await integration.delivery("bad")
    assert (bad.state, bad.attempt_count) == ("retrying", 13)
    await integration.die()


async def test_time_tried_is_remembered_over_a_restart_whatever_the_clock_was_set_to(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "bad", "ada")
    inventory.fault = lambda _, request: (
        httpx.Response(429) if "bad" in customers_in(request) else None
    )
    await fail(integration, 8)

    for hours, jump in [(24, -10_000), (24, 20_000), (22, -300)]:
        clock.advance(hours=hours)
        await owe(integration, crm, f"c{jump}")
        await integration.send()
        clock.jump(hours=jump)
        integration = await integration.restarted()
        await integration.send()
    assert (await integration.states())["bad"] == "retrying"

    clock.advance(hours=2)
    await integration.send()
    assert (await integration.states())["bad"] == "dead"
    await integration.die()


async def test_time_tried_is_remembered_though_but_one_of_a_batch_has_failed(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "ada", "bad")
    clock.advance(hours=1)
    inventory.faults.append(
        lambda double, request: httpx.Response(
            200,
            json=[
                {"status": 503} if item["customer_id"] == "bad" else double.make(item)
                for item in json.loads(request.content)
            ],
        )
    )
    await integration.send()
    assert await integration.states() == {"ada": "delivered", "bad": "retrying"}

    restarted = await integration.restarted()

    assert restarted.poller.targets.inventory.circuit.tried() == 3600
    await restarted.die()


async def test_an_open_circuit_survives_a_restart_and_is_probed_at_once(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
) -> None:
    await owe(integration, crm, "ada", "bob")
    inventory.fault = DOWN
    await fail(integration, 5)
    opened_at = (await integration.status()).circuits["inventory"].opened_at
    before, counted = len(inventory.requests), await attempts(integration)
    log.clear()

    restarted = await integration.restarted()
    clock.advance(hours=100)
    await restarted.send()

    circuit = (await restarted.status()).circuits["inventory"]
    assert (circuit.state, circuit.opened_at) == ("open", opened_at)
    assert len(inventory.requests) == before + 1
    assert await attempts(restarted) == counted
    # Whoever reads this process's log alone learns of it too.
    assert len([line for line in log.warnings if "Inventory can't be reached" in line]) == 1

    inventory.fault = None
    clock.advance(seconds=60)
    await restarted.send()
    assert set((await restarted.states()).values()) == {"delivered"}
    assert (await restarted.status()).circuits["inventory"].state == "closed"
    await restarted.die()


async def test_that_the_crm_was_down_is_remembered_over_a_restart(
    integration: Integration, crm: CrmDouble, log: Log
) -> None:
    crm.faults.append(DOWN)
    await integration.poll()
    assert (await integration.status()).circuits["crm"].state == "open"
    restarted = await integration.restarted()

    await restarted.poll()

    assert "The CRM answers again." in log.infos
    assert (await restarted.status()).circuits["crm"].state == "closed"
    await restarted.die()


async def test_time_down_is_remembered_over_a_restart(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "bad")
    inventory.fault = DOWN
    await fail(integration, 5)
    restarted = await integration.restarted()
    clock.advance(hours=1000)
    await owe(restarted, crm, "ada")
    inventory.faults.append(lambda *_: None)
    await restarted.send()
    again = await restarted.restarted()
    clock.advance(hours=71)

    await again.send()

    assert await again.states() == {"bad": "retrying", "ada": "delivered"}
    await again.die()


async def test_a_wrong_token_is_told_once_and_healed_without_a_restart(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = refuses(401, "not-authenticated", "Send a valid token.")

    for _ in range(20):
        await integration.send()
        clock.advance(minutes=1)

    [error] = log.errors
    assert error.startswith("Inventory can't be used: it answered 401: Send a valid token.")
    assert "Set INVENTORY_API_TOKEN to a valid token of its role integration." in error
    assert log.warnings == []
    assert await attempts(integration) == {"ada": 0}

    inventory.fault = None
    clock.advance(minutes=1)
    await integration.send()
    assert await integration.states() == {"ada": "delivered"}


async def test_a_restart_with_another_wrong_token_tells_it_again(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = refuses(403, "scope-missing")
    await integration.send()
    log.clear()

    restarted = await integration.restarted()
    await restarted.send()

    assert len(log.errors) == 1
    assert "INVENTORY_API_TOKEN" in log.errors[0]
    await restarted.die()


async def test_an_outage_that_turns_into_a_wrong_address_is_told_again(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = DOWN
    await fail(integration, 5)
    assert log.errors == []

    inventory.fault = answers(404)
    await fail(integration, 3)

    assert len(log.errors) == 1
    assert "Check INVENTORY_API_URL." in log.errors[0]


async def test_a_refused_probe_shows_that_inventory_answers(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = DOWN
    await fail(integration, 5)

    inventory.fault = refuses_each(422, "invalid-request")
    clock.advance(seconds=60)
    await integration.send()

    assert await integration.states() == {"ada": "dead"}
    assert await circuit_of(integration) == "closed"


@pytest.mark.parametrize(
    "page", [answers(403, html="<p>Blocked"), answers(500)], ids=["foreign page", "500"]
)
async def test_a_delivery_that_fails_as_a_probe_does_not_stand_for_all(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    page: Fault,
) -> None:
    """A filter in between that dislikes one name, say, or an Inventory that fails over it."""
    await owe(integration, crm, "ada", "bob")
    inventory.fault = DOWN
    await fail(integration, 5)
    await owe(integration, crm, "bad")
    inventory.fault = lambda double, request: (
        page(double, request) if "bad" in customers_in(request) else None
    )

    for _ in range(3):
        clock.advance(minutes=6)
        await integration.send()

    assert ["bad"] in inventory.batches
    states = await integration.states()
    assert (states.pop("ada"), states.pop("bob")) == ("delivered", "delivered")
    assert states["bad"] in {"pending", "retrying"}


def spoils_its_batch(_double: InventoryDouble, request: httpx.Request) -> httpx.Response | None:
    return httpx.Response(500) if "bad" in customers_in(request) else None


@pytest.mark.parametrize("others", [2, 40, 240])
async def test_a_poisonous_delivery_is_soon_alone_and_stops_nobody(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock, others: int
) -> None:
    integration = await start(batch_size=100)
    inventory.fault = spoils_its_batch
    uids = [f"c{n}" for n in range(others)]
    await owe(integration, crm, *uids[: others // 2], "bad", *uids[others // 2 :])

    rounds = 0
    while Counter((await integration.states()).values()) != {"retrying": 1, "delivered": others}:
        await integration.send()
        clock.advance(seconds=60)
        rounds += 1
        assert rounds < 12
    await fail(integration, 20)

    assert inventory.owners == sorted(uids)
    assert (await integration.states())["bad"] == "retrying"
    assert inventory.batches[-10:] == [["bad"]] * 10
    assert await circuit_of(integration) == "closed"

    # Whoever comes now does not notice it.
    await owe(integration, crm, "new")
    await integration.send()
    assert (await integration.states())["new"] == "delivered"
    assert (await attempts(integration))["new"] == 1


async def alone_with_poison(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    """Have everybody delivered but one that fails for itself."""
    inventory.fault = spoils_its_batch
    await owe(integration, crm, "bad", "ada")
    await fail(integration, 8)
    assert await integration.states() == {"bad": "retrying", "ada": "delivered"}


async def test_a_poisonous_delivery_does_not_open_the_circuit_after_a_restart_either(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await alone_with_poison(integration, crm, inventory)

    restarted = await integration.restarted()
    await fail(restarted, 10)

    assert await circuit_of(restarted) == "closed"
    await owe(restarted, crm, "new")
    await restarted.send()
    assert (await restarted.states())["new"] == "delivered"
    await restarted.die()


async def test_an_outage_ends_though_nothing_but_a_poisonous_delivery_is_left(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    await alone_with_poison(integration, crm, inventory)
    inventory.fault = raises(httpx.ConnectError("refused"))
    await fail(integration, 6)
    assert await circuit_of(integration) == "open"
    inventory.fault = spoils_its_batch
    before = len(inventory.requests)

    for _ in range(5):
        clock.advance(minutes=6)
        await integration.send()

    # Neither is Inventory asked without end, nor does it count as down for everybody else.
    assert len(inventory.requests) - before <= 6
    await owe(integration, crm, "new")
    await integration.send()
    assert (await integration.states())["new"] == "delivered"


async def test_a_storm_of_retries_leaves_a_place_for_a_new_customer(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    integration = await start(batch_size=1, delivery_concurrency=4)
    await owe(integration, crm, *(f"c{n}" for n in range(12)))
    await integration.database.write(
        change, "UPDATE deliveries SET state = 'retrying', attempt_count = 1"
    )
    await owe(integration, crm, "new")
    under_way: list[set[str]] = []
    now: set[str] = set()

    async def slow(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        [uid] = customers_in(request)
        now.add(uid)
        for _ in range(30):  # until everything that can be started has been
            await asyncio.sleep(0.001)
        under_way.append(set(now))
        now.discard(uid)
        return double.carry_out(request)

    inventory.fault = slow
    await integration.send()

    retried = [uids - {"new"} for uids in under_way]
    assert max(len(uids) for uids in retried) == 3
    assert any("new" in uids for uids in under_way[:4])
    assert set((await integration.states()).values()) == {"delivered"}


async def test_a_target_of_which_nothing_is_stored_yet_has_its_circuit_from_now_on(
    start: Start, database: Database, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await database.write(change, "UPDATE links SET target = 'fax' WHERE target = 'inventory'")
    integration = await start()
    await owe(integration, crm, "ada")
    inventory.fault = DOWN

    await fail(integration, 5)

    circuits = (await integration.status()).circuits
    assert (circuits["fax"].state, circuits["inventory"].state) == ("closed", "open")
