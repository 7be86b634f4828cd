"""The whole platform in one thread: three services, their disks, clocks and networks."""

import asyncio
import contextvars
import functools
import logging
import random
import sqlite3
import traceback
from collections import Counter
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from crm_api import app as crm
from crm_api.feed.cursor import FeedCursor
from crm_api.settings import Settings as CrmSettings
from integration_service.poller.poller import Poller
from integration_service.reconcile.service import Reconciler
from integration_service.settings import Settings
from inventory_api import app as inventory
from inventory_api.settings import Settings as InventorySettings
from service_kit.process.cli import Service
from service_kit.process.stopping import Stopping
from tests.simulation.clocks import SimulatedLoop, WallClock
from tests.simulation.machines import PROCESS, Disk, Process
from tests.simulation.network import Link
from tests.simulation.webhooks import ADDRESSES, Receiver, routes

SERVERS = ("crm", "inventory")
SERVICES = (*SERVERS, "integration")
SERVICE_NAMES = ("crm_api", "inventory_api", "integration_service")
LOGGERS = (*SERVICE_NAMES, "service_kit")


@dataclass(frozen=True)
class Setup:
    """What is so from the beginning of a run to its end."""

    seed: int
    pollers: int = 1
    start_from: str = "beginning"
    customers_before: int = 0
    # Whether a lock on a file tells the death of a poller at once, or its lease runs out.
    has_file: bool = True
    stock: int = 1000
    settings: dict[str, Any] = field(default_factory=dict)
    # Whether there are two webhooks beside the welcome package.
    webhooks: bool = False


@dataclass
class Person:
    """What those who use the platform know of one customer."""

    number: int
    names: list[str]
    # By the meter of the CRM's clock.
    registered_at: float
    uid: str = ""
    # yes; no; or either, where it may have been added before or after the integration decided where
    # to start
    is_owed: str = "yes"
    is_of_batch: bool = False
    is_erased: bool = False
    # By the loop's time.
    erased_at: float = 0.0
    # Its erasure, or all of it, was undone by a restored CRM.
    is_undone: bool = False


