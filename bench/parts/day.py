"""A normal day: customers who come one by one, from the request to the package.

Beside it DBOS in two places: in the integration's, and in the CRM's, where the request's handler
starts the workflow itself. Each round measures all of them, one after another.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

from bench.durable import DBOS_PAGES, is_installed
from bench.place import TOKEN, Place
from bench.processes import Server, bare_environment, base, service
from bench.report import Comparison, compare
from bench.stacks import stack, watch
from service_kit.database.sqlite.connect import file_of

RATES = (1, 10, 50)
# Enough for a 99th percentile, but where only one comes in a second.
CUSTOMERS = {1: 20, 10: 200, 50: 500}
WARM_UP = 5
IDLE_SECONDS = 8.0


@dataclass(frozen=True)
class Running:
    """Where customers are added, and what makes their packages."""

    entry: Server
    servers: Sequence[Server]
    inventory_url: str

    def cpu_seconds(self) -> float:
        return sum(one.cpu_seconds() for one in self.servers)


@dataclass(frozen=True)
class Day:
    """What it was like at one rate: milliseconds to the package, and CPU milliseconds."""

    times: Sequence[float]
    cpu_ms: float
    # How many packages had not come after another thirty seconds.
    missing: int

    def at(self, share: int) -> float:
        return self.times[len(self.times) * share // 100]


Platform = Callable[[Place], AbstractContextManager[Running]]


def measure(place: Place) -> Iterator[Comparison]:
    peers: dict[str, Platform] = {"a look every second": own_looking}
    if is_installed("dbos"):
        peers |= {DBOS_PAGES.name: dbos_pages, "DBOS in the handler": dbos_handler}
    rounds = 1 if place.quick else 3
    days: dict[tuple[str, int], list[Day]] = {}
    idle: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, platform in {"own": own, **peers}.items():
            with platform(place) as running:
                a_day(running, 0, WARM_UP, WARM_UP)  # and all of it has started
                first = WARM_UP
                for rate in RATES:
                    number = CUSTOMERS[rate] // (4 if place.quick else 1)
                    days.setdefault((name, rate), []).append(a_day(running, first, number, rate))
                    first += number
                idle.setdefault(name, []).append(idle_cpu(running))
    for name in peers:
        for rate in RATES:
            yield from compared(rate, name, days["own", rate], days[name, rate])
        what = "idle CPU, all processes"
        yield compare("day", what, name, "ms/s", idle["own"], idle[name], less_is_better=True)


def compared(
    rate: int, name: str, own: Sequence[Day], beside: Sequence[Day]
) -> Iterator[Comparison]:
    for share in (50, 99):
        times = [day.at(share) for day in own], [day.at(share) for day in beside]
        what = f"{rate} a second: request to package, p{share}"
        missing = sum(day.missing for day in beside)
        note = f"{missing} of its packages did not come" if missing else ""
        yield compare("day", what, name, "ms", *times, less_is_better=True, note=note)
    cpu = [day.cpu_ms for day in own], [day.cpu_ms for day in beside]
    what = f"{rate} a second: CPU of all processes a customer"
    yield compare("day", what, name, "ms", *cpu, less_is_better=True)


def a_day(running: Running, first: int, number: int, a_second: int) -> Day:
    """Add customers at a steady pace, on one kept connection, and see their packages come."""
    seen: dict[str, float] = {}
    give_up_at = time.monotonic() + number / a_second + 30
    watching = threading.Thread(
        target=watch, args=(running.inventory_url, number, seen, give_up_at, first)
    )
    before = running.cpu_seconds()
    watching.start()
    asked: dict[str, float] = {}
    connection = HTTPConnection("127.0.0.1", running.entry.port, timeout=30)
    next_at = time.perf_counter()
    for n in range(first, first + number):
        began_at = time.perf_counter()
        asked[add(connection, n)] = began_at
        next_at += 1 / a_second
        time.sleep(max(0.0, next_at - time.perf_counter()))
    watching.join()
    spent = running.cpu_seconds() - before
    end = time.perf_counter()
    times = sorted((seen.get(uid, end) - at) * 1000 for uid, at in asked.items())
    return Day(times, spent / number * 1000, number - len(seen))


def add(connection: HTTPConnection, n: int) -> str:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    new = {"name": f"Customer {n}", "email": f"customer{n}@example.com"}
    connection.request("POST", "/api/customers", json.dumps(new), headers)
    uid: str = json.load(connection.getresponse())["uid"]
    return uid


def idle_cpu(running: Running) -> float:
    """Return the CPU milliseconds of a second in which nobody comes."""
    before, began_at = running.cpu_seconds(), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    return (running.cpu_seconds() - before) / (time.perf_counter() - began_at) * 1000


@contextmanager
def own(place: Place, **environment: str) -> Iterator[Running]:
    with (
        service("crm_api", place.folder, place.database("sqlite", "crm_api")) as crm,
        stack(place, crm, **environment) as running,
    ):
        yield Running(crm, running.servers, running.inventory_url)


def own_looking(place: Place) -> AbstractContextManager[Running]:
    return own(place, LONG_POLL_SECONDS="0", POLLING_INTERVAL_SECONDS="1")


@contextmanager
def dbos_pages(place: Place) -> Iterator[Running]:
    """DBOS in the integration's place."""
    url, workflows = place.database("sqlite", "inventory_api"), DBOS_PAGES.new_state(place)
    with (
        service("crm_api", place.folder, place.database("sqlite", "crm_api")) as crm,
        service("inventory_api", place.folder, url) as inventory,
    ):
        command = DBOS_PAGES.command(crm, workflows, inventory)
        process = subprocess.Popen(command, env=bare_environment())
        try:
            yield Running(crm, (crm, inventory, Server(0, process)), url)
        finally:
            process.kill()
            process.wait()


@contextmanager
def dbos_handler(place: Place) -> Iterator[Running]:
    """DBOS in the CRM's place."""
    url = place.database("sqlite", "inventory_api")
    with (
        service("inventory_api", place.folder, url) as inventory,
        base(
            "dbos_handler",
            place.folder,
            "/health",
            INVENTORY_API_URL=inventory.url,
            WORKFLOWS_URL=place.database("sqlite"),
            CUSTOMERS_FILE=str(file_of(place.database("sqlite"))),
        ) as entry,
    ):
        yield Running(entry, (entry, inventory), url)
