"""How many connections to PostgreSQL a process holds: their sum must fit the server."""

import asyncio

import pytest
from sqlalchemy import Connection, text

from service_kit.database import Database
from tests.conftest import running
from tests.service_kit.conftest import create_app

pytestmark = [pytest.mark.slow, pytest.mark.engine("postgresql")]

WAIT = text("SELECT pg_sleep(0.2)")
SESSIONS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'boxes'"
)


def count(db: Connection) -> int:
    return int(db.execute(SESSIONS).scalar_one())


def wait_and_count(db: Connection) -> int:
    db.execute(WAIT)
    return count(db)


async def test_a_process_holds_no_more_connections_than_it_may(database_url: str) -> None:
    app = create_app(database_url, database_pool_size=3)
    async with running(app):
        database: Database = app.state.database
        async with asyncio.timeout(30):
            # Until the one is there that hears of commits.
            while await database.read(count) < 2:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)

        found = await asyncio.gather(*(database.read(wait_and_count) for _ in range(8)))

    assert max(found) == 3
