"""From a customer's commit in the CRM to its package in Inventory, with long polls and without."""

import threading
import time
from collections.abc import Iterator

from bench.place import Place
from bench.processes import service
from bench.report import Comparison, compare
from bench.stacks import Stack, call, stack, watch

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


def latencies(running: Stack, number: int, name: str = "customer") -> list[float]:
    """Add customers at a steady pace. Returns, for each, after how many ms its package was seen."""
    seen: dict[str, float] = {}
    give_up_at = time.monotonic() + 30 + number / A_SECOND
    watching = threading.Thread(
        target=watch, args=(running.inventory_url, number, seen, give_up_at)
    )
    watching.start()
    committed: dict[str, float] = {}
    next_at = time.perf_counter()
    for n in range(number):
        new = {"name": f"Customer {n}", "email": f"{name}{n}@example.com"}
        uid = call(running.crm, "POST", "/api/customers", new)["uid"]
        committed[uid] = time.perf_counter()
        next_at += 1 / A_SECOND
        time.sleep(max(0.0, next_at - time.perf_counter()))
    watching.join()
    return [(seen[uid] - at) * 1000 for uid, at in committed.items()]
