"""Opens connections to PostgreSQL, and terminates those whose server stops responding.

A link can fall silent without a reset: a firewall forgets it, or a proxy hangs. The server's own
limits don't help then, since their errors never arrive. So every wait also ends on this side.
"""

import asyncio
import logging
import re
from weakref import WeakSet

import asyncpg

CONNECT_SECONDS = 5.0
# No statement, lock or abandoned transaction may block others for long (milliseconds).
SESSION = {
    "statement_timeout": "10000",
    "lock_timeout": "5000",
    # Works never wait between statements, so an idle transaction belongs to a suspended process;
    # the process that takes over needs its locks.
    "idle_in_transaction_session_timeout": "10000",
    "timezone": "UTC",
}

logger = logging.getLogger("service_kit")


class Connections:
    """Opens this process's connections to one database, and can terminate all of them.

    `name` becomes their application_name unless the URL has one: operators, and the other processes
    of the service, recognise them by it. `session` adds or replaces server settings.
    """

    def __init__(self, url: str, name: str, **session: str) -> None:
        # The URL may name one of SQLAlchemy's drivers, as in `postgresql+psycopg://`.
        self._url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)
        self._settings = {**SESSION, **session}
        if "application_name=" not in url:
            self._settings["application_name"] = name
        self._opening: set[asyncio.Timeout] = set()
        self._open: WeakSet[asyncpg.Connection] = WeakSet()
        self._terminated = False

    async def open(self) -> asyncpg.Connection:
        """Open a connection; every libpq parameter in the URL (sslmode, …) counts.

        Raises OSError (TimeoutError after five seconds), ValueError for a malformed URL, or
        asyncpg.PostgresError.
        """
        if self._terminated:
            raise ConnectionAbortedError("the service is stopping")
        opening = asyncio.timeout(CONNECT_SECONDS)
        try:
            async with opening:
                self._opening.add(opening)
                connection = await asyncpg.connect(self._url, server_settings=self._settings)
        except TimeoutError:
            raise TimeoutError(f"no answer to a new connection in {CONNECT_SECONDS:g} s") from None
        except ValueError:
            # The driver's message may contain a part of the password.
            raise ValueError(
                "DATABASE_URL is not a valid URL. Is a special character in it written as %XX?"
            ) from None
        finally:
            self._opening.discard(opening)
        self._open.add(connection)
        return connection

    def terminate_all(self) -> None:
        """Break all connections and open no more; pending calls fail at once."""
        self._terminated = True
        now = asyncio.get_running_loop().time()
        for opening in self._opening:
            opening.reschedule(now)
        for connection in list(self._open):
            connection.terminate()


def terminate_unresponsive(connection: asyncpg.Connection, seconds: float) -> None:
    """Terminate a connection whose server has not answered for `seconds`."""
    if not connection.is_closed():
        logger.warning("PostgreSQL did not answer within %g s; the connection is ended.", seconds)
        connection.terminate()
