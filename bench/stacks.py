"""All three services together, as the integration needs them."""

import json
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.place import TOKEN, Place
from bench.processes import Server, service
from service_kit.database.sqlite.connect import file_of

BATCH = 500


@dataclass(frozen=True)
class Stack:
    """Three services that know each other."""

    crm: Server
    inventory: Server
    integration: Server
    inventory_url: str

    @property
    def servers(self) -> tuple[Server, Server, Server]:
        return self.crm, self.inventory, self.integration

    def delivered(self) -> int:
        status = call(self.integration, "GET", "/status")
        number: int = status["deliveries"]["delivered"]
        return number


@contextmanager
def stack(place: Place, crm: Server, **environment: str) -> Iterator[Stack]:
    """Run an Inventory and an integration of their own beside a CRM."""
    inventory_url, url = (
        place.database("sqlite", name) for name in ("inventory_api", "integration_service")
    )
    with (
        service("inventory_api", place.folder, inventory_url) as inventory,
        integration(place, crm, inventory, inventory_url, url, **environment) as running,
    ):
        yield running


@contextmanager
def integration(
    place: Place, crm: Server, inventory: Server, inventory_url: str, url: str, **environment: str
) -> Iterator[Stack]:
    """Run an integration with this database between a CRM and an Inventory with that one."""
    wired = {"CRM_API_URL": crm.url, "INVENTORY_API_URL": inventory.url}
    running = service("integration_service", place.folder, url, **wired, **environment)
    with running as started:
        yield Stack(crm, inventory, started, inventory_url)


def add_customers(crm: Server, number: int) -> None:
    for first in range(0, number, BATCH):
        batch = [
            {"name": f"Customer {n}", "email": f"customer{n}@example.com"}
            for n in range(first, min(first + BATCH, number))
        ]
        results = call(crm, "POST", "/api/customers/batch", batch)
        assert {one["status"] for one in results} == {201}


def call(server: Server, method: str, path: str, body: Any = None, token: str = TOKEN) -> Any:
    """Send one request and return the JSON of its answer."""
    request = urllib.request.Request(  # noqa: S310 (our own server)
        server.url + path,
        json.dumps(body).encode() if body is not None else None,
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def watch(url: str, number: int, seen: dict[str, float], give_up_at: float, first: int = 0) -> None:
    """Look into Inventory's database itself, again and again, until all packages are there.

    Those count whose ids are above `first`. `seen` gets the instant of each, by its customer.
    """
    database = sqlite3.connect(file_of(url))
    last = first
    while len(seen) < number and time.monotonic() < give_up_at:
        rows = database.execute(
            "SELECT id, customer_id FROM package_requests WHERE id > ? ORDER BY id", (last,)
        ).fetchall()
        now = time.perf_counter()
        for last, uid in rows:  # noqa: B007 (the last one is where the next look goes on)
            seen[uid] = now
        time.sleep(0.001)
    database.close()
