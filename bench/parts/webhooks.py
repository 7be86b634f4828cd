"""Webhooks: what a mute one costs the welcome packages, and events beside a plain loop."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from bench.databases import fill
from bench.parts.detection import latencies
from bench.place import Place
from bench.processes import Server, bare_environment, server, service, wait_until
from bench.report import Comparison, compare
from bench.stacks import Stack, call, stack

SECRET = "whsec_" + "YS1zZWNyZXQtb2YtdGhlLWJlbmNoLTMyLWJ5dGVzLi4="
LONGEST_P99 = 1.3  # beside a mute webhook, as a multiple of the one without it
LEAST_OF_CPU = 1.0
LEAST_OF_WALL = 3.0
SLOW_MS = 20
# So many of what waits for a webhook are in the ledger; the rest waits in the feed.
HIGH_MARK = 20_000
PACKAGES = """
[[route]]
name = "welcome-package"
on = ["customer.created"]
unless = { "data.welcome" = false }
target = "inventory"
send = { package_type = "welcome_package" }
start_from = "now"
"""
WEBHOOK = """
[[route]]
name = "shop"
on = ["customer.created"]
target = "webhook"
url = "%s"
secret = "SHOP_SECRET"
"""


def measure(place: Place) -> Iterator[Comparison]:
    yield _beside_a_mute_one(place)
    yield _of_cpu(place)
    yield _of_wall(place)


def _beside_a_mute_one(place: Place) -> Comparison:
    backlog, number, rounds = (25_000, 100, 2) if place.quick else (50_000, 400, 4)
    with _crm(place, backlog) as crm, _receiver(place, "mute") as mute:
        beside, alone = [], []
        for turn in range(rounds):
            with stack(place, crm, **_routes(place, PACKAGES, WEBHOOK % mute.url)) as running:
                wait_until(lambda: _waiting(running) >= HIGH_MARK, "the ledger is full", pause=0.5)
                beside.append(_p99(running, number, f"beside{turn}-"))
                assert _waiting(running) >= HIGH_MARK
            with stack(place, crm, **_routes(place, PACKAGES)) as running:
                alone.append(_p99(running, number, f"alone{turn}-"))
    what = f"commit to package, {backlog} for a mute webhook: p99"
    return compare(
        "webhooks", what, "without it", "ms", beside, alone, goal=LONGEST_P99, less_is_better=True
    )


def _of_cpu(place: Place) -> Comparison:
    number, rounds = (10_000, 1) if place.quick else (20_000, 3)
    own, loop, starts = [], [], []
    with _crm(place, number) as crm, _crm(place, 0) as empty:
        for _ in range(rounds):
            with _receiver(place, "0") as receiver:
                starts.append(_report(place, empty, receiver, 0)[0])
                own.append(_report(place, crm, receiver, number)[0])
            with _receiver(place, "0") as receiver:
                loop.append(_loop(crm, receiver, number)[0])
    spent = [number / (seconds - median(starts)) for seconds in own]
    beside = [number / seconds for seconds in loop]
    what, base = f"{number} events, of its own CPU", "a loop without a ledger"
    return compare("webhooks", what, base, "events/cpu s", spent, beside, goal=LEAST_OF_CPU)


def _of_wall(place: Place) -> Comparison:
    number, rounds = (500, 2) if place.quick else (2000, 3)
    own, loop = [], []
    with _crm(place, number) as crm:
        for _ in range(rounds):
            with _receiver(place, str(SLOW_MS)) as receiver:
                own.append(number / _report(place, crm, receiver, number)[1])
            with _receiver(place, str(SLOW_MS)) as receiver:
                loop.append(number / _loop(crm, receiver, number)[1])
    what, base = f"{number} events to one that takes {SLOW_MS} ms", "a loop without a ledger"
    return compare("webhooks", what, base, "events/s", own, loop, goal=LEAST_OF_WALL)


def _report(place: Place, crm: Server, receiver: Server, number: int) -> tuple[float, float]:
    """Have the integration report so many events.

    Returns its processor seconds, of its start too, and the seconds from the first to the last.
    """
    url = place.database("sqlite", "integration_service")
    routes = _routes(place, WEBHOOK % receiver.url)
    with service(
        "integration_service", place.folder, url, CRM_API_URL=crm.url, **routes
    ) as integration:
        wait_until(lambda: _seen(receiver)["requests"] >= number, "all are sent", pause=0.1)
        wait_until(lambda: _delivered(integration) == number, "all are written down", pause=0.2)
        seen = _seen(receiver)
        assert seen["events"] == number
        return integration.cpu_seconds(), seen["seconds"]


def _loop(crm: Server, receiver: Server, number: int) -> tuple[float, float]:
    script = [sys.executable, "-m", "bench.bases.webhook_loop"]
    found = subprocess.run(
        [*script, crm.url, receiver.url, SECRET, str(number)],
        env=bare_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    seen = _seen(receiver)
    assert seen["events"] == number
    return float(found.stdout), seen["seconds"]


@contextmanager
def _crm(place: Place, rows: int) -> Iterator[Server]:
    url = place.database("sqlite", "crm_api")
    if rows:
        fill(url, rows)
    with service("crm_api", place.folder, url) as crm:
        yield crm


@contextmanager
def _receiver(place: Place, milliseconds: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "bench.bases.receiver", "{port}", milliseconds]
    with server(command, place.folder, "/") as running:
        yield running


def _routes(place: Place, *routes: str) -> dict[str, str]:
    """Write a file of routes. Returns the variables by which it is used."""
    folder = Path(tempfile.mkdtemp(dir=place.folder))
    path = folder / "routes.toml"
    path.write_text("".join(routes))
    allowed = {"WEBHOOK_ALLOW_PRIVATE": "true", "SHOP_SECRET": SECRET}
    return {"ROUTES_FILE": str(path), **allowed}


def _p99(running: Stack, number: int, name: str) -> float:
    time.sleep(2)  # what a start leaves to be done
    return quantiles(latencies(running, number, name), n=100)[98]


def _seen(receiver: Server) -> dict[str, float]:
    seen: dict[str, float] = call(receiver, "GET", "/")
    return seen


def _delivered(integration: Server) -> int:
    number: int = call(integration, "GET", "/status")["deliveries"]["delivered"]
    return number


def _waiting(running: Stack) -> int:
    counts = call(running.integration, "GET", "/routes/shop")["deliveries"]
    number: int = counts["pending"] + counts["retrying"]
    return number
