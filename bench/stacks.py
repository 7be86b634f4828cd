"""All three services together, as the integration needs them."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.place import TOKEN, Place
from bench.processes import Server, service

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
    urls = {
        name: place.database("sqlite", name) for name in ("inventory_api", "integration_service")
    }
    with service("inventory_api", place.folder, urls["inventory_api"]) as inventory:
        wired = {"CRM_API_URL": crm.url, "INVENTORY_API_URL": inventory.url}
        with service(
            "integration_service",
            place.folder,
            urls["integration_service"],
            **wired,
            **environment,
        ) as integration:
            yield Stack(crm, inventory, integration, urls["inventory_api"])


def add_customers(crm: Server, number: int) -> None:
    for first in range(0, number, BATCH):
        batch = [
            {"name": f"Customer {n}", "email": f"customer{n}@example.com"}
            for n in range(first, min(first + BATCH, number))
        ]
        results = call(crm, "POST", "/api/customers/batch", batch)
        assert {one["status"] for one in results} == {201}


def call(server: Server, method: str, path: str, body: Any = None) -> Any:
    """Send one request and return the JSON of its answer."""
    request = urllib.request.Request(  # noqa: S310 (our own server)
        server.url + path,
        json.dumps(body).encode() if body is not None else None,
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)
