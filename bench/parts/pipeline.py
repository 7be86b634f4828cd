"""A backlog of customers: the integration against a script that asks for one after another."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec

from bench.place import Place
from bench.processes import Server, bare_environment, service
from bench.report import Comparison, compare
from bench.stacks import Stack, add_customers, stack

BACKLOG, SAMPLE = 50_000, 300
LONGEST_SECONDS = 300
GOAL = 1 / 300


def measure(place: Place) -> Iterator[Comparison]:
    backlog = 10_000 if place.quick else BACKLOG
    rounds = 1 if place.quick else 2
    own, cpu, slow, slow_cpu, kept, piped = [], [], [], [], [], []
    if not (has_dlt := find_spec("dlt") is not None):
        print("dlt is left out: requirements/bench.txt has it.")
    url = place.database("sqlite", "crm_api")
    with service("crm_api", place.folder, url) as crm:
        add_customers(crm, backlog)
        for _ in range(rounds):
            wall, spent = drain(place, crm, backlog)
            own.append(wall / backlog * 1000)
            cpu.append(spent / backlog * 1000)
            wall, spent = one_by_one(place, crm, SAMPLE)
            slow.append(wall / SAMPLE * 1000)
            slow_cpu.append(spent / SAMPLE * 1000)
            kept.append(one_by_one(place, crm, SAMPLE, "kept")[0] / SAMPLE * 1000)
            if has_dlt:
                piped.append(through_dlt(place, crm) / backlog * 1000)
    what = f"backlog of {backlog}: a customer"
    base = "one by one, httpx.post"
    yield compare("pipeline", what, base, "ms", own, slow, goal=GOAL, less_is_better=True)
    yield compare("pipeline", what, "one by one, kept client", "ms", own, kept, less_is_better=True)
    what += ", all three's CPU"
    base += ", the two services'"
    yield compare("pipeline", what, base, "ms", cpu, slow_cpu, less_is_better=True)
    if has_dlt:
        what = f"backlog of {backlog}: a customer"
        yield compare("pipeline", what, "dlt, in batches", "ms", own, piped, less_is_better=True)


def drain(place: Place, crm: Server, backlog: int) -> tuple[float, float]:
    """Let the integration work it off. Returns the seconds, and those of all processors."""
    before = crm.cpu_seconds()
    with stack(place, crm) as running:
        wall = until_delivered(running, backlog)
        return wall, sum(one.cpu_seconds() for one in running.servers) - before


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


def through_dlt(place: Place, crm: Server) -> float:
    """Have dlt ask for all of it, in batches; it knows no crash and no repetition."""
    url = place.database("sqlite", "inventory_api")
    with (
        service("inventory_api", place.folder, url) as inventory,
        tempfile.TemporaryDirectory(dir=place.folder) as folder,
    ):
        began_at = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "bench.bases.dlt_pipeline", crm.url, inventory.url, folder],
            env=bare_environment(),
            cwd=folder,
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - began_at
