"""Who polls: one process at a time, then its heir; no word of the one before counts."""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import Connection, MetaData

from integration_service.deliveries import claims, destinations, erasures, service
from integration_service.deliveries.models import Arrival, ErasedCustomer, Settlement
from integration_service.deliveries.schemas import RetryOrder
from integration_service.feed import store
from integration_service.feed.models import Newest, Walked
from integration_service.ledger import control
from integration_service.ledger import lease as leases
from integration_service.ledger.lease import FileLock, Lease, LeaseLost
from integration_service.poller.poller import PAUSE_AFTER_ERROR_SECONDS, Poller
from integration_service.routes.definitions import WELCOME
from integration_service.settings import Settings
from integration_service.tables import metadata
from integration_service.targets import store as targets
from integration_service.targets.circuit import Circuit
from integration_service.targets.target import Destination
from service_kit.database import Database, open_database
from service_kit.process import clock as system_clock
from service_kit.web.auth import COMMAND_LINE
from tests.integration_service.conftest import FakeClock, Integration, Log, Start, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble, answers
from tests.integration_service.fragile import FragileDatabase, away


@pytest.fixture
async def other(
    settings: Settings, clock: FakeClock, ledger_url: str
) -> AsyncIterator[Integration]:
    """Another process on the same database, which has not tried to poll yet."""
    database = open_database(ledger_url)
    await database.open()
    other = Integration(settings, database, clock)
    yield other
    await other.die()
    await database.close()


async def pass_time(database: Database) -> None:
    """Be as late as when the lease has run out; its clock is the database's own."""
    await database.write(change, "UPDATE poller SET lease_until = '2020-01-01 00:00:00.000000'")


async def take_over(integration: Integration) -> Integration:
    """Take the lease from whoever has it, as after a pause that was too long."""

    def take(db: Connection) -> Lease | None:
        change(db, "UPDATE poller SET lease_until = NULL")
        return leases.take(db, integration.poller.holder, 15, is_alone=False)

    lease = await integration.database.write(take)
    assert lease is not None
    integration.lease = lease
    return integration


async def test_one_of_two_gets_it(integration: Integration, other: Integration) -> None:
    assert integration.lease.epoch == 1
    assert await other.poller.take_lease() is None
    status = await other.status()
    assert status.poller.holder == integration.poller.holder
    assert not status.poller.is_here
    assert (await integration.status()).poller.is_here


async def test_one_of_many_that_start_at_once_gets_it(
    settings: Settings, database: Database, clock: FakeClock
) -> None:
    crowd = [Integration(settings, database, clock) for _ in range(10)]

    got = await asyncio.gather(*(one.poller.take_lease() for one in crowd))

    assert len([lease for lease in got if lease is not None]) == 1
    for one in crowd:
        await one.die()


def test_a_file_lock_is_held_by_one_until_it_gives_it_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    one, other = FileLock(url), FileLock(url)

    assert one.acquire()
    assert [other.acquire(), other.acquire()] == [False, False]

    one.release()
    assert other.acquire()
    other.release()


async def test_a_lease_that_ran_out_is_taken_over(
    integration: Integration, other: Integration
) -> None:
    await pass_time(integration.database)

    lease = await other.poller.take_lease()

    assert lease is not None
    assert lease.epoch == integration.lease.epoch + 1


async def test_who_gives_it_back_lets_the_next_in_at_once(
    integration: Integration, other: Integration
) -> None:
    await integration.poller.give_back(integration.lease)
    assert (await other.status()).poller.holder is None

    assert await other.poller.take_lease() is not None


async def test_who_has_lost_it_gives_nothing_back(
    integration: Integration, other: Integration
) -> None:
    await take_over(other)

    await integration.poller.give_back(integration.lease)

    assert (await other.status()).poller.holder == other.poller.holder
    await other.database.write(leases.renew, other.lease, 15)


async def test_a_renewal_makes_it_last_longer(integration: Integration) -> None:
    await integration.database.write(leases.renew, integration.lease, 1000)

    until = (await integration.status()).poller.lease_until
    assert until is not None
    assert until > system_clock.now() + timedelta(seconds=900)