class World:
    """One run. Steps change it; `judge` looks at what is left when all is quiet."""

    def __init__(
        self, loop: SimulatedLoop, setup: Setup, images: dict[str, bytes], folder: Path
    ) -> None:
        self.loop = loop
        self.setup = setup
        self.folder = folder
        self.chance = random.Random(setup.seed)
        self.log: list[str] = []
        self.findings: list[tuple[str, str]] = []
        self.done: Counter[str] = Counter()
        self.people: list[Person] = []
        # Who asked to be added and got no answer.
        self.unanswered: Person | None = None
        self.clocks = {service: WallClock(loop) for service in SERVICES}
        self.disks = disks()
        for service, image in images.items():
            self.disks[service].put_back(image)
        self.links = {service: Link(self, service) for service in SERVERS}
        self.receivers = {route: Receiver(self, route) for route in ADDRESSES}
        self.links |= {ADDRESSES[route]: one for route, one in self.receivers.items()}
        self.backups: dict[str, list[bytes]] = {service: [] for service in SERVICES}
        self.apps = apps()
        self.processes: dict[str, Process | None] = {}
        self.reconcilers: dict[str, Reconciler] = {}
        self.has_started = False
        # Whether Inventory was put back, after which only a comparison finds what it no longer has.
        self.has_lost_packages = False
        # Whether anything was put back or pruned that a reader of the feed needs.
        self.may_have_gaps = False
        self._background: set[asyncio.Task[Any]] = set()
        self._backed_up = dict.fromkeys(SERVICES, -1)

    # --- what happens

    def note(self, what: str) -> None:
        self.log.append(f"{self.loop.time():10.3f} {what}")

    def found(self, kind: str, what: str) -> None:
        self.note(f"FOUND {kind}: {what}")
        self.findings.append((kind, what))

    def now(self) -> datetime:
        process = PROCESS.get(None)
        return (process.clock if process else self.clocks["integration"]).now()

    def outside(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have something go on that belongs to no process, like what a network still carries."""
        task = self.loop.create_task(work, context=contextvars.Context())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    @property
    def is_carrying(self) -> bool:
        return bool(self._background)

    # --- processes

    @property
    def pollers(self) -> list[str]:
        return [f"poller {n + 1}" for n in range(self.setup.pollers)]

    @property
    def everybody(self) -> list[str]:
        return [*SERVERS, *self.pollers]

    def boot(self, name: str) -> None:
        """Start a process from what is on its disk, unless it runs."""
        if self.processes.get(name) is not None:
            return
        process = Process(self, name if name in SERVERS else "integration", name)
        self.processes[name] = process
        self.note(f"{name} starts")
        if name in SERVERS:
            self.apps[name].state.database = process.database
            self.apps[name].state.stopping = Stopping()
        else:
            self.has_started = True
            process.start(self._poll(process))

    async def _poll(self, process: Process) -> None:
        ledger = self.folder / "ledger.db"
        url = f"sqlite:///{ledger}" if self.setup.has_file else "postgresql://simulated/ledger"
        settings = poller_settings().model_copy(
            update={
                "database_url": url,
                "start_from": self.setup.start_from,
                "webhook_allow_private": True,
                **self.setup.settings,
            }
        )
        wanted = routes(with_webhooks=self.setup.webhooks)
        poller = Poller(settings, process.database, Stopping(), wanted, clock=process.clock.now)
        process.at_death.append(poller._file_lock.release)
        for circuit in (poller.crm.circuit, *(target.circuit for target in poller.targets)):
            # Its default is the real time.monotonic, bound before there was a simulated one.
            if hasattr(circuit, "monotonic"):
                circuit.monotonic = self.loop.time
        self.reconcilers[process.name] = poller.reconciler
        await poller.run()
        self.found("bug", f"{process.name} has ended")

    async def compare(self, name: str, trigger: Any, **how: Any) -> None:
        """Have a poller compare both sides and repair, as an operator does."""
        await (await self.reconcilers[name].begin(trigger, repair=True, **how)).carry_out()

    def has_died(self, process: Process) -> None:
        self.processes[process.name] = None
        self.outside(self._boot_later(process.name, process.down_seconds))

    async def _boot_later(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.boot(name)

    def kill(self, service: str, down_seconds: float) -> None:
        """Kill all processes of a service; they start again after so many seconds."""
        for process in list(self.processes.values()):
            if process is not None and process.service == service:
                process.down_seconds = down_seconds
                process.kill()

    # --- people

    async def ask(self, service: str, method: str, path: str, **content: Any) -> httpx.Response:
        """Ask a service as a person would, over a network that does nothing of its own."""
        headers = {"Authorization": "Bearer admin123", **content.pop("headers", {})}
        request = httpx.Request(method, f"http://{service}{path}", headers=headers, **content)
        self.note(f"somebody: {method} {service}{path}")
        return await self.links[service].deliver(request)

    def owes_newcomers(self) -> str:
        """Say whether a customer who is added now is owed a package; see `Person`."""
        [(started,)] = self.disks["integration"].rows("SELECT start_from FROM poller")
        if started or self.setup.start_from == "beginning":
            return "either" if self._goes_by_wrong_dates() else "yes"
        return "either" if self.has_started else "no"

    def _goes_by_wrong_dates(self) -> bool:
        """Whether the dates of new customers decide, and the CRM's clock stands before the start.

        They do where the CRM was put back to before a start with `now`, whose place it then lacks.
        """
        [(cursor, newest)] = self.disks["integration"].rows(
            "SELECT start_cursor, newest_at_start FROM poller"
        )
        if newest is None or (cursor is not None and self.crm_knows(cursor)):
            return False
        return self.clocks["crm"].now() <= datetime.fromisoformat(newest).replace(tzinfo=UTC)

    def crm_knows(self, cursor: str) -> bool:
        """Whether a cursor is of the CRM's feed as it is now, and not of one before a restore."""
        place, crm = FeedCursor.decode(cursor), self.disks["crm"]
        [(last,)] = crm.rows("SELECT last_position FROM feed_head")
        events = crm.rows(f"SELECT event_id FROM events WHERE position = {place.position}")  # noqa: S608
        return place.position <= last and all(place.marks(event_id) for (event_id,) in events)

    # --- backups

    def back_up(self) -> None:
        for service, disk in self.disks.items():
            if disk.changes != self._backed_up[service]:
                self._backed_up[service] = disk.changes
                self.backups[service].append(disk.image())

    def put_back(self, service: str, backups_ago: int) -> None:
        """Restore a database, and know what can't be asked for after that."""
        backups = self.backups[service]
        self.disks[service].put_back(backups[-min(backups_ago, len(backups))])
        self._backed_up[service] = -1
        self.note(f"{service} is restored")
        self.has_lost_packages |= service == "inventory"
        self.may_have_gaps |= service != "inventory"
        if service == "crm":
            there = dict(self.disks["crm"].rows("SELECT uid, erased_at FROM customers"))
            for person in self.people:
                if person.uid not in there or (person.is_erased and not there[person.uid]):
                    person.is_undone = True
        elif service == "integration" and self.owes_newcomers() != "yes":
            # Where to start is decided once more.
            for person in self.people:
                person.is_owed = "either"

    async def close(self) -> None:
        for process in list(self.processes.values()):
            if process is not None:
                process.kill()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in sorted(tasks, key=hash):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Listener(logging.Handler):
    """Puts the log of all services into the run's, and finds in it what must not be there."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.INFO)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        process = PROCESS.get(None)
        said = record.getMessage()
        self._world.note(f"{process.name if process else '-'}: {said}")
        if "is dead until" in said and "no longer in the feed" not in said:
            self._world.found("dead", said)
        elif record.exc_info and isinstance(record.exc_info[1], Exception):
            trace = traceback.format_exception(record.exc_info[1], limit=-4)
            self._world.found("bug", f"{said}\n{''.join(trace)}")


def loop_heard(world: World, context: dict[str, Any]) -> None:
    """Hear of what a task died of when nobody else does; the killed are no news."""
    if isinstance(error := context.get("exception"), Exception):
        world.found("bug", f"{context['message']} {error!r}")


@functools.cache
def disks() -> dict[str, Disk]:
    """Make the disks once, for SQLAlchemy to compile each statement once."""
    return {service: Disk() for service in SERVICES}


@functools.cache
def apps() -> dict[str, FastAPI]:
    """Build the services' apps once; each run gives them databases of its own."""
    return {
        "crm": crm.create_app(CrmSettings(seed_demo_data=False)),
        "inventory": inventory.create_app(InventorySettings(seed_demo_data=False)),
    }


@functools.cache
def poller_settings() -> Settings:
    return Settings(crm_api_url="http://crm", inventory_api_url="http://inventory")


def new_images(folder: Path) -> dict[str, bytes]:
    """Migrate an empty database of each service, and return their images."""
    images = {}
    for service, name in zip(SERVICES, SERVICE_NAMES, strict=True):
        path = folder / f"{name}.db"
        Service(name, port=1).migrations().upgrade(f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as connection:
            # Memory has no use for a write-ahead log, and an image that needs one can't be read.
            connection.execute("PRAGMA journal_mode = DELETE")
            if service == "crm":
                # Each migration draws another one, and it is in every cursor.
                connection.execute("UPDATE feed_head SET epoch = '0123456789abcdef'")
                connection.commit()
            images[service] = connection.serialize()
    return images
