"""What one customer alone costs, from the request to the package: counted and not timed.

All three services in one process, each on its own database, wired to each other. The integration
waits at the CRM's feed, as it does nearly always.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import pytest
import respx
from fastapi import FastAPI

from crm_api.app import create_app as create_crm
from crm_api.settings import Settings as CrmSettings
from integration_service.app import create_app as create_integration
from integration_service.settings import Settings
from inventory_api.app import create_app as create_inventory
from inventory_api.settings import Settings as InventorySettings
from tests.commits import Commits, commits_of
from tests.conftest import NewDatabase, running
from tests.identity import forward_to
from tests.statements import statements

pytestmark = pytest.mark.slow

# Commits and flushes of each service. A commit more is felt by every customer who comes alone, as
# a flush of a disk is most of what such a one waits for: raise a number with a reason alone.
COMMITS = {
    "sqlite": {"crm": (1, 1), "integration": (1, 1), "inventory": (1, 1)},
    "postgresql": {"crm": (1, 1), "integration": (1, 1), "inventory": (1, 1)},
}
WRITING_STATEMENTS = {"sqlite": 12, "postgresql": 10}
# So that neither a renewal nor the end of a long poll is among what is counted.
LONGEST_LEASE_SECONDS, LONGEST_WAIT_SECONDS = 300, 25


class Platform:
    """The three services, with a poller at work."""

    def __init__(self, clients: dict[str, httpx.AsyncClient]) -> None:
        self.clients = clients
        self.databases = {name: app_of(client).state.database for name, client in clients.items()}
        self._poller = app_of(clients["integration"]).state.poller

    async def serve(self, name: str) -> None:
        """Add a customer, and wait until the package is delivered and all is quiet again."""
        new = {"name": name, "email": f"{name}@example.com"}
        added = await self.clients["crm"].post("/api/customers", json=new)
        assert added.status_code == 201
        uid = added.json()["uid"]
        delivered = await self.clients["integration"].get(f"/deliveries/{uid}/wait?timeout=20")
        while delivered.status_code == 404:
            delivered = await self.clients["integration"].get(f"/deliveries/{uid}/wait?timeout=20")
        assert delivered.json()["state"] == "delivered"
        await self.rest()

    async def rest(self) -> None:
        """Wait until the poller waits for news and nothing is under way."""
        poller, turns = self._poller, 0
        async with asyncio.timeout(20):
            while turns < 20:
                is_quiet = poller.ingest.is_waiting and not poller.dispatch._under_way
                turns = turns + 1 if is_quiet else 0
                for database in self.databases.values():
                    await database.ping()


def app_of(client: httpx.AsyncClient) -> Any:
    return client.app  # type: ignore[attr-defined]


@pytest.fixture
def apps(emptied_database: NewDatabase, new_database: NewDatabase) -> dict[str, FastAPI]:
    integration = Settings(
        database_url=new_database("integration_service"),
        crm_api_url="http://crm",
        inventory_api_url="http://inventory",
        lease_seconds=LONGEST_LEASE_SECONDS,
        long_poll_seconds=LONGEST_WAIT_SECONDS,
    )
    empty = {"seed_demo_data": False}
    return {
        "crm": create_crm(CrmSettings(database_url=emptied_database("crm_api"), **empty)),
        "inventory": create_inventory(
            InventorySettings(database_url=emptied_database("inventory_api"), **empty)
        ),
        "integration": create_integration(integration),
    }


@pytest.fixture
async def platform(apps: dict[str, FastAPI]) -> AsyncIterator[Platform]:
    clients = {}
    async with AsyncExitStack() as stack:
        router = stack.enter_context(respx.mock(assert_all_called=False))
        for name, app in apps.items():
            router.route(host=name).mock(side_effect=forward_to(app))
            clients[name] = await stack.enter_async_context(running(app, token="admin123"))
        yield Platform(clients)


async def test_commits_of_one_customer(platform: Platform, engine: str) -> None:
    await platform.serve("first")
    counted: dict[str, Commits] = {}
    with ExitStack() as counting:
        sent = counting.enter_context(statements())
        for name, database in platform.databases.items():
            counted[name] = counting.enter_context(commits_of(database))
        await platform.serve("ada")

    assert {name: (one.commits, one.flushes) for name, one in counted.items()} == COMMITS[engine]
    # Whoever waits for a delivery looks again and again, so what only reads is left out.
    writing = [one for one in sent if not one.startswith("SELECT") or "FOR UPDATE" in one]
    assert len(writing) == WRITING_STATEMENTS[engine], "\n".join(writing)
