"""The integration on both engines, between two doubles, under a clock that a test moves."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import respx
from sqlalchemy import Connection, Table, text
from tenacity import wait_none

from integration_service.deliveries import dispatch, service, store
from integration_service.deliveries.models import Delivery
from integration_service.deliveries.schemas import DeliveryDetail
from integration_service.operations import overview
from integration_service.operations.schemas import Status
from integration_service.poller import poller
from integration_service.poller.poller import Poller
from integration_service.reconcile import store as runs
from integration_service.reconcile.schemas import ReconcileRun
from integration_service.settings import Settings
from integration_service.tables import metadata
from integration_service.targets import webhook
from service_kit.database import Database, open_database
from service_kit.database.sqlite.connect import sqlite_engine
from service_kit.process.stopping import Stopping
from tests.conftest import copy_of_template
from tests.integration_service.doubles import CrmDouble, InventoryDouble
from tests.integration_service.fragile import FragileDatabase
from tests.integration_service.webhooks import SECRET, ReceiverDouble
from tests.posting import HttpxPoster


class FakeClock:
    """Says what time it is; only a test makes it go on, or back."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 1, 5, 12, tzinfo=UTC)
        self._passed = 0.0

    def __call__(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        """Return how many seconds have passed, whatever the clock was set to."""
        return self._passed

    def advance(self, **by: float) -> None:
        self.jump(**by)
        self._passed += timedelta(**by).total_seconds()

    def jump(self, **by: float) -> None:
        """Set the clock forward, or back, in no time."""
        self.instant += timedelta(**by)


class Integration:
    """One process of the integration, of which a test starts each step by hand."""

    def __init__(self, settings: Settings, database: Database, clock: FakeClock) -> None:
        self.settings = settings
        self.database = database
        self.clock = clock
        self.poller = Poller(
            settings,
            database,
            Stopping(),
            settings.read_routes(),
            clock=clock,
            monotonic=clock.monotonic,
        )
        for link in (self.poller.crm.link, self.poller.targets.inventory.link):
            link._blip_wait = wait_none()

    async def start(self) -> "Integration":
        lease = await self.poller.take_lease()
        assert lease is not None
        self.lease = lease
        return self

    async def poll(self, wait: float = 0.0) -> float:
        """Poll the feed once. Returns after how many seconds it is to be polled again."""
        return await self.poller.ingest.poll(self.lease, wait=wait)

    async def send(self) -> None:
        """Send what is due."""
        await self.poller.dispatch.drain(self.lease)

    async def work(self) -> None:
        """Read the feed to its end, and send what is due."""
        while await self.poll() == 0:
            await self.send()
        await self.send()

    async def listen(self) -> None:
        """Read the feed to its end for webhooks."""
        while await self.poller.subscriptions.poll(self.lease, wait=0) == 0:
            pass

    async def report(self) -> None:
        """Send what is due to webhooks."""
        for reporting in self.poller.reporting:
            await reporting.drain(self.lease)

    async def erase(self) -> None:
        """Have Inventory erase whom the CRM has erased, and may be told of."""
        while await self.poller.erasing.erase_some(self.lease):
            pass

    async def readdress(self) -> None:
        """Tell Inventory the new addresses that it may be told of."""
        while await self.poller.readdressing.tell_some(self.lease):
            pass

    async def die(self) -> None:
        """Leave behind what a killed process leaves behind: what it has committed."""
        self.poller._file_lock.release()
        await self.poller.close()

    async def restarted(self, **changes: Any) -> "Integration":
        """Go on in a new process, as long after the death of this one as its lease runs."""
        await self.die()
        await self.database.write(change, "UPDATE poller SET lease_until = NULL")
        settings = self.settings.model_copy(update=changes)
        return await Integration(settings, self.database, self.clock).start()

    async def rows(self) -> dict[str, Delivery]:
        """Return all deliveries by their customers, in order."""
        page = await self.database.read(store.page, store.Filter(), None, 10_000)
        return {row.subject: row for row in page.rows}

    async def states(self) -> dict[str, str]:
        return {uid: row.state for uid, row in (await self.rows()).items()}

    async def delivery(self, uid: str) -> DeliveryDetail:
        return await self.database.read(service.show, uid)

    async def reconcile(self, *, repair: bool = False, confirm: bool = False) -> ReconcileRun:
        """Compare both sides; what is on its way must be there already."""
        reconciler = self.poller.reconciler
        comparison = await reconciler.begin("cli", repair=repair, confirm=confirm)
        return runs.show(await comparison.carry_out())

    async def status(self) -> Status:
        return await self.database.scan(overview.status, self.clock(), self.poller.holder)


Start = Callable[..., Awaitable[Integration]]


def change(db: Connection, *statements: str) -> None:
    """Run SQL as an operator would, beside the integration."""
    for statement in statements:
        db.execute(text(statement))


@pytest.fixture(autouse=True)
def _only_these_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


Rows = dict[Table, list[dict[str, Any]]]


class Ledger:
    """A ledger that all tests of this process use; making one for each takes longer than a test."""

    def __init__(self, url: str, pristine: Rows) -> None:
        self.url = url
        self.database = open_database(url)
        self._pristine = pristine

    async def restore(self) -> None:
        """Make everything as it was when the migrations had run."""
        await self.database.write(self._restore)

    def _restore(self, db: Connection) -> None:
        for table in reversed(metadata.sorted_tables):
            db.execute(table.delete())
        for table, rows in self._pristine.items():
            if rows:
                db.execute(table.insert(), rows)
        if db.dialect.name == "sqlite":
            db.exec_driver_sql("DELETE FROM sqlite_sequence")
        else:
            db.exec_driver_sql("ALTER SEQUENCE deliveries_id_seq RESTART")


@pytest.fixture(scope="session")
def pristine(sqlite_template: Callable[[str], Path]) -> Rows:
    """Give what the migrations themselves put into the tables."""
    with sqlite_engine(sqlite_template("integration_service")).connect() as db:
        return {
            table: [dict(row._mapping) for row in db.execute(table.select())]
            for table in metadata.sorted_tables
        }


@pytest.fixture(scope="session")
async def ledgers() -> AsyncIterator[dict[str, Ledger]]:
    """Keep the ledger of each engine, once it is made."""
    ledgers: dict[str, Ledger] = {}
    yield ledgers
    for ledger in ledgers.values():
        await ledger.database.close()


@pytest.fixture(scope="session")
def new_ledger(engine: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a migrated ledger on the test's engine."""
    return copy_of_template(request, engine, "integration_service")[1]


@pytest.fixture
async def ledger(
    engine: str, new_ledger: str, pristine: Rows, ledgers: dict[str, Ledger]
) -> Ledger:
    """Give the ledger of this engine, as if it were new."""
    if engine not in ledgers:
        ledgers[engine] = Ledger(new_ledger, pristine)
        await ledgers[engine].database.open()
    await ledgers[engine].restore()
    return ledgers[engine]


@pytest.fixture
def ledger_url(ledger: Ledger) -> str:
    return ledger.url


@pytest.fixture
def database(ledger: Ledger) -> Database:
    return ledger.database


@pytest.fixture(scope="session")
def read_settings() -> Settings:
    """What the integration is told by an environment; reading it takes longer than many a test."""
    return Settings(
        crm_api_url="http://crm", inventory_api_url="http://inventory", polling_interval_seconds=10
    )


@pytest.fixture
def settings(read_settings: Settings, ledger_url: str) -> Settings:
    return read_settings.model_copy(update={"database_url": ledger_url})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def far_sides(monkeypatch: pytest.MonkeyPatch) -> Iterator[respx.MockRouter]:
    """Be the whole network: what is asked of any other address fails the test."""
    monkeypatch.setattr(webhook, "Poster", HttpxPoster)
    with respx.mock(assert_all_called=False) as router:
        yield router


@pytest.fixture
def crm(far_sides: respx.MockRouter) -> Iterator[CrmDouble]:
    crm = CrmDouble()
    far_sides.get("http://crm/api/events").mock(side_effect=crm)
    far_sides.get(path__startswith="/api/events/", host="crm").mock(side_effect=crm.look_up)
    far_sides.put(path__startswith="/api/feed-readers/", host="crm").mock(side_effect=crm.announce)
    far_sides.get("http://crm/api/customers").mock(side_effect=crm.list)
    far_sides.get(path__startswith="/api/customers/", host="crm").mock(side_effect=crm.list)
    yield crm
    crm.check()


@pytest.fixture
def inventory(far_sides: respx.MockRouter) -> Iterator[InventoryDouble]:
    inventory = InventoryDouble()
    far_sides.post("http://inventory/package-requests/batch").mock(side_effect=inventory)
    far_sides.get("http://inventory/package-requests").mock(side_effect=inventory.list)
    far_sides.post("http://inventory/package-requests/addresses").mock(
        side_effect=inventory.readdress
    )
    far_sides.post("http://inventory/package-requests/erasures").mock(side_effect=inventory.erase)
    yield inventory
    inventory.check()


@pytest.fixture
def shop(far_sides: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReceiverDouble]:
    """Be the receiver of a webhook, whose secret is set."""
    monkeypatch.setenv("SHOP_SECRET", SECRET)
    shop = ReceiverDouble()
    far_sides.post("http://127.0.0.1:9/hooks/shop").mock(side_effect=shop)
    yield shop
    shop.check()


@pytest.fixture
async def start(settings: Settings, database: Database, clock: FakeClock) -> AsyncIterator[Start]:
    """Give what starts the integration with settings of a test's own."""
    started: list[Integration] = []

    async def start(**changes: Any) -> Integration:
        changed = settings.model_copy(update=changes)
        started.append(Integration(changed, database, clock))
        return await started[-1].start()

    yield start
    for integration in started:
        await integration.die()


@pytest.fixture
async def integration(start: Start) -> Integration:
    return await start()


@pytest.fixture
def fragile(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[FragileDatabase]:
    for module in (dispatch, poller):
        monkeypatch.setattr(module, "PAUSE_AFTER_ERROR_SECONDS", 0.01)
    monkeypatch.setattr(dispatch, "LONGEST_NAP_SECONDS", 0.05)
    fragile = FragileDatabase(database)
    yield fragile
    fragile.check()


@pytest.fixture
async def shaky(start: Start, fragile: FragileDatabase) -> Integration:
    """The integration on a database that fails when it is told to."""
    integration = await start()
    for part in (integration.poller, integration.poller.dispatch, integration.poller.ingest):
        part._database = fragile
    return integration


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> "Log":
    caplog.set_level(logging.INFO, "integration_service")
    return Log(caplog)


class Log:
    """What the integration has logged so far."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def at(self, level: str) -> list[str]:
        """Return the lines of one level, and forget nothing."""
        return [one.getMessage() for one in self._caplog.records if one.levelname == level]

    @property
    def errors(self) -> list[str]:
        return self.at("ERROR")

    @property
    def warnings(self) -> list[str]:
        return self.at("WARNING")

    @property
    def infos(self) -> list[str]:
        return self.at("INFO")

    def clear(self) -> None:
        self._caplog.clear()
