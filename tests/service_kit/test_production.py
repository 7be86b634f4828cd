"""What has served in production is not opened to the demo tokens, nor filled with demo data."""

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from crm_api import copies
from crm_api.app import create_app as create_crm
from crm_api.settings import Settings as CrmSettings
from inventory_api.app import create_app as create_inventory
from service_kit.database import open_database
from service_kit.database.copies.backup import take
from service_kit.database.migrations import Migrations
from service_kit.database.production import remember, served_since
from service_kit.process.cli import migrate_database
from service_kit.process.environment import Refused
from service_kit.process.progress import shown
from tests.conftest import SERVICES, NewDatabase, running

PRODUCTION: dict[str, Any] = {"environment": "production", "api_tokens": "admin:its-own"}
LINKS = {"crm_api_token": "its-own-1", "inventory_api_token": "its-own-2"}


@pytest.fixture
def urls(new_database: NewDatabase) -> dict[str, str]:
    return {service: new_database(service) for service in SERVICES}


def settings_of(service: str, url: str, **given: Any) -> Any:
    of_links = LINKS if service == "integration_service" else {}
    settings = import_module(f"{service}.settings").Settings
    return settings(database_url=url, **of_links, **given)


async def mark(url: str) -> None:
    database = open_database(url, pool_size=2)
    await database.open()
    await database.write(remember)
    await database.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_start_in_production_is_remembered(service: str, urls: dict[str, str]) -> None:
    url = urls[service]
    noted = []
    for _ in range(2):
        async with running(SERVICES[service].app(settings_of(service, url, **PRODUCTION))):
            noted.append(await since(url))

    assert noted[0] is not None
    assert noted[0] == noted[1]


async def since(url: str) -> Any:
    database = open_database(url, pool_size=2)
    await database.open()
    try:
        return await database.read(served_since)
    finally:
        await database.close()


async def test_a_start_in_development_is_not(urls: dict[str, str]) -> None:
    url = urls["crm_api"]
    async with running(create_crm(CrmSettings(database_url=url))):
        assert await since(url) is None


@pytest.mark.parametrize("service", SERVICES)
def test_development_is_refused_in_one_sentence(service: str, urls: dict[str, str]) -> None:
    url = urls[service]
    migrate_database(SERVICES[service], settings_of(service, url))
    asyncio.run(mark(url))

    migrate_database(SERVICES[service], settings_of(service, url, **PRODUCTION))
    with pytest.raises(
        Refused,
        match=r"^the database can't be used: it has served in production since \d{4}-\d\d-\d\d, "
        "and development would open it to the demo tokens: set ENVIRONMENT=production, or name "
        "another in DATABASE_URL$",
    ):
        migrate_database(SERVICES[service], settings_of(service, url))


def test_development_is_refused_before_anything_is_migrated(
    urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = urls["crm_api"]
    asyncio.run(mark(url))

    def upgrade(*_: Any) -> None:
        raise AssertionError("it is migrated")

    monkeypatch.setattr(Migrations, "upgrade_on", upgrade)
    with pytest.raises(Refused, match="has served in production"):
        migrate_database(SERVICES["crm_api"], CrmSettings(database_url=url))


async def test_no_demo_data_are_put_into_one_that_has(urls: dict[str, str]) -> None:
    seeding = {**PRODUCTION, "seed_demo_data": True}
    for service, create, path in (
        ("crm_api", create_crm, "/api/customers"),
        ("inventory_api", create_inventory, "/items"),
    ):
        url = urls[service]
        await mark(url)
        async with running(create(settings_of(service, url, **seeding)), token="its-own") as client:
            assert (await client.get(path)).json() == []


def test_a_backup_remembers(urls: dict[str, str], tmp_path: Path) -> None:
    url, migrations = urls["crm_api"], SERVICES["crm_api"].migrations()
    asyncio.run(mark(url))
    take(migrations, copies.CONTENTS, url, tmp_path / "crm.db", shown)

    taken = CrmSettings(database_url=f"sqlite:///{tmp_path}/crm.db")
    with pytest.raises(Refused, match="has served in production"):
        migrate_database(SERVICES["crm_api"], taken)
