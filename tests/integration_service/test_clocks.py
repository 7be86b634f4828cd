"""Clocks that are set forward and back, by hours and days: nothing waits for them to catch up."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from integration_service.deliveries import claims, service
from integration_service.ledger import lease as leases
from integration_service.reconcile import store as reconciliations
from integration_service.targets import failures
from service_kit.web.auth import COMMAND_LINE
from tests.integration_service.conftest import FakeClock, Integration, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble, answers, raises

# By less than what is waited for as well, and by more.
JUMPS = [timedelta(seconds=-30), timedelta(hours=-1), timedelta(days=-30), timedelta(days=30)]
jumps = pytest.mark.parametrize("by", JUMPS, ids=str)
restarts = pytest.mark.parametrize("restarts", [False, True], ids=["goes on", "restarts"])


async def owe(integration: Integration, crm: CrmDouble, *uids: str) -> None:
    crm.register(*uids)
    while await integration.poll() == 0:
        pass


async def jump(integration: Integration, by: timedelta, *, restarts: bool) -> Integration:
    """Set the clock, and look at everything a moment later, as the loops do."""
    integration.clock.jump(seconds=by.total_seconds())
    if restarts:
        integration = await integration.restarted()
    await integration.work()
    return integration


@jumps
@restarts
async def test_what_is_new_is_sent_at_once(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    by: timedelta,
    restarts: bool,
) -> None:
    await owe(integration, crm, "ada")

    integration = await jump(integration, by, restarts=restarts)

    assert await integration.states() == {"ada": "delivered"}
    await integration.die()


@jumps
@restarts
async def test_what_failed_waits_no_longer_than_it_was_to(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    by: timedelta,
    restarts: bool,
) -> None:
    await owe(integration, crm, "ada")
    inventory.faults.append(answers(429, {"Retry-After": "3600"}))
    await integration.send()
    assert await integration.states() == {"ada": "retrying"}

    integration = await jump(integration, by, restarts=restarts)
    clock.advance(minutes=66)
    await integration.send()

    assert await integration.states() == {"ada": "delivered"}
    await integration.die()


@restarts
async def test_what_was_written_while_the_clock_was_ahead_is_not_waited_for(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    restarts: bool,
) -> None:
    await owe(integration, crm, "before", "late")
    inventory.fault = answers(429, {"Retry-After": "60"})
    await integration.send()
    clock.jump(days=10)
    await integration.send()
    await owe(integration, crm, "ahead")
    await integration.database.write(service.retry, "late", clock(), COMMAND_LINE)
    inventory.fault = None

    integration = await jump(integration, timedelta(days=-10), restarts=restarts)
    clock.advance(minutes=2)
    await integration.send()

    assert set((await integration.states()).values()) == {"delivered"}
    await integration.die()


async def test_an_instant_that_nothing_is_put_off_to_is_brought_forward(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await owe(integration, crm, "ada")
    await integration.database.write(
        change, "UPDATE deliveries SET next_attempt_at = '2030-01-01 00:00:00.000000'"
    )
    assert await integration.database.read(claims.has_future_dated, integration.clock())

    await integration.send()

    assert await integration.states() == {"ada": "delivered"}


@jumps
@restarts
@pytest.mark.parametrize("fault", [answers(401), raises(httpx.ConnectError("No."))])
async def test_an_open_circuit_is_probed_no_later_than_it_was_to_be(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    by: timedelta,
    restarts: bool,
    fault: Callable[..., httpx.Response],
) -> None:
    await owe(integration, crm, "ada")
    inventory.fault = fault
    for _ in range(5):
        await integration.send()
        clock.advance(minutes=6)
    await integration.send()
    assert (await integration.status()).circuits["inventory"].state == "open"

    integration = await jump(integration, by, restarts=restarts)
    inventory.fault = None
    clock.advance(seconds=60)
    await integration.send()

    assert await integration.states() == {"ada": "delivered"}
    assert (await integration.status()).circuits["inventory"].state == "closed"
    await integration.die()


@jumps
@restarts
async def test_a_crm_that_is_restored_after_the_jump_is_recovered_from(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    by: timedelta,
    restarts: bool,
) -> None:
    crm.register("ada")
    await integration.work()
    crm.epoch = "b"
    await integration.work()  # has recovered once
    assert (await integration.status()).feed.recoveries == 1

    integration = await jump(integration, by, restarts=restarts)
    crm.epoch = "c"
    crm.register("bob")
    clock.advance(seconds=120 if by > -timedelta(minutes=1) else 0)
    await integration.work()

    assert (await integration.status()).feed.recoveries == 2
    assert inventory.owners == ["ada", "bob"]
    await integration.die()


@pytest.mark.parametrize("seconds", [15, 60])
async def test_a_lease_of_a_clock_set_back_is_no_longer_than_a_lease(
    integration: Integration, seconds: float
) -> None:
    """PostgreSQL's own clock, which decides about leases, was set back by an hour."""
    database = integration.database
    await database.write(leases.renew, integration.lease, seconds)
    now = await database.read(leases.now_of)
    ahead = (now + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
    await database.write(change, f"UPDATE poller SET lease_until = '{ahead}'")  # noqa: S608

    # Its holder may live: nobody takes it away, whatever his own leases are.
    assert await database.write(leases.take, "other", 15, is_alone=False) is None
    until = (await integration.status()).poller.lease_until
    assert until is not None
    assert until <= await database.read(leases.now_of) + timedelta(seconds=seconds)
    again = await database.write(leases.take, "other", 15, is_alone=False)
    assert again is None
    assert (await integration.status()).poller.lease_until == until
    await database.write(leases.renew, integration.lease, seconds)


@pytest.mark.parametrize("state", ["finished", "failed", "running"])
async def test_a_comparison_is_due_though_the_last_one_has_begun_in_the_future(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    monkeypatch.setattr(reconciliations, "now_of", lambda _: clock())
    database, due_in = integration.database, reconciliations.due_in
    run = await database.write(reconciliations.begin, "timer", repair=True)
    assert run is not None
    if state != "running":
        await database.write(reconciliations.finish, run.id, {"state": state})

    clock.jump(days=-3)
    assert await database.read(due_in, 3600, 300) == 0
    begun = await database.write(reconciliations.begin, "timer", repair=True)
    if state == "running":  # it may live; if it does not, it shows within a minute
        assert begun is None
        assert await database.read(due_in, 3600, 300) == 60
        clock.advance(seconds=61)
        begun = await database.write(reconciliations.begin, "timer", repair=True)
    assert begun is not None


@pytest.mark.parametrize("by", [timedelta(days=-3), timedelta(days=3)], ids=str)
def test_a_date_to_come_back_at_is_read_by_the_clock_of_who_says_it(by: timedelta) -> None:
    theirs = datetime.now(UTC) + by
    headers = httpx.Headers(
        {
            "Date": format_datetime(theirs, usegmt=True),
            "Retry-After": format_datetime(theirs + timedelta(seconds=90), usegmt=True),
        }
    )

    assert failures.classify_answer(503, headers, None).retry_after == 90
