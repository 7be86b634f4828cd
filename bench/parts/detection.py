"""From a customer's commit in the CRM to its package in Inventory, with long polls and without."""

import sqlite3
import threading
import time
from collections.abc import Iterator

from bench.place import Place
from bench.processes import service
from bench.report import Comparison, compare
from bench.stacks import Stack, call, stack

A_SECOND = 10
# Without long polls a look at the feed comes this often.
INTERVAL_SECONDS = 1
GOAL_MS = 25.0


def measure(place: Place) -> Iterator[Comparison]:
    number = 50 if place.quick else 500
    found = {}
    for name, environment in (
        ("on", {}),
        ("off", {"LONG_POLL_SECONDS": "0", "POLLING_INTERVAL_SECONDS": str(INTERVAL_SECONDS)}),
    ):
        url = place.database("sqlite", "crm_api")
        with (
            service("crm_api", place.folder, url) as crm,
            stack(place, crm, **environment) as running,
        ):
            found[name] = sorted(latencies(running, number))
    base = f"a look every {INTERVAL_SECONDS} s"
    for share, goal in ((50, None), (99, GOAL_MS)):
        on, off = (times[len(times) * share // 100] for times in (found["on"], found["off"]))
        what = f"commit to package, {number} customers: p{share}"
        note = f"goal ≤ {goal:g} ms: {'reached' if on <= goal else 'NOT REACHED'}" if goal else ""
        yield compare("detection", what, base, "ms", [on], [off], less_is_better=True, note=note)


def latencies(running: Stack, number: int) -> list[float]:
    """Add customers at a steady pace. Returns, for each, after how many ms its package was seen."""
    seen: dict[str, float] = {}
    watching = threading.Thread(target=watch, args=(running.inventory_url, number, seen))
    watching.start()
    committed: dict[str, float] = {}
    next_at = time.perf_counter()
    for n in range(number):
        new = {"name": f"Customer {n}", "email": f"customer{n}@example.com"}
        uid = call(running.crm, "POST", "/api/customers", new)["uid"]
        committed[uid] = time.perf_counter()
        next_at += 1 / A_SECOND
        time.sleep(max(0.0, next_at - time.perf_counter()))
    watching.join()
    return [(seen[uid] - at) * 1000 for uid, at in committed.items()]


def watch(url: str, number: int, seen: dict[str, float]) -> None:
    """Look into Inventory's database itself, again and again, until all packages are there."""
    database = sqlite3.connect(url.removeprefix("sqlite:///"))
    last, give_up_at = 0, time.monotonic() + 30 + number / A_SECOND
    while len(seen) < number and time.monotonic() < give_up_at:
        rows = database.execute(
            "SELECT id, customer_id FROM package_requests WHERE id > ? ORDER BY id", (last,)
        ).fetchall()
        now = time.perf_counter()
        for last, uid in rows:  # noqa: B007 (the last one is where the next look goes on)
            seen[uid] = now
        time.sleep(0.001)
    database.close()
