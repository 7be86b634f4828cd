"""Opens connections to PostgreSQL, and ends those over which nothing is heard.

A link can go mute: a firewall forgets it, or a proxy hangs. No reset comes, and the server's own
limits don't help, since nobody hears of them. So each wait for a server ends on this side too.
"""

import asyncio
import logging
import re
from weakref import WeakSet

import asyncpg

CONNECT_SECONDS = 5.0
# No statement, lock or forgotten transaction may hold others for long (milliseconds).
SESSION = {
    "statement_timeout": "10000",
    "lock_timeout": "5000",
    # A work never waits for anything, so this is a process that was stopped; its locks are not to
    # keep whoever takes over from it.
    "idle_in_transaction_session_timeout": "10000",
    "timezone": "UTC",
}
# How often a server is asked about what has no deadline, and how often in a row it may not answer.
WATCH_SECONDS = 10.0
MISSES = 3
# A session that waits for its client, while its client waits for it, is one that a link cut off.
_AT_WORK = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()
    AND NOT (
        coalesce(wait_event, '') = 'ClientRead'
        AND state_change < clock_timestamp() - interval '10 seconds'
    )
)
"""

logger = logging.getLogger("service_kit")


def libpq_url(url: str) -> str:
    """Drop SQLAlchemy's driver name: `postgresql+psycopg://` and the like mean the same here."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)


class Connections:
    """The connections of one process to one database.

    They carry `name` as their application_name, unless the URL has one: by it an operator, and the
    other processes of a service, recognise them. Further settings may be given in `session`.
    """

    def __init__(self, url: str, name: str, **session: str) -> None:
        self._url = libpq_url(url)
        self._settings = {**SESSION, **session}
        if "application_name=" not in url:
            self._settings["application_name"] = name
        self._opening: set[asyncio.Timeout] = set()
        self._have_ended = False
        self._open: WeakSet[asyncpg.Connection] = WeakSet()

    async def open(self) -> asyncpg.Connection:
        """Open one; every libpq parameter of the URL (sslmode, …) counts.

        Raises OSError (with TimeoutError, after five seconds) or what the server answers.
        """
        if self._have_ended:
            raise ConnectionAbortedError("the service is stopping")
        opening = asyncio.timeout(CONNECT_SECONDS)
        try:
            async with opening:
                self._opening.add(opening)
                connection = await asyncpg.connect(self._url, server_settings=self._settings)
        except TimeoutError:
            raise TimeoutError(f"no answer to a new connection in {CONNECT_SECONDS:g} s") from None
        except ValueError:
            # The driver's own words may hold a part of the password.
            raise ValueError(
                "DATABASE_URL is not a valid URL. Is a special character in it written as %XX?"
            ) from None
        finally:
            self._opening.discard(opening)
        self._open.add(connection)
        return connection

    def end_all(self) -> None:
        """Break them all, and open no more: whoever waits is told so at once."""
        self._have_ended = True
        now = asyncio.get_running_loop().time()
        for opening in self._opening:
            opening.reschedule(now)
        for connection in list(self._open):
            connection.terminate()

    async def watch(self, connection: asyncpg.Connection) -> None:
        """End a connection whose work has no deadline, once the server works at it no longer.

        The server is asked by another connection. `name` must be this one's alone.
        """
        misses = 0
        while misses < MISSES:
            await asyncio.sleep(WATCH_SECONDS)
            misses = 0 if await self._is_at_work() else misses + 1
        end_mute(connection, MISSES * WATCH_SECONDS)

    async def _is_at_work(self) -> bool:
        try:
            asking = await self.open()
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return bool(await asking.fetchval(_AT_WORK))
            finally:
                asking.terminate()
        except OSError:
            return False
        except asyncpg.PostgresError:
            return True  # it answers, if only that it has too many connections


def end_mute(connection: asyncpg.Connection, seconds: float) -> None:
    """Break a connection whose server has not answered for too long."""
    if connection.is_closed():
        return
    logger.warning("PostgreSQL did not answer within %g s; the connection is ended.", seconds)
    connection.terminate()
