"""The console: how soon its pages are there, and what it costs the API's callers."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import quantiles

import httpx

from bench.databases import fill, run_sql
from bench.loading import Request, put_load
from bench.parts.http import GET, PAGE, POST, in_turns
from bench.place import TOKEN, Place
from bench.processes import Server, service, wait_until
from bench.report import Comparison, compare
from bench.stacks import stack

GOAL_MS = 50.0
CONSOLES = 10
# What a hundredth of all is waiting for, the rest has behind it.
SHIPPED = "UPDATE package_requests SET status = 'shipped' WHERE id % 100; ANALYZE"
CLOSED = "UPDATE tickets SET status = 'closed' WHERE id % 100; ANALYZE"
PAGES = (
    "",
    "/customers",
    "/customers?q=customer5",
    "/customers/{customer}",
    "/deliveries",
    "/deliveries?state=delivered",
    "/deliveries/{uid}",
    "/tickets",
    "/tickets?view=all",
    "/tickets/{customer}",
    "/packing",
    "/stock",
    "/imports",
    "/tokens",
    "/audit",
    "/feed",
    "/search?q=customer5",
)


def measure(place: Place) -> Iterator[Comparison]:
    customers = 10_000 if place.quick else 100_000
    with _platform(place, customers) as (crm, without):
        yield from _pages(place, crm, customers)
        for request, what in ((GET, "GET by id"), (PAGE, "page of 50"), (POST, "POST")):
            yield _beside_none(place, crm, without, request, what)
        for request, what in ((GET, "GET by id"), (POST, "POST")):
            yield from _beside_open_ones(place, crm, request, what)


@contextmanager
def _platform(place: Place, customers: int) -> Iterator[tuple[Server, Server]]:
    """Run all three services, each with so many of its own.

    Gives a CRM whose console sees them, and one on the same database that has no console.
    """
    url = place.database("sqlite", "crm_api")
    fill(url, customers)
    with (
        service("crm_api", place.folder, url, CONSOLE="false") as read,
        stack(place, read) as running,
        # Another process on the same database: it is told where the others are.
        service(
            "crm_api",
            place.folder,
            url,
            INVENTORY_API_URL=running.inventory.url,
            INTEGRATION_API_URL=running.integration.url,
        ) as crm,
    ):
        wait_until(lambda: running.delivered() == customers, "all have a package", pause=0.5)
        run_sql(running.inventory_url, SHIPPED)
        run_sql(url, CLOSED)
        yield crm, read


def _pages(place: Place, crm: Server, customers: int) -> Iterator[Comparison]:
    rounds = 20 if place.quick else 200
    with _signed_in(crm) as browser:
        shown = browser.get("/api/customers/50", headers={"Authorization": f"Bearer {TOKEN}"})
        uid = shown.json()["uid"]
        times: dict[str, list[float]] = {page: [] for page in PAGES}
        asked = []
        for number in range(rounds):
            at = customers // rounds * number + 1
            for page, of_page in times.items():
                of_page.append(
                    _milliseconds(browser, f"/console{page.format(customer=at, uid=uid)}")
                )
            asked.append(_milliseconds(browser, f"/api/customers/{at}", TOKEN))
    beside = _p95(asked)
    for page, of_page in times.items():
        own = _p95(of_page)
        note = f"goal ≤ {GOAL_MS:g} ms: {'reached' if own < GOAL_MS else 'NOT REACHED'}"
        what = f"{customers} customers, /console{page}: p95"
        base = "GET by id, p95"
        yield compare("console", what, base, "ms", [own], [beside], less_is_better=True, note=note)


def _beside_none(
    place: Place, crm: Server, without: Server, request: Request, what: str
) -> Comparison:
    """Load the API in turns where there is a console, which nobody has open, and where is none."""
    found = in_turns(place, {"own": (crm, request), "without": (without, request)}, 16)
    return compare(
        *("console", f"{what}, with a console", "without one", "req/cpu s"),
        [1e6 / one.cpu_us for one in found["own"]],
        [1e6 / one.cpu_us for one in found["without"]],
    )


def _beside_open_ones(
    place: Place, crm: Server, request: Request, what: str
) -> Iterator[Comparison]:
    """Load the API in turns, with consoles that are told of all news and with none."""
    beside, alone = [], []
    for _ in range(place.rounds):
        with ExitStack() as consoles:
            for _ in range(CONSOLES):
                consoles.enter_context(_watching(crm))
            beside.append(put_load(crm, [request], 16, place.seconds))
        alone.append(put_load(crm, [request], 16, place.seconds))
    what = f"{what}, {CONSOLES} consoles open"
    yield compare(
        *("console", what, "none open", "req/cpu s"),
        [1e6 / one.cpu_us for one in beside],
        [1e6 / one.cpu_us for one in alone],
    )
    yield compare(
        *("console", f"{what}: p99", "none open", "ms"),
        [one.p99 * 1000 for one in beside],
        [one.p99 * 1000 for one in alone],
        less_is_better=True,
    )


@contextmanager
def _signed_in(crm: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=crm.url, timeout=30, trust_env=False) as browser:
        own_origin = {"Sec-Fetch-Site": "same-origin"}
        browser.post("/console/sign-in", data={"role": "admin"}, headers=own_origin)
        if browser.get("/console").status_code != httpx.codes.OK:
            raise RuntimeError("The console lets nobody in.")
        yield browser


@contextmanager
def _watching(crm: Server) -> Iterator[None]:
    """Keep a console open that was told how things are."""
    with _signed_in(crm) as browser, browser.stream("GET", "/console/live") as told:
        if not next(told.iter_lines()).startswith("retry:"):
            raise RuntimeError("The console tells no news.")
        yield


def _milliseconds(browser: httpx.Client, address: str, token: str = "") -> float:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    began_at = time.perf_counter()
    answer = browser.get(address, headers=headers)
    took = time.perf_counter() - began_at
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(f"{address} answers {answer.status_code}.")
    return took * 1000


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]
