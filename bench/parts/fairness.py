"""A well-behaved caller beside one that asks for too much: how long the first waits, and fails."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.attacks import ATTACKS
from bench.databases import ENGINES, fill
from bench.loading import Loaded, Request, put_load
from bench.parts.http import BODY, IDS
from bench.place import Place
from bench.processes import Server, bare_environment, service
from bench.report import Comparison, compare

ROWS = 1000
CONNECTIONS = 4
A_SECOND = 40.0  # below the rate that a caller has in production
LONGEST_P99 = 3.0  # of the one beside an attack, as a multiple of the one alone
CONTAINER_MIB = 512.0  # the memory that docker-compose.prod.yml gives a service

WELL_BEHAVED, GREEDY = "bench-well-behaved-" + "a" * 32, "bench-greedy-" + "b" * 32
REQUESTS = (
    Request("GET", "/api/customers/{n}", WELL_BEHAVED, between=IDS),
    Request("POST", "/api/customers", WELL_BEHAVED, BODY),
    Request("GET", "/api/customers?limit=50", WELL_BEHAVED),
    Request("GET", "/api/customers/{n}", WELL_BEHAVED, between=IDS),
)


def measure(place: Place) -> Iterator[Comparison]:
    for engine in ENGINES:
        for attack in ATTACKS:
            with _crm(place, engine) as crm:
                yield from _beside(crm, engine, attack, 6.0 if place.quick else 20.0)


def _beside(crm: Server, engine: str, attack: str, seconds: float) -> Iterator[Comparison]:
    alone = _well_behaved(crm, seconds)
    with _attacked(crm, attack):
        beside = _well_behaved(crm, seconds)
        memory = crm.memory_mib()
    what = f"{attack}, {engine}"
    yield compare(
        "fairness",
        f"{what}: p99",
        "alone",
        "ms",
        [beside.p99 * 1000],
        [alone.p99 * 1000],
        goal=LONGEST_P99,
        less_is_better=True,
        note=f"{beside.failed} of {beside.requests} failed",
    )
    yield compare(
        "fairness",
        f"{what}: failed",
        "alone",
        "requests",
        [float(beside.failed)],
        [1.0 + alone.failed],
        goal=0.0,
        less_is_better=True,
    )
    yield compare(
        "fairness",
        f"{what}: memory",
        "the container's limit",
        "MiB",
        [memory],
        [CONTAINER_MIB],
        goal=1.0,
        less_is_better=True,
    )


@contextmanager
def _crm(place: Place, engine: str) -> Iterator[Server]:
    """Run a CRM with its limits as in production; none has been attacked before."""
    url = place.database(engine, "crm_api")
    fill(url, ROWS)
    tokens = f"admin:{WELL_BEHAVED},admin:{GREEDY}"
    with service(
        "crm_api", place.folder, url, ENVIRONMENT="production", API_TOKENS=tokens
    ) as running:
        yield running


@contextmanager
def _attacked(crm: Server, attack: str) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.attacks", attack, str(crm.port), GREEDY]
    attacker = subprocess.Popen(command, env=bare_environment())
    try:
        yield
        if attacker.poll() is not None:
            raise RuntimeError(f"The attack with {attack} ended with {attacker.returncode}.")
    finally:
        attacker.terminate()
        attacker.wait(timeout=15)


def _well_behaved(crm: Server, seconds: float) -> Loaded:
    return put_load(crm, REQUESTS, CONNECTIONS, seconds, A_SECOND)