HOLDER = """
import asyncio, sys
from integration_service.ledger import lease
from service_kit.database import open_database

async def poll(url):
    database = open_database(url)
    await database.open()
    lock = lease.FileLock(url)
    assert await database.write(lease.take, "holder", 15, is_alone=lock.acquire()) is not None
    print("polling", flush=True)
    await asyncio.Event().wait()

asyncio.run(poll(sys.argv[1]))
"""


@pytest.mark.slow
async def test_the_heir_of_a_killed_process_waits_no_longer_than_it_must(
    settings: Settings, other: Integration, engine: str
) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, settings.database_url, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"polling\n"
        assert await other.poller.take_lease() is None
    finally:
        holder.kill()
        await holder.communicate()

    lease = await other.poller.take_lease()
    if engine == "sqlite":
        assert lease is not None
        assert lease.epoch == 2
    else:
        # Nobody can know from afar that it is dead before its lease has run out.
        assert lease is None


NOW = FakeClock()()
MOVE = {"old": "a-2", "new": "a-9", "through": 9, "head": 9, "caught_up": None}
SETTLED = Settlement(1, "delivered", NOW, 201, 1.0, request_id="r-1", delivered_at=NOW)
CIRCUIT = Circuit("inventory", "Inventory", 5, 5.0, 60.0, opened_at=NOW, failures=7)

WALKING = SimpleNamespace(
    recovery_cursor=None, recovery_page=None, start_from="now", start_cursor=None
)
WALKED = Walked(1, [Arrival("new", None, 0)], [], "a-9", None)

Write = Callable[..., Any]
# What each write needs besides the connection and the lease.
WRITES: dict[Write, tuple[Any, ...]] = {
    store.begin: (NOW, Newest("a-9", None)),
    store.note_page: ([Arrival("new", None, 9)], MOVE, NOW),
    store.note_ahead: ([Arrival("new", None, 9)], MOVE, NOW, {}),
    store.mark_feed: ("diverged", "It is another.", NOW),
    store.note_error: ("It is down.", NOW),
    claims.claim_fresh: (WELCOME.name, NOW, 10),
    claims.claim_retries: (WELCOME.name, NOW + timedelta(hours=1), 10),
    claims.claim_events: (WELCOME.name, NOW, 10),
    claims.claim_probe: (WELCOME.name, []),
    claims.reschedule_future_dated: (NOW,),
    claims.unclaim: ([1, 2],),
    claims.unclaim_all: (WELCOME.name,),
    claims.unclaim_customers: (WELCOME.name, ["ada", "bob"]),
    claims.save_settlements: (WELCOME.name, [SETTLED]),
    claims.release_held: ([WELCOME.name], NOW),
    targets.save: (CIRCUIT,),
    store.begin_recovery: ("diverged", "It is another.", NOW),
    store.note_walked: (WALKING, WALKED, NOW),
    destinations.done: ([Destination("ada", None, NOW)],),
    erasures.done: (["ada"], NOW),
    leases.renew: (1000,),
}
READS = {
    claims.claimed,
    claims.kinds_due,
    claims.may_send_ahead,
    claims.moved_since,
    claims.next_due,
    destinations.due,
    erasures.due,
    leases.fence,
    leases.release,
}


def test_the_table_of_writes_is_complete() -> None:
    found = {
        function
        for module in (store, claims, targets, destinations, erasures, leases)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_")
        and function.__module__ == module.__name__
        and {"db", "lease"} <= inspect.signature(function).parameters.keys()
    }

    assert found == WRITES.keys() | READS


def everything(db: Connection) -> dict[str, list[Any]]:
    tables: MetaData = metadata
    return {
        name: sorted(db.execute(table.select()).all(), key=str)
        for name, table in tables.tables.items()
    }


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
async def test_no_write_of_a_poller_that_was_taken_over_changes_anything(
    integration: Integration,
    other: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    write: Write,
) -> None:
    crm.register("ada")
    inventory.fault = answers(429)
    await integration.work()
    crm.register("bob")
    await integration.poll()
    assert await integration.states() == {"ada": "retrying", "bob": "pending"}
    await take_over(other)
    before = await other.database.read(everything)

    with pytest.raises(LeaseLost):
        await integration.database.write(write, integration.lease, *WRITES[write])

    assert await other.database.read(everything) == before
    # The same is no trouble to whoever has the lease, so it was nothing else that was wrong.
    if write is store.note_walked:
        await other.database.write(
            store.begin_recovery, other.lease, "diverged", "It is another.", NOW
        )
    await other.database.write(write, other.lease, *WRITES[write])


