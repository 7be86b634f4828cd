"""How long until a new process answers, and how much memory it takes while it does nothing."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

from bench.place import BASE_TOKEN, TOKEN, Place
from bench.processes import Server, answers, base, service, wait_until
from bench.report import Comparison, compare

HEALTH, DATA = "/health", "/api/customers?limit=1"


def measure(place: Place) -> Iterator[Comparison]:
    url = place.database("sqlite", "crm_api")
    own, bare = [], []
    for _ in range(place.rounds * 2):
        own.append(seconds(service("crm_api", place.folder, url, ready=HEALTH), TOKEN))
        bare.append(seconds(base("cma", place.folder, HEALTH), BASE_TOKEN))
    for at, what in enumerate(("start to the first /health", "… to the first data")):
        one, other = [times[at] * 1000 for times in own], [times[at] * 1000 for times in bare]
        yield compare("start", what, "bare FastAPI", "ms", one, other, less_is_better=True)
    yield from memory(place)


def seconds(starting: AbstractContextManager[Server], token: str) -> tuple[float, float]:
    began_at = time.perf_counter()
    with starting as running:
        healthy = time.perf_counter() - began_at
        wait_until(lambda: answers(running, DATA, token), "data is answered")
        return healthy, time.perf_counter() - began_at


def memory(place: Place) -> Iterator[Comparison]:
    """Compare the memory after a first request, which loads what is loaded late."""
    for engine in ("sqlite", "postgresql"):
        url = place.database(engine, "crm_api")
        try:
            tutorial = base("tutorial", place.folder, HEALTH, DATABASE_URL=place.database(engine))
            with service("crm_api", place.folder, url) as crm, tutorial as other:
                assert answers(crm, DATA, TOKEN)
                assert answers(other, DATA, BASE_TOKEN)
                own, beside = [crm.memory_mib()], [other.memory_mib()]
        except RuntimeError:
            print(f"The tutorials' way on {engine} is left out: requirements/bench.txt has it.")
            continue
        what = f"idle memory, {engine}"
        yield compare(
            "start", what, "tutorials' way", "MiB", own, beside, goal=0.95, less_is_better=True
        )
