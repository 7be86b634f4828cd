"""A CRM that was restored or replaced, a cursor that is too old: nobody is missed, nobody twice."""

from typing import Any

import pytest

from integration_service.feed.client import CrmClient
from integration_service.targets import http
from tests.integration_service.conftest import FakeClock, Integration, Log, Start, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble, answers, listed, refuses
from tests.integration_service.fragile import FragileDatabase, Killed

THEN = "2026-01-05T12:00:00Z"


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.read_page, "__kwdefaults__", {"limit": 2})
    monkeypatch.setattr(CrmClient.customers, "__kwdefaults__", {"limit": 2})


async def recover(integration: Integration) -> list[int]:
    """Look until the feed goes on. Returns how many customers had been read before each page."""
    read = []
    while await integration.poll() == 0:
        recovery = (await integration.status()).feed.recovery
        if recovery is not None:
            read.append(recovery.customers_read)
    await integration.send()
    return read


async def test_a_pruned_feed_is_made_up_for_by_the_list(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    crm.register("ada", "bob")
    await integration.work()
    crm.register("cid", "dan", "eve", "fay")
    crm.pruned = 6

    assert await recover(integration) == [0, 2, 4]

    assert inventory.owners == ["ada", "bob", "cid", "dan", "eve", "fay"]
    assert inventory.batches == [["ada", "bob"], ["cid", "dan", "eve", "fay"]]
    assert log.errors == []
    assert "Recovered: 6 customers read, 4 of them new, in 0 s; the feed goes on." in log.infos
    crm.register("gus")
    await integration.work()
    assert inventory.batches[-1] == ["gus"]


async def test_what_the_walk_finds_wakes_those_who_act_on_it(
    integration: Integration, crm: CrmDouble
) -> None:
    ingest = integration.poller.ingest
    crm.register("ada", "eve")
    crm.changed["eve"] = listed("eve", THEN, name="", email="")  # as of one who was erased
    crm.pruned = 2
    await integration.poll()
    assert not ingest.work_ready.is_set()

    await integration.poll()

    assert ingest.work_ready.is_set()
    assert ingest.erased.is_set()


async def test_a_replaced_crm_and_one_restored_from_an_older_backup(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada", "bob", "cid")
    await integration.work()

    crm.events.pop()  # restored from before cid, and it has gone on since
    crm.register("new", "newer")
    crm.epoch = "b"
    await recover(integration)
    assert inventory.owners == ["ada", "bob", "cid", "new", "newer"]

    crm.events.clear()  # another CRM
    crm.epoch = "c"
    crm.register("zoe")
    integration.clock.advance(minutes=2)
    await recover(integration)
    assert inventory.owners == ["ada", "bob", "cid", "new", "newer", "zoe"]
    assert sum(map(len, inventory.batches)) == 6
    assert (await integration.status()).feed.recoveries == 2


async def test_who_is_added_during_the_walk_is_found_by_the_feed_behind_it(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada", "bob", "cid")
    crm.pruned = 3
    await integration.poll()
    await integration.poll()
    crm.changed["zoe"] = listed("zoe", THEN)
    crm.gone.add("zoe")  # behind the page's place already when it is added
    crm.register("zoe")

    await recover(integration)

    assert inventory.owners == ["ada", "bob", "cid", "zoe"]


async def test_names_that_may_have_changed_are_left_out_and_the_erased_forgotten(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    later = "2026-01-05T13:00:00Z"
    crm.register("ada", "bob", "cid")
    crm.changed["bob"] = listed("bob", THEN, name="Robert", updated_at=later)
    crm.changed["cid"] = listed("cid", THEN, name="", email="", updated_at=later)
    crm.pruned = 3

    await recover(integration)

    sent = {one["customer_id"]: one.get("customer_name") for one in inventory.packages.values()}
    assert sent == {"ada": "Customer ada", "bob": None}
    assert (await integration.states())["cid"] == "skipped"
    erased = await integration.database.read(
        lambda db: db.exec_driver_sql("SELECT customer_uid FROM erasures").scalars().all()
    )
    assert erased == ["cid"]


async def test_who_was_imported_without_a_welcome_gets_none(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada", "bob")
    crm.unwelcome.add("bob")
    crm.pruned = 2

    await recover(integration)

    assert inventory.owners == ["ada"]


@pytest.mark.parametrize("hours", [-1, 0, 1])
async def test_a_start_with_now_holds_through_a_recovery_whatever_the_clocks_say(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock, hours: int
) -> None:
    """The CRM's clock says the same all the time; the integration's is an hour off."""
    clock.advance(hours=hours)
    crm.register("old", "older")
    integration = await start(start_from="now")
    await integration.work()
    crm.register(*(f"new-{n}" for n in range(5)))
    crm.pruned = 7

    await recover(integration)

    assert inventory.owners == [f"new-{n}" for n in range(5)]
    assert (await integration.reconcile()).not_owed == 2


async def test_in_another_crm_its_own_dates_tell_who_is_from_before_a_start_with_now(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock, log: Log
) -> None:
    crm.register("old")
    clock.advance(days=1)  # which no customer's date is to be compared with
    integration = await start(start_from="now")
    await integration.work()
    crm.changed["new"] = listed("new", "2026-01-05T12:00:01Z")
    crm.register("new")
    crm.epoch = "b"

    await recover(integration)

    assert inventory.owners == ["new"]
    assert any("START_FROM=now" in line for line in log.warnings)
    # From here on positions tell again.
    crm.register("newer")
    crm.pruned = 3
    clock.advance(minutes=2)
    await recover(integration)
    assert inventory.owners == ["new", "newer"]
    assert (await integration.reconcile()).not_owed == 1


async def _look_on(integration: Integration) -> None:
    for _ in range(10):
        await integration.poll()


@pytest.mark.parametrize("write", range(5))
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_it_goes_on_where_it_was_killed(
    shaky: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    fragile: FragileDatabase,
    moment: str,
    write: int,
) -> None:
    crm.register("ada", "bob")
    await shaky.work()
    shaky.poller.ingest._recovery._database = fragile
    crm.register("cid", "dan", "eve")
    crm.pruned = 5
    getattr(fragile, moment).extend([None] * write + [Killed()])

    with pytest.raises(Killed):
        await _look_on(shaky)
    fragile.heal()
    heir = await shaky.restarted()
    await recover(heir)

    assert inventory.owners == ["ada", "bob", "cid", "dan", "eve"]
    assert (await heir.status()).feed.state == "running"
    assert set((await heir.states()).values()) == {"delivered"}
    await heir.die()


FAULTS: dict[str, Any] = {
    "503": answers(503),
    "401": answers(401),
    "no list": answers(200, json={}),
    "no feed cursor": answers(200, json=[]),
    "a list that does not go on": answers(
        200, {"X-Feed-Cursor": "a-1", "X-Next-Cursor": "9"}, json=[]
    ),
}


async def test_a_crm_that_fails_in_the_middle_is_asked_again(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    crm.register("ada", "bob", "cid")
    crm.pruned = 3
    await integration.poll()
    for fault in FAULTS.values():
        crm.list_faults.extend([fault] * 3)  # a blip is tried again at once
        while crm.list_faults:
            assert await integration.poll() > 0
            crm.list_faults.clear()
        assert (await integration.status()).feed.state == "recovering"
        clock.advance(seconds=10)

    await integration.poll()
    crm.list_faults.append(refuses(422, "invalid-request"))  # it no longer knows the page
    assert await integration.poll() > 0
    clock.advance(seconds=10)
    recovery = (await integration.status()).feed.recovery
    assert recovery is not None
    assert recovery.customers_read == 0
    pages = len(crm.lists)
    await recover(integration)

    assert "cursor" not in crm.lists[pages].url.params
    assert inventory.owners == ["ada", "bob", "cid"]
    assert (await integration.status()).circuits["crm"].state == "closed"


async def test_the_next_process_knows_that_it_recovers(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.fault = refuses(410, "cursor-expired")
    await integration.poll()
    await integration.database.write(change, "UPDATE poller SET last_poll_at = NULL")
    heir = await integration.restarted()
    feed = (await heir.status()).feed
    assert (feed.state, feed.recovery is not None) == ("recovering", True)
    await heir.die()
