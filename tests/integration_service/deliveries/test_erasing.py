"""Whom the CRM has erased gets nothing any more, and what was sent is undone; whatever happens."""

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration_service.deliveries import claims, erasures, service
from integration_service.deliveries.models import ErasedCustomer
from integration_service.deliveries.schemas import RetryOrder
from integration_service.deliveries.service import NotRetryable, retry_many
from integration_service.ledger import control
from integration_service.reconcile import comparison as comparing
from integration_service.routes.definitions import WELCOME
from service_kit.web.auth import COMMAND_LINE
from tests.integration_service.conftest import Integration, Log
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    after_effect,
    answers,
    created,
    erased,
    listed,
    raises,
    refuses,
    refuses_each,
)
from tests.integration_service.fragile import FragileDatabase, Killed

DOWN = answers(503)
REFUSED = refuses_each(409, "package-request-conflict")


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 0.0)


async def waiting(integration: Integration) -> list[str]:
    """List whose erasure Inventory is to be told of now."""
    due = await integration.database.read(erasures.due, integration.lease, 100)
    return [row.customer_uid for row in due]


# ---- Before it is sent ----


async def test_who_is_erased_while_it_is_paused_gets_no_package(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await integration.database.write(control.pause, integration.clock(), COMMAND_LINE)
    crm.register("jane", "john")
    await integration.work()
    crm.publish(erased("jane", 3, 41))
    await integration.work()

    row = (await integration.rows())["jane"]
    assert (row.state, row.skip_reason, row.customer_name) == ("skipped", "erased", None)
    await integration.erase()
    assert inventory.erasures == []

    await integration.database.write(control.resume, COMMAND_LINE)
    await integration.work()
    await integration.erase()

    assert inventory.owners == ["john"]
    assert inventory.batches == [["john"]]
    assert inventory.erasures == [["jane", "41"]]
    assert await integration.states() == {"jane": "skipped", "john": "delivered"}


async def test_of_an_erasure_on_the_same_page_nothing_is_sent(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    crm.register("jane")
    crm.publish(erased("jane", 2))

    await integration.work()

    assert inventory.requests == []
    assert await integration.states() == {"jane": "skipped"}
    assert "No package for the erased customer with ID: jane" in log.infos
    assert not any("Found new customer" in line for line in log.infos)


async def test_an_erasure_that_is_told_before_the_creation_counts(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.publish(erased("jane", 1))
    await integration.work()
    await integration.erase()
    crm.publish(created("jane", sequence=2))
    await integration.work()

    row = (await integration.rows())["jane"]
    assert (row.state, row.skip_reason, row.customer_name) == ("skipped", "erased", None)
    assert inventory.requests == []


async def test_a_recovery_that_reads_of_an_erasure_sends_nothing(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    then = "2026-01-05T12:00:00Z"
    crm.register("jane", "john")
    crm.changed["jane"] = listed("jane", then, name="", email="", id=41)
    crm.faults.append(refuses(410, "cursor-expired"))

    await integration.work()
    await integration.erase()

    assert not crm.faults
    assert await integration.states() == {"jane": "skipped", "john": "delivered"}
    assert inventory.erasures == [["jane", "41"]]


# ---- After it was sent, or while it is ----


async def test_a_package_that_was_made_is_undone(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane", "john")
    await integration.work()
    crm.publish(erased("jane", 3, 41))
    await integration.work()
    assert await waiting(integration) == ["jane"]

    await integration.erase()

    rows = await integration.rows()
    assert (rows["jane"].customer_name, rows["jane"].state) == (None, "undone")
    assert rows["jane"].request_id is not None
    assert rows["john"].customer_name is not None
    assert inventory.live == ["john"]
    assert (await integration.status()).deliveries["undone"] == 1


async def test_nothing_more_is_sent_for_one_that_waits_for_another_try(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    inventory.faults.append(after_effect(DOWN))
    inventory.fault = DOWN
    crm.register("jane")
    await integration.work()
    crm.publish(erased("jane", 2))
    await integration.poll()
    tries = len(inventory.requests)
    inventory.fault = None

    integration.clock.advance(minutes=6)
    await integration.send()
    await integration.erase()

    assert len(inventory.requests) == tries > 0
    assert inventory.owners == ["jane"]
    assert inventory.live == []
    assert await integration.states() == {"jane": "undone"}


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (None, "delivered"),
        (DOWN, "retrying"),
        (REFUSED, "dead"),
        (raises(httpx.ReadTimeout("slow")), "retrying"),
        (after_effect(raises(httpx.ReadTimeout("slow"))), "retrying"),
    ],
    ids=["made", "503", "refused", "time-out", "made, time-out"],
)
async def test_what_is_under_way_is_settled_and_then_undone(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    fault: Callable[..., Any] | None,
    state: str,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(double: InventoryDouble, request: httpx.Request) -> httpx.Response | None:
        begun.set()
        await go_on.wait()
        answer = fault(double, request) if fault else None
        assert not asyncio.iscoroutine(answer)
        return answer  # type: ignore[return-value]

    inventory.fault = slow
    crm.register("jane")
    await integration.poll()
    sending = asyncio.create_task(integration.send())
    await asyncio.wait_for(begun.wait(), 20)
    crm.publish(erased("jane", 2))
    await integration.poll()
    assert await waiting(integration) == []

    go_on.set()
    await sending
    row = (await integration.rows())["jane"]
    assert (row.state, row.next_attempt_at) == (state, None)
    await integration.erase()

    assert await integration.states() == {"jane": "undone"}
    assert inventory.live == []
    inventory.make({"customer_id": "jane", "package_type": "welcome_package", "occurrence": 1})
    assert inventory.live == []


async def test_what_a_dead_poller_had_claimed_may_have_arrived_and_is_undone(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane")
    await integration.poll()
    now = integration.clock()
    await integration.database.write(claims.claim_fresh, integration.lease, WELCOME.name, now, 10)
    heir = await integration.restarted()
    crm.publish(erased("jane", 2))

    await heir.work()
    await heir.erase()

    assert inventory.requests == []
    assert await heir.states() == {"jane": "undone"}
    assert inventory.erasures == [["jane"]]
    await heir.die()


async def test_a_claim_whose_commit_was_never_answered_holds_no_erasure_up(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane")
    await integration.poll()
    now = integration.clock()
    await integration.database.write(claims.claim_fresh, integration.lease, WELCOME.name, now, 10)
    crm.publish(erased("jane", 2))
    await integration.poll()
    assert await waiting(integration) == []

    await integration.database.write(claims.unclaim_all, integration.lease, WELCOME.name)
    await integration.erase()

    assert await integration.states() == {"jane": "undone"}
    assert inventory.requests == []


async def test_inventory_may_know_of_an_erasure_first(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    inventory.erased.add("jane")
    crm.register("jane", "john")

    await integration.work()

    assert await integration.states() == {"jane": "undone", "john": "delivered"}
    shown = await integration.delivery("jane")
    assert (shown.error_class, shown.next_attempt_at) == (None, None)
    assert [one.status for one in shown.attempts] == [410]
    assert "Inventory makes no package for the erased customer with ID: jane" in log.infos
    assert log.errors == []


async def test_a_410_that_is_not_inventorys_word_on_the_customer_undoes_nothing(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    gone = {"status": 410, "problem": {"type": "urn:problem:gone"}}
    inventory.faults.append(answers(200, json=[gone]))
    crm.register("jane")

    await integration.work()

    assert not inventory.faults
    assert (await integration.states())["jane"] not in {"undone", "skipped"}


# ---- What operators do ----


@pytest.mark.parametrize("is_dismissed", [False, True])
async def test_a_dead_delivery_of_an_erased_customer_is_not_sent_again(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, is_dismissed: bool
) -> None:
    inventory.fault = REFUSED
    crm.register("jane")
    await integration.work()
    if is_dismissed:
        await integration.database.write(
            service.dismiss, "jane", "By hand.", integration.clock(), COMMAND_LINE
        )
    crm.publish(erased("jane", 2))
    await integration.poll()
    inventory.fault = None

    for told_inventory in (False, True):
        if told_inventory:
            await integration.erase()
        with pytest.raises(NotRetryable):
            await integration.database.write(
                service.retry, "jane", integration.clock(), COMMAND_LINE
            )
        done = await retry_many(integration.database, integration.clock, RetryOrder(), COMMAND_LINE)
        assert (done.matched, done.retried) == (0, 0)
        await integration.send()

    assert inventory.owners == []
    row = (await integration.rows())["jane"]
    expected = ("skipped", "dismissed") if is_dismissed else ("undone", None)
    assert (row.state, row.skip_reason) == expected
    assert (await integration.status()).deliveries["dead"] == 0


# ---- Whatever happens in between ----


@pytest.mark.parametrize(
    "fault",
    [
        raises(httpx.ConnectError("refused")),
        answers(500),
        answers(422, json={"title": "No"}),
        answers(200, json=[]),
        answers(200, json={"erased": 1}),
        answers(200, json={"erased": 1, "customer_ids": [], "dry_run": True}),
    ],
    ids=["refused connection", "500", "422", "another answer", "an older one", "a dry run's"],
)
async def test_a_failure_erases_nobody_and_is_made_good_after_a_restart(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, fault
) -> None:
    crm.register("jane")
    await integration.work()
    crm.publish(erased("jane", 2))
    await integration.work()
    inventory.erasure_faults += [fault] * 3

    assert not await integration.poller.erasing.erase_some(integration.lease)
    assert len(inventory.erasure_faults) < 3
    assert await waiting(integration) == ["jane"]
    assert await integration.states() == {"jane": "delivered"}

    inventory.erasure_faults.clear()
    restarted = await integration.restarted()
    await restarted.erase()
    assert inventory.erasures == [["jane"]]
    assert await restarted.states() == {"jane": "undone"}
    await restarted.die()


@pytest.mark.parametrize("is_committed", [False, True])
async def test_dying_while_it_is_written_down_makes_it_once_more_or_not(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    fragile: FragileDatabase,
    is_committed: bool,
) -> None:
    crm.register("jane")
    await integration.work()
    crm.publish(erased("jane", 2))
    await integration.work()
    integration.poller.erasing._database = fragile
    (fragile.after if is_committed else fragile.before).append(Killed())

    with pytest.raises(Killed):
        await integration.poller.erasing.erase_some(integration.lease)
    heir = await integration.restarted()
    await heir.erase()

    assert inventory.erasures == [["jane"]] * (1 if is_committed else 2)
    assert await heir.states() == {"jane": "undone"}
    assert await waiting(heir) == []
    await heir.die()


async def test_an_erasure_that_fails_keeps_no_package_from_anybody(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    inventory.erasure_faults.append(answers(404))
    zoe = [ErasedCustomer("zoe", None)]
    await integration.database.write(erasures.note, zoe, integration.clock())
    assert not await integration.poller.erasing.erase_some(integration.lease)

    crm.register("ada")
    await integration.work()

    assert inventory.owners == ["ada"]


async def test_while_inventory_is_down_an_erasure_alone_finds_out_when_it_is_back(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    inventory.fault = answers(401)
    crm.register("jane")
    await integration.work()
    crm.publish(erased("jane", 2))
    await integration.poll()
    assert integration.poller.dispatch._circuit.is_open
    inventory.erasure_faults.append(answers(401))

    await integration.erase()
    assert inventory.erasures == []  # not before the next probe is due
    for _ in range(3):
        integration.clock.advance(minutes=2)
        await integration.send()
        await integration.erase()

    assert not inventory.erasure_faults
    assert inventory.erasures == [["jane"]]
    assert await integration.states() == {"jane": "undone"}
    assert not integration.poller.dispatch._circuit.is_open
    assert any(line.startswith("Inventory answers again") for line in log.infos)


@pytest.mark.parametrize("number", [None, "41", True, 0, -1, 1.5, 2**63, [41]])
async def test_an_erasure_counts_without_the_customers_other_id(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, number: Any
) -> None:
    crm.publish(erased("jane", 1, number))
    await integration.work()
    await integration.erase()

    assert inventory.erasures == [["jane"]]


async def test_an_erasure_that_is_told_twice_is_one_and_may_bring_the_other_id(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    for number in (None, 41, None):
        crm.publish(erased("jane", len(crm.events) + 1, number))
    await integration.work()
    await integration.erase()

    assert inventory.erasures == [["jane", "41"]]


# ---- The comparison of both sides ----


async def test_a_restored_inventory_is_found_and_gets_its_erasures_again(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane", "john")
    await integration.work()
    backup = {key: dict(made) for key, made in inventory.packages.items()}
    crm.publish(erased("jane", 3, 41))
    await integration.work()
    await integration.erase()
    crm.changed["jane"] = listed("jane", "2026-01-05T12:00:00Z", name="", email="", id=41)
    assert (await integration.reconcile()).is_exact

    inventory.packages, inventory.erased = backup, set()
    found = await integration.reconcile()
    assert (found.findings["erased"], found.erased, found.is_exact) == (["jane"], 1, False)
    assert inventory.live == ["jane", "john"]

    repaired = await integration.reconcile(repair=True)
    assert repaired.repaired == 1
    await integration.erase()

    assert inventory.live == ["john"]
    assert inventory.erased == {"jane", "41"}
    assert (await integration.reconcile()).is_exact


async def test_that_inventory_remembers_an_erasure_is_compared_without_a_package(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.unwelcome.add("jane")
    crm.publish(created("jane", sequence=1, welcome=False))
    crm.publish(erased("jane", 2, 41))
    await integration.work()
    await integration.erase()
    inventory.erased.discard("41")

    run = await integration.reconcile(repair=True)
    await integration.erase()

    assert (run.findings["erased"], run.customers) == (["jane"], 0)
    assert inventory.erased == {"jane", "41"}


async def test_an_erasure_that_the_ledger_missed_is_found_in_the_crm(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane")
    await integration.work()
    crm.changed["jane"] = listed("jane", "2026-01-05T12:00:00Z", name="", email="", id=41)

    early = await integration.reconcile(repair=True)
    assert (early.findings["waiting"], early.repaired) == (["jane"], 0)
    integration.clock.advance(hours=1)
    comparison = await integration.poller.reconciler.begin("cli", repair=True)
    walk_packages = comparison._walk_packages

    async def read_on() -> None:
        await walk_packages()
        integration.clock.advance(seconds=1)
        await integration.poll()

    comparison._walk_packages = read_on  # type: ignore[method-assign]
    row = await comparison.carry_out()
    await integration.erase()

    assert row.findings["erased"] == ["jane"]
    assert inventory.erasures == [["jane", "41"]]
    assert await integration.states() == {"jane": "undone"}


async def test_a_comparison_waits_until_the_feed_would_have_told_of_an_erasure(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 20.0)
    crm.register("jane")
    await integration.work()
    crm.changed["jane"] = listed("jane", "2026-01-05T12:00:00Z", name="", email="", id=41)
    integration.clock.advance(hours=1)
    comparison = await integration.poller.reconciler.begin("timer", repair=True)

    running = asyncio.create_task(comparison.carry_out())
    await asyncio.wait([running], timeout=0.3)
    is_waiting = not running.done()
    integration.clock.advance(seconds=1)
    await integration.poll()

    assert (await running).findings["erased"] == ["jane"]
    assert is_waiting


async def test_an_erasure_that_waits_is_no_finding(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane", "john")
    await integration.work()
    crm.publish(erased("jane", 3))
    await integration.work()

    run = await integration.reconcile(repair=True)

    assert (run.findings["waiting"], run.erased, run.repaired) == (["jane"], 0, 0)


@pytest.mark.engine("sqlite")
async def test_not_a_byte_of_the_name_is_left_in_the_ledgers_files(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    ledger_url: str,
) -> None:
    def content() -> bytes:
        path = Path(ledger_url.removeprefix("sqlite:///"))
        # In another process: whoever closes a file gives up all locks that its own process has on
        # it, and the next process that uses this ledger would remove its log.
        files = path.parent.glob(f"{path.name}*")
        return subprocess.run(
            ["/bin/cat", *files], check=True, capture_output=True, timeout=10
        ).stdout

    crm.register("jane", "john")
    await integration.work()
    assert b"Customer jane" in content(), "else it would prove nothing"

    crm.publish(erased("jane", 3))
    await integration.work()

    assert b"Customer jane" not in content()
    assert b"Customer john" in content()


async def test_the_other_id_of_an_erasure_from_an_older_version_is_made_up_for(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane")
    crm.publish(erased("jane", 2))
    await integration.work()
    await integration.erase()
    crm.changed["jane"] = listed("jane", "2026-01-05T12:00:00Z", name="", email="", id=41)

    run = await integration.reconcile(repair=True)
    await integration.erase()

    assert (run.is_exact, run.repaired) == (True, 0)
    assert inventory.erasures == [["jane"], ["jane", "41"]]


async def test_a_repair_makes_no_package_for_who_was_erased(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane")
    await integration.work()
    crm.publish(erased("jane", 2))
    await integration.work()
    inventory.packages.clear()

    run = await integration.reconcile(repair=True)
    await integration.work()

    assert (run.missing, run.skipped, run.repaired) == (0, 1, 0)
    assert inventory.owners == []
