"""The comparison of both sides: exactly what is wrong, no false alarm, and nothing twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from integration_service.app import create_app
from integration_service.deliveries import erasures
from integration_service.deliveries.models import Arrival, ErasedCustomer
from integration_service.reconcile import comparison as comparing
from integration_service.reconcile import keys as reconcile_keys
from integration_service.reconcile import store as reconciliations
from integration_service.reconcile.schemas import CONFIRM_COMMAND
from integration_service.reconcile.service import AlreadyRunning
from integration_service.reconcile.store import RunLost
from integration_service.settings import Settings
from integration_service.targets import http
from service_kit.process.stopping import Stopping
from service_kit.web.auth import COMMAND_LINE
from tests.conftest import running
from tests.integration_service.conftest import FakeClock, Integration, Log, Start, change
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    answers,
    erased,
    listed,
    refuses_each,
)
from tests.inventory_api.conftest import keeps_its_word

WELCOME = "welcome_package"
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(comparing, "RECHECK_SECONDS", 0.0)


@pytest.fixture
async def served(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> Integration:
    """Four customers who have their packages since an hour."""
    crm.register("ada", "bob", "cid", "dan")
    await integration.work()
    clock.advance(hours=1)
    return integration


def lose(inventory: InventoryDouble, *uids: str) -> None:
    """Be an Inventory that was restored from before these packages."""
    for uid in uids:
        del inventory.packages[uid, WELCOME, 1]


async def test_all_is_well(served: Integration, log: Log) -> None:
    run = await served.reconcile()

    assert run.is_exact
    assert (run.state, run.customers, run.packages) == ("finished", 4, 4)
    assert run.findings == {
        "missing": [],
        "extra": [],
        "double": [],
        "erased": [],
        "waiting": [],
    }
    assert (
        "Reconciled 4 customers with 4 package requests: 0 missing, 0 extra, 0 double, 0 erased; "
        "0 enqueued." in log.infos
    )
    assert (await served.status()).reconcile == run
    assert await seen(served) == []


async def seen(integration: Integration) -> list[Any]:
    """Return what comparisons have left in the database of what they have seen."""
    keys = reconcile_keys._KEYS.select()
    return await integration.database.read(lambda db: list(db.execute(keys)))


async def test_it_finds_what_is_missing_extra_and_double_page_by_page(
    served: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http.read_page, "__kwdefaults__", {"limit": 2})
    monkeypatch.setattr(comparing, "JUDGED_AT_ONCE", 1)
    lose(inventory, "bob", "dan")
    inventory.make({"customer_id": "ada", "package_type": WELCOME, "occurrence": 2})
    inventory.make({"customer_id": "cid", "package_type": "other", "occurrence": 1})
    for phantom in ("1", "a/b?c=%", "zoe"):
        inventory.make({"customer_id": phantom, "package_type": WELCOME, "occurrence": 1})

    run = await served.reconcile()

    assert run.findings == {
        "missing": ["bob", "dan"],
        "extra": ["1", "a/b?c=%", "zoe"],
        "double": ["ada"],
        "erased": [],
        "waiting": [],
    }
    assert (run.missing, run.extra, run.double, run.repaired) == (2, 3, 1, 0)
    assert not run.is_exact
    assert len(log.errors) == 1
    assert await served.states() == dict.fromkeys(("ada", "bob", "cid", "dan"), "delivered")


async def test_a_cancelled_package_is_neither_extra_nor_double_nor_missing(
    served: Integration, inventory: InventoryDouble
) -> None:
    for customer, occurrence in (("ada", 2), ("zoe", 1)):
        inventory.make({"customer_id": customer, "package_type": WELCOME, "occurrence": occurrence})
    assert (await served.reconcile()).findings["double"] == ["ada"]

    for identity in (("ada", WELCOME, 2), ("zoe", WELCOME, 1), ("bob", WELCOME, 1)):
        inventory.packages[identity]["status"] = "cancelled"

    run = await served.reconcile(repair=True)
    assert run.is_exact
    assert run.repaired == 0


async def test_repair_sends_again_what_inventory_has_lost(
    served: Integration, inventory: InventoryDouble
) -> None:
    lose(inventory, "bob", "dan")

    run = await served.reconcile(repair=True)
    assert (run.missing, run.repaired) == (2, 2)
    await served.send()

    assert inventory.owners == ["ada", "bob", "cid", "dan"]
    assert inventory.batches[-1] == ["bob", "dan"]
    assert (await served.reconcile()).is_exact
    bob = await served.delivery("bob")
    assert (bob.state, bob.attempt_count, len(bob.attempts)) == ("delivered", 1, 2)
    feed = await served.database.read(lambda db: db.exec_driver_sql("SELECT repairs FROM poller"))
    assert feed.scalar_one() == 2


async def test_who_is_erased_after_it_was_judged_is_not_repaired(integration: Integration) -> None:
    database, now = integration.database, integration.clock()
    run = await database.write(reconciliations.begin, "cli", repair=True)
    assert run is not None
    await database.write(erasures.note, [ErasedCustomer("jane", None)], now)

    absent = [Arrival("jane", "Jane", 0), Arrival("ada", "Ada", 0)]

    assert await database.write(reconciliations.repair, run.id, absent, now) == 1
    assert await integration.states() == {"ada": "pending"}


async def test_repair_finds_customers_whom_the_ledger_does_not_know(
    served: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    lose(inventory, "ada", "bob")
    await served.database.write(
        change,
        "DELETE FROM attempts",
        "DELETE FROM deliveries WHERE subject IN ('ada', 'bob')",
    )
    then, now = "2026-01-05T12:00:00Z", "2026-01-05T12:30:00Z"
    crm.changed["bob"] = listed("bob", then, name="Robert", updated_at=now)
    # As if the poller looked once more while both lists were read.
    await served.database.write(
        change, "UPDATE poller SET caught_up_at = '2030-01-01 00:00:00.000000'"
    )

    run = await served.reconcile(repair=True)
    assert run.findings["missing"] == ["ada", "bob"]
    await served.send()

    sent = {one["customer_id"]: one.get("customer_name") for one in inventory.packages.values()}
    # Inventory may have a request under the first name, and takes no other for it.
    assert (sent["ada"], sent["bob"]) == ("Customer ada", None)
    assert (await served.reconcile()).is_exact


async def test_what_is_on_its_way_is_not_missing(
    served: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("eve")
    inventory.fault = answers(429)
    await served.work()
    crm.register("fay")

    run = await served.reconcile(repair=True)

    # fay is in the CRM's list, and the feed is not read that far.
    assert (run.missing, run.waiting, run.repaired) == (0, 2, 0)
    assert run.findings["waiting"] == ["eve", "fay"]
    assert not run.is_exact


async def test_who_is_added_while_both_lists_are_read_is_no_false_alarm(
    served: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 10.0)
    read = served.poller.reconciler._sides.inventory.requests

    async def meanwhile(package_type: str, cursor: str | None) -> Any:
        crm.register("late")  # has a package, and is not among the customers that were read
        await served.work()
        page = await read(package_type, cursor)
        monkeypatch.setattr(served.poller.reconciler._sides.inventory, "requests", read)
        return page

    crm.register("eve")  # is read, and has no package yet
    monkeypatch.setattr(served.poller.reconciler._sides.inventory, "requests", meanwhile)

    run = await served.reconcile()

    assert run.is_exact, run


async def test_who_gets_a_package_while_the_customers_are_read_has_it(
    served: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = served.poller.reconciler._sides.crm
    read = client.customers

    async def take_long(*args: Any, **options: Any) -> Any:
        page = await read(*args, **options)
        await served.work()
        clock.advance(minutes=5)
        return page

    crm.register("eve")
    monkeypatch.setattr(client, "customers", take_long)

    run = await served.reconcile()

    assert run.is_exact, run


async def test_it_waits_for_the_feed_and_for_what_is_under_way(
    served: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 10.0)
    crm.register("eve")
    comparison = await served.poller.reconciler.begin("cli", repair=False)
    comparing_ = asyncio.create_task(comparison.carry_out())
    await _until_it_waits(served)
    clock.advance(seconds=1)

    await served.work()

    run = await comparing_
    assert run.counts["missing"] == run.counts["waiting"] == 0


async def _until_it_waits(integration: Integration) -> None:
    """Wait until a comparison has told the poller to look, of which it hears nothing here."""
    before = (await integration.database.read(_wakes)) or 0
    async with asyncio.timeout(10):
        while await integration.database.read(_wakes) == before:
            await asyncio.wait([integration.database.committed.next()], timeout=0.05)


def _wakes(db: Any) -> int:
    return int(db.exec_driver_sql("SELECT wake_count FROM poller").scalar_one())


async def test_dead_ones_are_missing_and_left_to_those_who_retry(
    served: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("eve")
    inventory.faults.append(refuses_each(422, "invalid-request"))
    await served.work()

    run = await served.reconcile(repair=True)

    assert (run.findings["missing"], run.repaired) == (["eve"], 0)
    assert (await served.states())["eve"] == "dead"


async def test_who_was_skipped_or_erased_is_no_alarm(
    served: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    lose(inventory, "ada")
    await served.database.write(
        change, "UPDATE deliveries SET state = 'skipped' WHERE subject = 'ada'"
    )
    then = "2026-01-05T12:00:00Z"
    crm.changed["bob"] = listed("bob", then, name="", email="", updated_at="2026-01-05T12:59:00Z")
    crm.publish(erased("bob", 5))
    await served.work()
    await served.erase()

    run = await served.reconcile(repair=True)

    assert run.is_exact
    assert (run.skipped, run.repaired) == (1, 0)


async def test_who_is_to_have_none_is_neither_missing_nor_extra(
    served: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.unwelcome |= {"ada", "bob"}
    lose(inventory, "ada")  # bob has one, as somebody asked for it by hand

    run = await served.reconcile(repair=True)

    assert run.is_exact
    assert (run.customers, run.repaired) == (2, 0)


async def test_customers_from_before_a_start_with_now_are_not_owed(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    crm.register("old")
    clock.advance(days=1)
    integration = await start(start_from="now")
    await integration.work()
    clock.advance(days=1)
    crm.publish({**_created_at(crm, clock), "subject": "new"})
    await integration.work()
    clock.advance(days=1)

    run = await integration.reconcile(repair=True)

    assert inventory.owners == ["new"]
    assert run.is_exact
    assert (run.not_owed, run.repaired) == (1, 0)


async def test_who_is_owed_a_package_is_not_guessed_before_the_first_look_decides_it(
    start: Start,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 10.0)
    crm.register("old")
    integration = await start(start_from="now")
    comparison = await integration.poller.reconciler.begin("cli", repair=True)
    comparing_ = asyncio.create_task(comparison.carry_out())
    await _until_it_waits(integration)
    clock.advance(seconds=1)

    await integration.work()  # which begins behind `old`

    run = await comparing_
    assert (run.counts["waiting"], run.counts["missing"], run.repaired) == (1, 0, 0)
    await integration.work()
    assert inventory.owners == []


def _created_at(crm: CrmDouble, clock: FakeClock) -> dict[str, Any]:
    crm.register("template")
    event: dict[str, Any] = crm.events.pop()
    return event | {"time": clock().isoformat()}


async def test_one_runs_at_a_time_and_a_dead_one_is_succeeded(
    served: Integration, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = await served.poller.reconciler.begin("timer", repair=True)
    await served.database.write(reconcile_keys.saw_packages, dead.run, ["left behind"])
    with pytest.raises(AlreadyRunning):
        await served.poller.reconciler.begin("cli", repair=False)

    await served.database.write(
        change, "UPDATE reconciliations SET alive_until = '2020-01-01 00:00:00'"
    )
    run = await served.reconcile()

    assert run.is_exact
    assert run.id > dead.run
    row = await served.database.read(reconciliations.find, dead.run)
    assert row is not None
    assert (row.state, row.error) == ("failed", "Its process ended.")
    # It goes on, and is told that it may not.
    with pytest.raises(RunLost):
        await dead.carry_out()
    assert (await served.status()).reconcile == run
    assert await seen(served) == []


WRITES: dict[str, Callable[[Connection, int], Any]] = {
    "customers": lambda db, run: reconcile_keys.saw_customers(db, run, []),
    "packages": lambda db, run: reconcile_keys.saw_packages(db, run, ["ada"]),
    "erasures": lambda db, run: reconcile_keys.saw_erasures(db, run, 0, 10),
    "absent": lambda db, run: reconcile_keys.are_absent(db, run, ["ada"]),
    "repair": lambda db, run: reconciliations.repair(db, run, [Arrival("eve", None, 0)], NOW),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_no_write_of_a_run_that_has_ended_changes_anything(
    integration: Integration, write: Callable[[Connection, int], Any]
) -> None:
    database = integration.database
    run = await database.write(reconciliations.begin, "cli", repair=True)
    assert run is not None
    await database.write(reconciliations.finish, run.id, {"state": "failed"})

    with pytest.raises(RunLost):
        await database.write(write, run.id)

    assert await seen(integration) == []
    assert await integration.states() == {}


async def test_a_far_side_that_fails_fails_it_and_the_next_is_as_good(
    served: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    for fault in (answers(401), answers(200, json={"no": "list"}), answers(200, json=[{"uid": 1}])):
        crm.list_faults.append(fault)
        with pytest.raises(comparing.CallFailed):
            await served.reconcile()
    last = (await served.status()).reconcile
    assert last is not None
    assert last.state == "failed"
    assert last.error is not None
    assert not last.is_exact

    assert (await served.reconcile()).is_exact


async def test_the_timer_compares_and_repairs_when_it_is_time(
    start: Start,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciliations, "now_of", lambda _: clock())
    integration = await start(reconcile_interval_seconds=3600)
    crm.register("ada")
    await integration.work()
    due_in = reconciliations.due_in
    assert await integration.database.read(due_in, 3600, 300) == 3600
    lose(inventory, "ada")
    clock.advance(hours=2)
    stopping = Stopping()

    keeping = asyncio.create_task(integration.poller.reconciler.run(stopping))
    async with asyncio.timeout(10):
        while (run := (await integration.status()).reconcile) is None:
            await asyncio.wait([integration.database.committed.next()], timeout=0.05)
    stopping.begin()
    await keeping

    assert (run.trigger, run.missing, run.repaired) == ("timer", 1, 1)
    await integration.send()
    assert inventory.owners == ["ada"]


# Of so many customers so many have lost their packages; 20 and 5 % of them are made up for.
@pytest.mark.parametrize(("customers", "lost"), [(25, 20), (25, 21), (500, 25), (500, 26)])
async def test_repair_waits_for_a_person_when_too_many_are_missing_at_once(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    customers: int,
    lost: int,
) -> None:
    uids = [f"c{n:03}" for n in range(customers)]
    crm.register(*uids)
    await integration.work()
    clock.advance(hours=1)
    lose(inventory, *uids[:lost])
    is_held_back = lost > max(20, customers // 20)

    run = await integration.reconcile(repair=True)
    await integration.send()

    assert run.missing == lost
    assert (run.repaired, run.held_back) == ((0, lost) if is_held_back else (lost, 0))
    assert len(inventory.owners) == (customers - lost if is_held_back else customers)
    held_back = (await integration.status()).repair_held_back
    if not is_held_back:
        assert held_back is None
        return
    assert held_back is not None
    assert (held_back.customers, held_back.command) == (lost, CONFIRM_COMMAND)
    assert CONFIRM_COMMAND in log.errors[-1]
    # One who only looks, and a far side that fails, leave it as it is.
    await integration.reconcile()
    crm.list_faults.append(answers(401))
    with pytest.raises(comparing.CallFailed):
        await integration.reconcile(repair=True)
    assert (await integration.status()).repair_held_back is not None

    confirmed = await integration.reconcile(repair=True, confirm=True)
    await integration.send()

    assert (confirmed.repaired, confirmed.held_back) == (lost, 0)
    assert inventory.owners == uids
    assert (await integration.status()).repair_held_back is None


async def test_the_timer_waits_for_a_person_as_well(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    integration = await start(reconcile_interval_seconds=3600)
    uids = [f"c{n:03}" for n in range(30)]
    crm.register(*uids)
    await integration.work()
    lose(inventory, *uids)
    clock.advance(hours=2)
    stopping = Stopping()

    keeping = asyncio.create_task(integration.poller.reconciler.run(stopping))
    async with asyncio.timeout(10):
        while (await integration.status()).repair_held_back is None:
            await asyncio.wait([integration.database.committed.next()], timeout=0.05)
    stopping.begin()
    await keeping
    await integration.send()

    assert inventory.owners == []


@pytest.fixture
async def api(settings: Settings, served: Integration) -> AsyncIterator[httpx.AsyncClient]:
    """Ask one replica, while another one polls."""
    poller, stopping = served.poller, Stopping()
    poller.reconciler._interval = 0
    loops = asyncio.gather(
        poller.reconciler.run(stopping), poller.control.run(served.lease, stopping)
    )
    async with running(create_app(settings), token="admin123") as client:
        yield keeps_its_word(client)
    stopping.begin()
    await loops


async def test_the_api_compares_and_tells(
    api: httpx.AsyncClient, inventory: InventoryDouble, served: Integration
) -> None:
    assert (await api.get("/reconcile")).json() == {"running": None, "last": None}
    lose(inventory, "cid")

    begun = await api.post("/reconcile", json={"repair": True})

    assert begun.status_code == 202
    async with asyncio.timeout(10):
        while (answer := (await api.get("/reconcile")).json())["last"] is None:
            await asyncio.wait([served.database.committed.next()], timeout=0.05)
    assert answer["running"] is None
    assert answer["last"]["findings"]["missing"] == ["cid"]
    assert answer["last"]["repaired"] == 1
    assert (await api.get("/status")).json()["reconcile"] == answer["last"]


async def test_the_api_takes_a_confirmation(
    api: httpx.AsyncClient, inventory: InventoryDouble, served: Integration
) -> None:
    lose(inventory, "ada", "bob", "cid", "dan")

    async def compare(**wanted: bool) -> Any:
        assert (await api.post("/reconcile", json=wanted)).status_code == 202
        async with asyncio.timeout(10):
            while (answer := (await api.get("/reconcile")).json())["running"] is not None:
                await asyncio.wait([served.database.committed.next()], timeout=0.05)
        return answer["last"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "MOST_BY_ITSELF", 3)
        assert (await compare(repair=True))["held_back"] == 4
        status = (await api.get("/status")).json()
        assert status["repair_held_back"]["command"] == CONFIRM_COMMAND
        assert (await compare(repair=True, confirm=True))["repaired"] == 4
    assert (await api.get("/status")).json()["repair_held_back"] is None
    assert (await api.post("/reconcile", json={"confirm": True})).status_code == 422


async def test_what_is_wanted_while_nobody_polls_is_carried_out_by_whoever_polls_next(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    integration = await start(reconcile_interval_seconds=0)
    uids = [f"c{n:03}" for n in range(30)]
    crm.register(*uids)
    await integration.work()
    lose(inventory, *uids)
    clock.advance(hours=1)
    database = integration.database
    assert await database.write(reconciliations.want, COMMAND_LINE, repair=True, confirm=True)
    assert not await database.write(reconciliations.want, COMMAND_LINE, repair=True, confirm=True)

    heir, stopping = await integration.restarted(), Stopping()
    running_ = asyncio.create_task(heir.poller.reconciler.run(stopping))
    async with asyncio.timeout(10):
        while (run := (await heir.status()).reconcile) is None:
            await asyncio.wait([database.committed.next()], timeout=0.05)
    stopping.begin()
    await running_
    await heir.send()

    assert (run.trigger, run.state, run.repaired) == ("api", "finished", 30)
    assert inventory.owners == uids
    assert await database.write(reconciliations.take_wanted) is None
    await heir.die()


async def test_the_api_refuses_a_second_one(api: httpx.AsyncClient, served: Integration) -> None:
    await served.poller.reconciler.begin("cli", repair=False)

    answer = await api.post("/reconcile", json={})

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:problem:reconcile-running"
    assert (await api.get("/reconcile")).json()["running"]["trigger"] == "cli"
    assert (await api.post("/reconcile", json={"repair": "yes"})).status_code == 422
