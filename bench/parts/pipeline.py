"""A backlog of customers: the integration against what survives a crash, and against a script.

What it takes to start counts for both, but beside the script, which is timed once it has read all
customers.
"""

import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from bench.databases import postgres_cpu_seconds
from bench.durable import Peer, installed
from bench.place import Place
from bench.processes import Server, bare_environment, service
from bench.report import Comparison, compare
from bench.stacks import Stack, add_customers, integration
from service_kit.database.sqlite.connect import file_of

BACKLOG, SAMPLE = 50_000, 300
# Of peers that have one workflow or job for each: so many that their start is little of it.
JOBS = 2_000
LONGEST_SECONDS = 300
GOAL = 1 / 300


def measure(place: Place) -> Iterator[Comparison]:
    backlog = 10_000 if place.quick else BACKLOG
    rounds = 1 if place.quick else 2
    peers = {peer: Spent() for peer in installed()}
    own, ready, slow, kept = Spent(), Spent(), Spent(), Spent()
    url = place.database("sqlite", "crm_api")
    with service("crm_api", place.folder, url) as crm:
        add_customers(crm, backlog)
        for _ in range(rounds):
            wall, wall_once_ready, cpu = drain(place, crm, backlog)
            own.add((wall, cpu), backlog)
            ready.add((wall_once_ready, cpu), backlog)
            for peer, spent in peers.items():
                number = JOBS if peer.mode == "customer" else backlog
                spent.add(through_peer(place, crm, peer, number), number)
            slow.add(one_by_one(place, crm, SAMPLE), SAMPLE)
            kept.add(one_by_one(place, crm, SAMPLE, "kept"), SAMPLE)
    what = f"backlog of {backlog}: a customer"
    for peer, spent in peers.items():
        base = peer.name
        yield compare("pipeline", what, base, "ms", own.wall, spent.wall, less_is_better=True)
        yield compare(
            "pipeline", f"{what}, all CPU", base, "ms", own.cpu, spent.cpu, less_is_better=True
        )
    what += ", once ready"
    base = "one by one, kept client"
    yield compare("pipeline", what, base, "ms", ready.wall, kept.wall, less_is_better=True)
    base = "one by one, httpx.post"
    yield compare(
        "pipeline", what, base, "ms", ready.wall, slow.wall, goal=GOAL, less_is_better=True
    )
    what += ", all three's CPU"
    base += ", the two services'"
    yield compare("pipeline", what, base, "ms", ready.cpu, slow.cpu, less_is_better=True)


@dataclass
class Spent:
    """Milliseconds for a customer, round by round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, seconds: tuple[float, float], customers: int) -> None:
        wall, cpu = seconds
        self.wall.append(wall / customers * 1000)
        self.cpu.append(cpu / customers * 1000)


def through_peer(place: Place, crm: Server, peer: Peer, number: int) -> tuple[float, float]:
    """Have a peer do it in the integration's place. Returns the seconds, and all processors'.

    What it takes to start is part of both, and PostgreSQL's processor time too.
    """
    url, its_own = place.database("sqlite", "inventory_api"), peer.new_state(place)
    with service("inventory_api", place.folder, url) as inventory:
        before, began_at = spent_beside(place, crm, inventory), time.perf_counter()
        subprocess.run(
            peer.command(crm, its_own, inventory, number),
            env=bare_environment(),
            cwd=place.folder,
            check=True,
            capture_output=True,
        )
        wall = time.perf_counter() - began_at
        cpu = spent_beside(place, crm, inventory) - before
    if (made := packages(url)) != number:
        raise RuntimeError(f"{peer.name} had {made} packages made of {number}.")
    return wall, cpu


def packages(inventory_url: str) -> int:
    """Count those in Inventory's database: what failed quietly would be the fastest of all."""
    with closing(sqlite3.connect(file_of(inventory_url))) as database:
        [number] = database.execute("SELECT count(*) FROM package_requests").fetchone()
    return int(number)


def spent_beside(place: Place, *servers: Server) -> float:
    """Return the processor seconds of servers, of PostgreSQL, and of processes that have ended."""
    running = sum(one.cpu_seconds() for one in servers)
    return running + postgres_cpu_seconds(place.postgres) + of_ended()


def of_ended() -> float:
    """Return the processor seconds of all processes that this one has started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def drain(place: Place, crm: Server, backlog: int) -> tuple[float, float, float]:
    """Let the integration work it off.

    Returns the seconds from its start and from when it was ready, and those of all processors.
    """
    url, its_own = (
        place.database("sqlite", name) for name in ("inventory_api", "integration_service")
    )
    with service("inventory_api", place.folder, url) as inventory:
        before = crm.cpu_seconds() + inventory.cpu_seconds()
        began_at = time.perf_counter()
        with integration(place, crm, inventory, url, its_own) as running:
            starting = time.perf_counter() - began_at
            wall = until_delivered(running, backlog)
            cpu = sum(one.cpu_seconds() for one in running.servers) - before
            return starting + wall, wall, cpu


def until_delivered(running: Stack, backlog: int) -> float:
    """Return after how many seconds all is delivered.

    Each look has the integration count, so there are few: the next after half of the time that the
    rest will take.
    """
    began_at = time.perf_counter()
    while (done := running.delivered()) < backlog:
        seconds = time.perf_counter() - began_at
        if seconds > LONGEST_SECONDS:
            raise RuntimeError(f"Of {backlog} packages {done} are requested after {seconds:.0f} s.")
        time.sleep(min(0.5, max(0.02, seconds / max(1, done) * (backlog - done) / 2)))
    return time.perf_counter() - began_at


def one_by_one(place: Place, crm: Server, sample: int, *more: str) -> tuple[float, float]:
    url = place.database("sqlite", "inventory_api")
    with service("inventory_api", place.folder, url) as inventory:
        servers = (crm, inventory)
        before = sum(one.cpu_seconds() for one in servers)
        script = [sys.executable, "-m", "bench.bases.one_by_one"]
        found = subprocess.run(
            [*script, crm.url, inventory.url, str(sample), *more],
            env=bare_environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        return float(found.stdout), sum(one.cpu_seconds() for one in servers) - before