# What must see all that a poller has claimed and settled, or has to wait until it is committed.
WAITING: dict[str, Callable[[Connection], Any]] = {
    "a takeover": lambda db: leases.take(db, "heir", 15, is_alone=True),
    "an erasure": lambda db: erasures.note(db, [ErasedCustomer("ada", None)], NOW),
    "a retry": lambda db: service.retry(db, "ada", NOW, COMMAND_LINE),
    "many retries": lambda db: service.retry_some(db, RetryOrder(), 0, 10, NOW, COMMAND_LINE),
}


@pytest.mark.engine("postgresql")
@pytest.mark.parametrize("waiting", WAITING.values(), ids=WAITING)
async def test_a_change_waits_for_a_write_that_has_passed_the_fence(
    integration: Integration,
    crm: CrmDouble,
    ledger_url: str,
    waiting: Callable[[Connection], Any],
) -> None:
    crm.register("ada")
    await integration.poll()
    database, lease = integration.database, integration.lease

    def write(db: Connection) -> None:
        leases.fence(db, lease)
        change(db, "SELECT pg_advisory_xact_lock(1)")

    gate = await asyncpg.connect(ledger_url)
    await gate.execute("SELECT pg_advisory_lock(1)")
    first = asyncio.create_task(database.write(write))
    await _until(gate, "wait_event = 'advisory'")
    second = asyncio.create_task(database.write(waiting))
    await _until(gate, "wait_event IN ('transactionid', 'tuple')")
    assert not second.done()

    await gate.execute("SELECT pg_advisory_unlock(1)")
    await first
    await second
    await gate.close()


async def _until(connection: Any, some_session: str) -> None:
    """Wait until this is so of a session of this database."""
    those = f"pg_stat_activity WHERE datname = current_database() AND {some_session}"
    async with asyncio.timeout(10):
        while not await connection.fetchval(f"SELECT count(*) FROM {those}"):  # noqa: S608
            pass


