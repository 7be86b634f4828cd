"""Finds out whether DATABASE_DIRECT_URL leads past the pooler, and to the same database."""

import asyncio

from service_kit.database.errors import raise_unavailable
from service_kit.database.postgres.connect import Connections

# A server that was started at that instant, and one of its databases.
_WHICH = """
SELECT oid, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()
"""


def refuse_unfit(url: str, direct_url: str) -> None:
    """Raise DatabaseUnavailable for a direct URL that does not do what it is for.

    Else a service would migrate one database and use another, or listen where nothing is said.
    Raises ValueError for a malformed URL.
    """
    try:
        asyncio.run(_refuse_unfit(url, direct_url))
    except Exception as error:
        raise_unavailable(error)
        raise


async def _refuse_unfit(url: str, direct_url: str) -> None:
    found = []
    for one in (url, direct_url):
        connections = Connections(one, "crmsys")
        connection = await connections.open()
        try:
            if one == direct_url and connections.is_pooled(connection):
                raise ConnectionError("DATABASE_DIRECT_URL leads through a pooler too")
            found.append(await connection.fetchrow(_WHICH, timeout=10))
        finally:
            connection.terminate()
    if found[0] != found[1]:
        raise ConnectionError("DATABASE_URL and DATABASE_DIRECT_URL name different databases")
