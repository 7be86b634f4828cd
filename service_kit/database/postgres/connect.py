"""Opens connections to PostgreSQL, and terminates those whose server stops responding.

A link can fall silent without a reset: a firewall forgets it, or a proxy hangs. The server's own
limits don't help then, since their errors never arrive. So every wait also ends on this side.

A pooler such as PgBouncer may stand in between and lend each transaction any free session of the
server. What a session keeps can't be relied on then: settings, prepared statements, LISTEN. Each
process finds out by itself; a setting for it could be wrong.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable
from typing import TypeVar
from weakref import WeakSet

import asyncpg

from service_kit.database.hosts import split

CONNECT_SECONDS = 5.0
# No statement, lock or abandoned transaction may block others for long (milliseconds).
SESSION = {
    "statement_timeout": "10000",
    "lock_timeout": "5000",
    # Works never wait between statements, so an idle transaction belongs to a suspended process;
    # the process that takes over needs its locks.
    "idle_in_transaction_session_timeout": "10000",
}
# Statements that a session of its own keeps prepared; the default of asyncpg and of SQLAlchemy.
KEPT_STATEMENTS = 100

logger = logging.getLogger("service_kit")

T = TypeVar("T")


class Connections:
    """Opens this process's connections to one database, and can terminate all of them.

    `name` becomes their application_name unless the URL has one: operators, and the other processes
    of the service, recognise them by it. `session` adds or replaces server settings.

    Where the URL has several hosts, those that take no writes are passed over.
    """

    def __init__(self, url: str, name: str, **session: str) -> None:
        # The URL may name one of SQLAlchemy's drivers, as in `postgresql+psycopg://`.
        self._url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)
        # Of all settings a pooler keeps these for each of its clients; others it refuses.
        self._startup = {"timezone": "UTC"}
        if "application_name=" not in url:
            self._startup["application_name"] = name
        # Without it the first host that answers is taken, though it be a standby.
        has_several = len(split(self._url).hosts) > 1
        is_said = "target_session_attrs=" in url
        self._target = "read-write" if has_several and not is_said else None
        self._session = SESSION | session
        self._behind_pooler = False
        self._opening: set[asyncio.Timeout] = set()
        self._open: WeakSet[asyncpg.Connection] = WeakSet()
        self._pooled: WeakSet[asyncpg.Connection] = WeakSet()
        self._terminated = False

    async def open(self) -> asyncpg.Connection:
        """Open a connection; every libpq parameter in the URL (sslmode, …) counts.

        Raises OSError (TimeoutError after five seconds), ValueError for a malformed URL, or
        asyncpg.PostgresError.
        """
        connection = await self._connect()
        if not self._behind_pooler and not await _answer(connection, _has_own_session(connection)):
            self._behind_pooler = True
            connection.terminate()
            connection = await self._connect()  # with what a pooler needs
        if self._behind_pooler:
            self._pooled.add(connection)
        else:
            await _answer(connection, connection.execute(self._set("SET")))
        return connection

    def is_pooled(self, connection: asyncpg.Connection) -> bool:
        """Return whether a connection has no session of its own: only transactions hold together.

        Its transactions must begin with `set_local`, and it must not LISTEN.
        """
        return connection in self._pooled

    @property
    def set_local(self) -> str:
        """The statements that give one transaction what otherwise the session has."""
        return self._set("SET LOCAL")

    def _set(self, verb: str) -> str:
        return ";".join(f"{verb} {name} = {value}" for name, value in self._session.items())

    async def _connect(self) -> asyncpg.Connection:
        if self._terminated:
            raise ConnectionAbortedError("the service is stopping")
        opening = asyncio.timeout(CONNECT_SECONDS)
        try:
            async with opening:
                self._opening.add(opening)
                connection = await asyncpg.connect(
                    self._url,
                    server_settings=self._startup,
                    target_session_attrs=self._target,
                    statement_cache_size=0 if self._behind_pooler else KEPT_STATEMENTS,
                )
        except ValueError:
            # The driver's message may contain a part of the password.
            raise ValueError(
                "DATABASE_URL is not a valid URL. Is a special character in it written as %XX?"
            ) from None
        except Exception as error:
            # The driver goes on to the next host only where one refuses: not where a machine that
            # is gone never answers, or a proxy in front of it hangs up.
            parts = split(self._url)
            self._url = parts.with_hosts(*parts.hosts[1:], *parts.hosts[:1])
            if isinstance(error, TimeoutError):
                seconds = f"{CONNECT_SECONDS:g} s"
                raise TimeoutError(f"no answer to a new connection in {seconds}") from None
            raise
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


async def _answer(connection: asyncpg.Connection, asking: Awaitable[T]) -> T:
    """Await what a new connection is asked, and end a connection that fails in it."""
    seconds = CONNECT_SECONDS
    deadline = asyncio.get_running_loop().call_later(
        seconds, terminate_unresponsive, connection, seconds
    )
    try:
        return await asking
    except BaseException:
        connection.terminate()
        raise
    finally:
        deadline.cancel()


async def _has_own_session(connection: asyncpg.Connection) -> bool:
    """Return whether no pooler stands in between, which gives its clients numbers of its own.

    Raises ConnectionError for a pooler that allows no transactions.
    """
    transaction = connection.transaction()
    try:
        await transaction.start()
        # Without a name, since a pooler would give a named one to whoever has that session next.
        statement = await connection.prepare("SELECT pg_backend_pid()", name="")
        pid = await statement.fetchval()
        await transaction.rollback()
    except asyncpg.PostgresError as error:
        if "statement pooling" not in str(error):
            raise
        raise ConnectionError(
            "the pooler in front of it pools statements, which allows no transactions: "
            "set PgBouncer's pool_mode to transaction"
        ) from None
    return bool(pid == connection.get_server_pid())
