"""PostgreSQL goes away just while a service starts: it begins again, and nothing is made twice."""

import asyncio
from importlib import import_module
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from service_kit.database.migrations import current_revision
from service_kit.database.postgres.connect import Connections
from service_kit.database.postgres.pool import AutocommitPool
from tests.conftest import SERVICES, NewDatabase, running

pytestmark = pytest.mark.engine("postgresql")

END = text("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def database_url(new_database: NewDatabase, service: str) -> str:
    return new_database(service)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("service", "path", "number"),
    [("crm_api", "/api/customers", 2), ("inventory_api", "/items", 3)],
)
async def test_demo_data_are_made_once_though_the_first_try_loses_its_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch, service: str, path: str, number: int
) -> None:
    demo = import_module(f"{service}.demo")
    seed, tries = demo.seed, 0

    def ended_at_first(db: Connection, *args: Any) -> None:
        nonlocal tries
        tries += 1
        seed(db, *args)
        if tries == 1:
            db.execute(END)

    monkeypatch.setattr(demo, "seed", ended_at_first)
    settings = import_module(f"{service}.settings").Settings(
        database_url=database_url, seed_demo_data=True
    )

    async with running(SERVICES[service].app(settings), token="admin123") as client:
        found = await client.get(path)

    assert tries == 2
    assert found.status_code == httpx.codes.OK
    assert len(found.json()) == number


def test_a_lost_connection_is_not_taken_for_a_database_without_tables(
    new_database: NewDatabase,
) -> None:
    url = new_database("crm_api")

    async def look() -> None:
        pool = AutocommitPool(Connections(url, "test"), size=1)
        async with pool.connection() as connection:
            found = await connection.run_in_transaction(current_revision)
            assert found == SERVICES["crm_api"].migrations().head
            await end(connection.driver.get_server_pid())
            with pytest.raises(DBAPIError):
                await connection.run(current_revision)
        await pool.close()

    async def end(pid: int) -> None:
        """End a session of another, and wait until it is gone."""
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        finally:
            await connection.close()

    asyncio.run(look())