async def test_a_page_that_was_read_from_elsewhere_is_void(
    integration: Integration, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.poll()
    before = await integration.database.read(everything)

    with pytest.raises(LeaseLost):
        await integration.database.write(
            store.note_page, integration.lease, [Arrival("bob", None, 2)], MOVE, NOW
        )

    assert await integration.database.read(everything) == before


async def test_both_loops_end_when_the_lease_is_lost(
    integration: Integration, other: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada", "bob")
    await integration.poll()
    await take_over(other)

    with pytest.raises(LeaseLost):
        await integration.poll()
    with pytest.raises(LeaseLost):
        await integration.send()
    assert inventory.requests == []

    await other.work()
    assert inventory.owners == ["ada", "bob"]


async def test_a_batch_under_way_at_the_takeover_is_sent_again_and_made_once(
    integration: Integration, other: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada", "bob")
    await integration.poll()

    async def meanwhile(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        await take_over(other)
        inventory.fault = None
        await other.work()
        return double.carry_out(request)

    inventory.fault = meanwhile
    await integration.send()

    assert inventory.batches == [["ada", "bob"]] * 2
    assert inventory.owners == ["ada", "bob"]
    for uid in ("ada", "bob"):
        delivery = await other.delivery(uid)
        assert (delivery.state, delivery.attempt_count) == ("delivered", 1)
        assert len(delivery.attempts) == 1


async def test_what_the_dead_had_claimed_is_sent_by_the_heir(
    integration: Integration, other: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada", "bob")
    await integration.poll()
    claimed = await integration.database.write(
        claims.claim_fresh, integration.lease, WELCOME.name, integration.clock(), 10
    )
    assert len(claimed) == 2
    await integration.send()
    assert inventory.requests == []  # nobody sends what is being sent

    await take_over(other)
    await other.send()

    assert inventory.owners == ["ada", "bob"]


@pytest.fixture
async def lively(start: Start, fragile: FragileDatabase) -> AsyncIterator[Integration]:
    """One that runs by itself, and looks all the time."""
    integration = await start(
        polling_interval_seconds=0.01,
        long_poll_seconds=0,
        lease_seconds=1.5,
        reconcile_interval_seconds=0,
    )
    await integration.poller.give_back(integration.lease)
    integration.poller._database = fragile
    task = asyncio.create_task(integration.poller.run())
    yield integration
    integration.poller._stopping.begin()
    await task


async def changed(integration: Integration, is_so: Callable[[], bool]) -> None:
    """Wait until something is so; looked at again after each change of the database."""
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.wait([integration.database.committed.next()], timeout=0.02)


async def test_a_running_poller_that_is_taken_over_stands_by(
    lively: Integration, other: Integration, crm: CrmDouble, engine: str, log: Log
) -> None:
    await changed(lively, lambda: lively.poller.lease is not None)

    await take_over(other)
    await changed(lively, lambda: lively.poller.lease is None)
    # As its next renewal does: a file lock would let whoever keeps it poll beside it.
    assert other.poller._file_lock.acquire() == (engine == "sqlite")

    assert log.warnings == ["Another poller has taken over; this one stands by."]
    crm.register("ada")
    await other.poll()
    assert (await other.status()).poller.is_here


async def test_a_running_poller_renews_its_lease_again_and_again(
    lively: Integration, crm: CrmDouble
) -> None:
    await changed(lively, lambda: lively.poller.lease is not None)
    first = await lively.database.read(control.state)
    ends = {first.lease_until}

    async with asyncio.timeout(20):
        while len(ends) < 5:  # longer than a lease
            row = await lively.database.read(control.state)
            assert row.lease_epoch == first.lease_epoch
            ends.add(row.lease_until)
            await asyncio.wait([lively.database.committed.next()], timeout=0.02)


@pytest.mark.engine("sqlite")
async def test_a_renewal_takes_the_file_lock_of_a_process_that_has_ended(
    start: Start, other: Integration
) -> None:
    integration = await start(lease_seconds=1.5)
    poller = integration.poller
    poller._file_lock.release()
    assert other.poller._file_lock.acquire()  # by a poller that was taken over, and hangs
    renewing = asyncio.create_task(poller._keep_renewing(integration.lease))
    assert poller._file_lock._file is None

    other.poller._file_lock.release()
    await changed(integration, lambda: poller._file_lock._file is not None)

    assert not other.poller._file_lock.acquire()
    renewing.cancel()


async def test_a_poller_that_is_late_to_renew_is_not_ready(integration: Integration) -> None:
    assert integration.poller.trouble() is None

    integration.poller._good_until = asyncio.get_running_loop().time() - 1

    assert integration.poller.trouble() == "its lease has run out"


class NotingDatabase(FragileDatabase):
    """Notes when it was asked to write something last."""

    asked_at = 0.0

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.asked_at = asyncio.get_running_loop().time()
        return await super().write(work, *args, **kwargs)


async def test_a_lease_is_good_from_when_it_was_asked_for(integration: Integration) -> None:
    """By the time of an answer that was late another may have it."""
    poller = integration.poller
    await poller.give_back(integration.lease)
    poller._database = noting = NotingDatabase(integration.database)

    assert await poller.take_lease()

    assert poller._good_until <= noting.asked_at + integration.settings.lease_seconds


@pytest.mark.slow
async def test_a_poller_that_can_not_renew_stops_before_another_may_begin(
    lively: Integration, fragile: FragileDatabase, crm: CrmDouble, log: Log
) -> None:
    await changed(lively, lambda: lively.poller.lease is not None)

    fragile.go_away()
    await changed(lively, lambda: lively.poller.lease is None)
    given_up = "This poller gives up its lease, which has run out while the database was away."
    assert given_up in log.warnings
    assert not [line for line in log.warnings if "Another poller" in line]

    assert lively.poller.trouble() == "its lease has run out"

    fragile.is_away = False
    await changed(lively, lambda: lively.poller.lease is not None)
    assert lively.poller.trouble() is None
    assert log.errors == []


class DyingDatabase(FragileDatabase):
    """Is asked, and fails once it is dead."""

    def __init__(self, sound: Database) -> None:
        super().__init__(sound)
        self.asked = asyncio.Event()
        self.dead = asyncio.Event()

    async def read(self, *_args: Any, **_kwargs: Any) -> Any:
        self.asked.set()
        await self.dead.wait()
        raise away()


LOOPS: dict[str, Callable[[Poller, Lease], Awaitable[None]]] = {
    "reading": lambda poller, lease: poller.feed_loops[0].run(lease, poller._stopping),
    "dispatching": lambda poller, lease: poller.dispatch.run(lease, poller._stopping),
    "erasing": lambda poller, lease: poller.erasing.run(lease, poller._stopping),
    "readdressing": lambda poller, lease: poller.readdressing.run(lease, poller._stopping),
    "control": lambda poller, lease: poller.control.run(lease, poller._stopping),
    "comparing": lambda poller, _: poller.reconciler.run(poller._stopping),
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=list(LOOPS))
async def test_a_loop_that_is_told_to_end_does_though_what_it_asks_fails(
    loop: Callable[[Poller, Lease], Awaitable[None]],
    integration: Integration,
    clock: FakeClock,
) -> None:
    """A lease runs out because the database is away: the loops find that just as they end."""
    dying = DyingDatabase(integration.database)
    poller = Integration(integration.settings, dying, clock).poller
    task = asyncio.create_task(poller._keep_going(lambda: loop(poller, integration.lease)))
    await dying.asked.wait()

    task.cancel()
    await asyncio.sleep(0)
    dying.dead.set()
    await asyncio.wait([task], timeout=10)

    assert task.cancelled()
    await poller.close()


@pytest.mark.parametrize("failure", [away(), ZeroDivisionError()], ids=["away", "a bug"])
async def test_a_loop_that_fails_pauses_before_it_begins_again(
    integration: Integration, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = integration.poller
    tries: list[int] = []
    pauses: list[float] = []

    async def fail() -> None:
        tries.append(len(tries))
        if len(tries) == 3:
            poller._stopping.begin()
        raise failure

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(poller._stopping, "sleep", sleep)
    await poller._keep_going(fail)

    assert pauses == [PAUSE_AFTER_ERROR_SECONDS] * 3


async def test_a_database_that_is_away_at_the_start_is_waited_for(
    start: Start, fragile: FragileDatabase, crm: CrmDouble, log: Log
) -> None:
    integration = await start()
    await integration.poller.give_back(integration.lease)
    integration.poller._database = fragile
    fragile.go_away()

    task = asyncio.create_task(integration.poller.run())
    await changed(integration, lambda: len(log.warnings) > 2)
    fragile.is_away = False
    await changed(integration, lambda: integration.poller.lease is not None)

    assert set(log.warnings) == {"The poller waits for its database: It is away."}
    integration.poller._stopping.begin()
    await task


class SilentDatabase(FragileDatabase):
    """Never answers a write while it is away, as over a link that is mute."""

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.is_away:
            await asyncio.Event().wait()
        return await super().write(work, *args, **kwargs)


async def test_a_poller_whose_database_is_silent_stops_when_its_lease_runs_out(
    start: Start, ledger_url: str, crm: CrmDouble, log: Log
) -> None:
    integration = await start(polling_interval_seconds=0.01, long_poll_seconds=0, lease_seconds=0.5)
    await integration.poller.give_back(integration.lease)
    silent = SilentDatabase(integration.database)
    poller = integration.poller
    poller._database = silent
    task = asyncio.create_task(poller.run())
    await changed(integration, lambda: poller.lease is not None)
    assert poller.trouble() is None

    silent.is_away = True
    await changed(integration, lambda: poller.lease is None)

    assert poller.trouble() == "its lease has run out"
    assert any("gives up its lease" in line for line in log.warnings)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
