"""Requests to the CRM against FastAPI without a database, and against the tutorials' way."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bench.databases import ENGINES
from bench.loading import Loaded, Request, put_load
from bench.place import BASE_TOKEN, TOKEN, Place
from bench.processes import Server
from bench.report import Comparison, compare

ROWS = 10_000
CONNECTIONS = (16, 64, 256)
BODY = '{"name": "Customer {n}", "email": "new-{n}@example.com"}'
IDS = (1, 50)

GET = Request("GET", "/api/customers/{n}", TOKEN, between=IDS)
PAGE = Request("GET", "/api/customers?limit=50", TOKEN)
POST = Request("POST", "/api/customers", TOKEN, BODY)
BATCH = Request("POST", "/api/customers/batch", TOKEN, BODY, items=500)
TICKETS = Request("GET", "/api/tickets?limit=50", TOKEN)
FEED = Request("GET", "/api/events?limit=50", TOKEN)

# What is compared with what of the base that has no database.
BASES = {GET: GET, PAGE: PAGE, POST: POST, BATCH: BATCH, TICKETS: PAGE, FEED: PAGE}
GOALS: Mapping[tuple[str, Request, int], float] = {
    ("sqlite", GET, 16): 0.85,
    ("sqlite", PAGE, 16): 0.6,
    ("sqlite", POST, 16): 0.5,
    ("sqlite", POST, 64): 0.6,
    ("postgresql", GET, 16): 0.45,
    ("postgresql", POST, 16): 0.4,
}
# The tutorials' way stands still at 64 connections and more; see docs/performance.md.
TUTORIAL_CONNECTIONS = 16
TUTORIAL_GOALS = {GET: 5.0}
LONGEST_P99 = 10.0


def measure(place: Place) -> Iterator[Comparison]:
    yield from _floor(place)
    cma = place.base("cma")
    crms = {engine: place.crm(engine, ROWS) for engine in ENGINES}
    for request, other in BASES.items():
        for connections in CONNECTIONS if request in {GET, POST} else (16,):
            yield from _against_cma(place, cma, crms, request, other, connections)
    for engine in ENGINES:
        yield from _against_tutorial(place, engine, crms[engine])
        yield from _crowd(place, engine, crms[engine])


def _floor(place: Place) -> Iterator[Comparison]:
    """Tell what the server beneath costs: the least for anything on it."""
    servers = {"raw": place.base("raw", "/"), "cma": place.base("cma")}
    ways = {name: (server, _as_base(GET)) for name, server in servers.items()}
    found = in_turns(place, ways, 16)
    yield _by_cpu("a constant, no framework", "FastAPI, no database", found["raw"], found["cma"])


def _against_cma(
    place: Place,
    cma: Server,
    crms: Mapping[str, Server],
    request: Request,
    other: Request,
    connections: int,
) -> Iterator[Comparison]:
    ways = {"cma": (cma, _as_base(other))}
    ways |= {engine: (crm, request) for engine, crm in crms.items()}
    found = in_turns(place, ways, connections)
    for engine in crms:
        yield _by_cpu(
            f"{name_of(request)}, {engine}, {connections}",
            "FastAPI, no database",
            found[engine],
            found["cma"],
            GOALS.get((engine, request, connections)),
        )


def _against_tutorial(place: Place, engine: str, crm: Server) -> Iterator[Comparison]:
    try:
        tutorial = place.base("tutorial", DATABASE_URL=place.database(engine))
    except RuntimeError:
        print(f"The tutorials' way on {engine} is left out: requirements/bench.txt has its driver.")
        return
    put_load(tutorial, [_as_base(POST)], 1, 1.0)
    for request in (GET, POST):
        ways = {"own": (crm, request), "tutorial": (tutorial, _as_base(request))}
        found = in_turns(place, ways, TUTORIAL_CONNECTIONS)
        what = f"{name_of(request)}, {engine}, {TUTORIAL_CONNECTIONS}"
        goal = TUTORIAL_GOALS.get(request) if engine == "sqlite" else None
        yield _by_cpu(what, "tutorials' way", found["own"], found["tutorial"], goal)
        yield compare(
            "http",
            f"{what}: p99",
            "tutorials' way",
            "ms",
            [one.p99 * 1000 for one in found["own"]],
            [one.p99 * 1000 for one in found["tutorial"]],
            goal=0.05 if request is POST and engine == "sqlite" else None,
            less_is_better=True,
            note=failures(found["tutorial"], "the tutorials' way"),
        )


def _crowd(place: Place, engine: str, crm: Server) -> Iterator[Comparison]:
    """Read and write by turns over many connections: nobody fails, nobody waits for ever."""
    found = [put_load(crm, [GET, POST, PAGE, GET], 256, place.seconds * 2) for _ in range(2)]
    yield compare(
        "http",
        f"reads and writes, {engine}, 256: p99",
        "its own p50",
        "ms",
        [one.p99 * 1000 for one in found],
        [one.p50 * 1000 for one in found],
        goal=LONGEST_P99,
        less_is_better=True,
        note=failures(found, "the CRM") or "no request failed",
    )


def in_turns(
    place: Place, ways: Mapping[str, tuple[Server, Request]], connections: int
) -> dict[str, list[Loaded]]:
    """Load each of them for a while, one after another, and all of that again and again."""
    found: dict[str, list[Loaded]] = defaultdict(list)
    for _ in range(place.rounds):
        for name, (server, request) in ways.items():
            found[name].append(put_load(server, [request], connections, place.seconds))
    return found


def _by_cpu(
    what: str,
    base: str,
    own: Sequence[Loaded],
    beside: Sequence[Loaded],
    goal: float | None = None,
) -> Comparison:
    a_second = [
        round(sorted(one.a_second for one in side)[len(side) // 2]) for side in (own, beside)
    ]
    note = f"{a_second[0]} and {a_second[1]} a second"
    return compare(
        "http",
        what,
        base,
        "req/cpu s",
        [1e6 / one.cpu_us for one in own],
        [1e6 / one.cpu_us for one in beside],
        goal=goal,
        note=", ".join(filter(None, [note, failures(own, "own"), failures(beside, "base")])),
    )


def _as_base(request: Request) -> Request:
    return Request(
        request.method, request.path, BASE_TOKEN, request.body, request.between, request.items
    )


def name_of(request: Request) -> str:
    names = {GET: "GET by id", PAGE: "page of 50", POST: "POST", BATCH: "batch of 500"}
    return {**names, TICKETS: "tickets, page of 50", FEED: "feed, page of 50"}[request]


def failures(loads: Sequence[Loaded], whose: str) -> str:
    failed = sum(load.failed for load in loads)
    return f"{failed} of {sum(load.requests for load in loads)} of {whose} failed" if failed else ""
