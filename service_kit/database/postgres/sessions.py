"""Looks at PostgreSQL's sessions: whether one still works, and which stalled ones hold locks.

Both queries go by application_name, which `Connections` sets.
"""

import asyncio
import logging

import asyncpg
from sqlalchemy import Connection, text

from service_kit.database.errors import origin
from service_kit.database.postgres import connect

# How often the server is asked about a work without a deadline, and how many times in a row it may
# fail to confirm.
WATCH_SECONDS = 10.0
MISSES = 3
# How long a session may wait for its client within a statement before it counts as stalled.
STALLED_SECONDS = 10.0
# A session that waits for its client, while the client waits for it, has lost its link.
_IS_WORKING = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()
    AND NOT (
        coalesce(wait_event, '') = 'ClientRead'
        AND state_change < clock_timestamp() - interval '10 seconds'
    )
)
"""
# Only sessions of the same service: others, such as a COPY by hand, may well wait for their client.
_TERMINATE_STALLED = text("""
SELECT count(pg_terminate_backend(other.pid))
FROM pg_stat_activity AS other
JOIN pg_stat_activity AS own ON own.pid = pg_backend_pid()
    AND (own.datid, own.usesysid, own.application_name)
        = (other.datid, other.usesysid, other.application_name)
WHERE other.backend_xid IS NOT NULL AND other.state = 'active' AND other.wait_event = 'ClientRead'
    AND other.state_change < clock_timestamp() - make_interval(secs => :seconds)
""")

logger = logging.getLogger("service_kit")


async def watch(connections: connect.Connections, connection: asyncpg.Connection) -> None:
    """Terminate a connection without a deadline once the server no longer works on its statement.

    The server is asked over a second connection. The application_name must belong to these two
    alone.
    """
    misses = 0
    while misses < MISSES:
        await asyncio.sleep(WATCH_SECONDS)
        misses = 0 if await _is_working(connections) else misses + 1
    connect.terminate_unresponsive(connection, MISSES * WATCH_SECONDS)


async def _is_working(connections: connect.Connections) -> bool:
    try:
        asking = await connections.open()
        try:
            async with asyncio.timeout(connect.CONNECT_SECONDS):
                return bool(await asking.fetchval(_IS_WORKING))
        finally:
            asking.terminate()
    except OSError:
        return False
    except asyncpg.PostgresError:
        return True  # the server answers, if only that it has too many connections


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a statement failed because another session held a lock for too long."""
    return getattr(origin(error), "sqlstate", None) == "55P03"


def terminate_stalled(db: Connection) -> None:
    """End transactions of this service's processes that were suspended within a statement.

    No limit of PostgreSQL before version 17 does: the driver sends a statement in two messages, and
    between them the session is not idle, while the statement's own limit has not begun.
    """
    if ended := db.execute(_TERMINATE_STALLED, {"seconds": STALLED_SECONDS}).scalar_one():
        logger.warning("Ended transactions of processes that have stopped responding: %d.", ended)
