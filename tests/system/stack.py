"""Three real services, wired to each other; their client; and a judge of what came of it all."""

import asyncio
import itertools
import re
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import asyncpg
import httpx

from tests.conftest import NewDatabase, bearer
from tests.system.processes import Child, Nursery, bare_environment, end, until

Outcome = Literal["ok", "refused", "unknown"]

MOST_OF_A_BUG = 5000
GONE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
# What must be in no log: the traces of a bug, or a token.
BUG = re.compile(
    r"Traceback|Warning:|never awaited|^CRITICAL:|because of a bug|agent123|integration123",
    re.MULTILINE,
)


class Port:
    """A free port, and it stays so: nobody else is given it while its service is down.

    A socket that is bound and does not listen lets others bind that say SO_REUSEADDR, as our
    services do, and keeps the system from handing the port out.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


# How long a page's note waits for the answer to what it sends: to its end, or not at all.
ANSWER_SECONDS = "integration_service.feed.ingest:ANSWER_SECONDS"
TOGETHER, APART = 60.0, 0.0


class Server:
    """One service, by whichever process it runs as at the moment."""

    def __init__(
        self, name: str, nursery: Nursery, folder: Path, database_url: str, replica: int = 1
    ) -> None:
        self.service = name
        self.name = name if replica == 1 else f"{name}-{replica}"
        self.database_url = database_url
        self.log = folder / f"{self.name}.log"
        self.environment: dict[str, str] = {}
        # Waits of the code that a test shortens, each under "module:NAME".
        self.constants: dict[str, float] = {}
        # How often it was found dead.
        self.deaths = 0
        self.process: Child | None = None
        # Whose code runs from the next start on.
        self.nursery = nursery
        self._folder = folder
        self._port = Port()
        self._loop = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def uses_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite:")

    @property
    def is_dead(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def start(self, **environment: str) -> None:
        """Start it with what is in its environment from now on."""
        self.environment.update(environment)
        own = {"PORT": str(self.port), "DATABASE_URL": self.database_url}
        self.process = self.nursery.start(
            [self.service, "serve"],
            bare_environment() | own | self.environment,
            self._folder,
            self.log,
            self.log,
            self.constants,
        )

    def wait_until_ready(self) -> None:
        until(self.is_ready, f"{self.name} is ready", meanwhile=self.revive)

    def restart(self, **environment: str) -> None:
        self.start(**environment)
        self.wait_until_ready()

    def end(self, number: signal.Signals = signal.SIGKILL) -> tuple[int, float]:
        """Send it a signal. Returns its exit code, and how many seconds it took to end."""
        assert self.process is not None
        began_at = time.monotonic()
        code = end(self.process, number)
        return code, time.monotonic() - began_at

    def revive(self) -> bool:
        """Start it again if it was killed, and do not wait. Returns whether it was.

        A service that ended by itself has a bug.
        """
        assert self.process is not None
        if (code := self.process.poll()) is None:
            return False
        assert code == -signal.SIGKILL, f"{self.name} ended with {code}:\n{self.tail()}"
        self.deaths += 1
        self.start()
        return True

    def close(self) -> None:
        if self.process is not None:
            end(self.process)
        self.disconnect()
        self._loop.close()
        self._port.close()

    def disconnect(self) -> None:
        """Close the connection that `rows` keeps: nobody is to be connected to the database."""
        if self._connection is not None:
            with suppress(*GONE):  # the database server may have ended it
                self._loop.run(self._connection.close())
            self._connection = None

    def logged(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def tail(self) -> str:
        return "\n".join(self.logged().splitlines()[-30:])

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask its database itself, whether or not the service runs."""
        if self.uses_sqlite:
            path = self.database_url.removeprefix("sqlite:///")
            # Read-only, so that it leaves the recovery after a crash to the service.
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                return database.execute(statement).fetchall()
        return self._loop.run(self._fetch(statement))

    def takes_writes(self) -> bool:
        """Tell whether its database lets somebody write at this moment; only SQLite may not."""
        if not self.uses_sqlite:
            return True
        path = self.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            database.execute("ROLLBACK")
        return True

    async def _fetch(self, statement: str) -> list[tuple[Any, ...]]:
        if self._connection is not None:
            try:
                return [tuple(row) for row in await self._connection.fetch(statement)]
            except GONE:
                self._connection = None  # the database server has been started anew
        self._connection = await asyncpg.connect(self.database_url)
        return [tuple(row) for row in await self._connection.fetch(statement)]

    def is_ready(self) -> bool:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            try:
                connection.request("GET", "/health/ready")
                return connection.getresponse().status == 200
            except (OSError, HTTPException):
                return False


@dataclass
class Verdict:
    """What is wrong. All of it is empty when every promise was kept."""

    # Acknowledged, but not in the CRM; in the CRM, but nobody asked for it.
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    # Customers without a package or with several; packages without a customer.
    missing: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    # Deliveries that are not delivered.
    undelivered: list[tuple[Any, ...]] = field(default_factory=list)
    # What a reader saw who read on after each fault, or who reads all of it now.
    feed: list[str] = field(default_factory=list)
    damage: list[tuple[Any, ...]] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)


class Stack:
    """A CRM, an Inventory and an integration. Nothing of it runs when its `with` ends."""

    def __init__(self, folder: Path, nursery: Nursery, new_database: NewDatabase) -> None:
        self.crm, self.inventory, self.integration = self.servers = [
            Server(name, nursery, folder, new_database(name))
            for name in ("crm_api", "inventory_api", "integration_service")
        ]
        self.crm.environment["SEED_DEMO_DATA"] = "false"
        self.integration.environment.update(
            CRM_API_URL=self.crm.url,
            INVENTORY_API_URL=self.inventory.url,
            POLLING_INTERVAL_SECONDS="0.2",
            LONG_POLL_SECONDS="5",
        )
        if not self.integration.uses_sqlite:
            # There, what follows a kill waits for the lease of the dead.
            self.integration.environment["LEASE_SECONDS"] = "1"
        self.outcomes: dict[str, Outcome] = {}
        self._numbers = itertools.count(1)
        self.client = httpx.Client(timeout=10, trust_env=False)
        self._folder = folder
        self._nursery = nursery
        self._follower: list[tuple[int, str]] = []
        self._cursor: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with ExitStack() as exits:
            for server in self.servers:
                exits.callback(server.close)
            exits.callback(self.client.close)

    def server(self, name: str) -> Server:
        [found] = [server for server in self.servers if server.name == name]
        return found

    def start(self) -> None:
        for server in self.servers:
            server.start()
        self.wait_until_ready()

    def add_replica(self, server: Server | None = None) -> Server:
        """Add a second process on the database of a service; of the integration unless told."""
        first = server or self.integration
        replica = Server(first.service, self._nursery, self._folder, first.database_url, replica=2)
        replica.environment.update(first.environment)
        self.servers.append(replica)
        return replica

    def add_console(self) -> Server:
        """Let the console run by itself, on a file of its own."""
        url = f"sqlite:///{self._folder / 'console.db'}"
        console = Server("console", self._nursery, self._folder, url)
        console.environment.update(CRM_API_URL=self.crm.url, INVENTORY_API_URL=self.inventory.url)
        self.servers.append(console)
        return console

    def polls(self, integration: Server) -> bool:
        """Tell whether it is this one that has the lease."""
        answer = self.client.get(f"{integration.url}/status", headers=bearer("admin123"))
        return bool(answer.status_code == 200 and answer.json()["poller"]["is_here"])

    def revive(self) -> None:
        """Start again whoever was killed."""
        for server in self.servers:
            has_died = server.revive()
            if has_died and server is self.integration and not server.uses_sqlite:
                # What else it would wait for: the end of the lease of the dead.
                server.rows("UPDATE poller SET lease_until = NULL")

    def wait_until_ready(self) -> None:
        for server in self.servers:
            server.wait_until_ready()

    def add_customers(self, number: int = 1, *, meanwhile: Callable[[], Any] | None = None) -> None:
        """Add customers as a careful client does, who asks again while an outcome is unknown."""
        for _ in range(number):
            n = next(self._numbers)
            # Every second one sends an Idempotency-Key.
            self._add(f"customer{n}@example.com", f"customer-{n}" if n % 2 else None, meanwhile)

    def answered(self) -> int:
        """Count the customers that were acknowledged."""
        return list(self.outcomes.values()).count("ok")

    def wait_until_quiet(self, *, meanwhile: Callable[[], Any] | None = None) -> None:
        """Wait until the feed is read to its end and nobody is owed a package any more."""
        until(self.is_quiet, "all is quiet", meanwhile=meanwhile)

    def check(self) -> None:
        """Find every promise kept."""
        verdict = self.verdict()
        assert verdict == Verdict(), verdict

    def verdict(self) -> Verdict:
        customers = dict(self.crm.rows("SELECT uid, email FROM customers"))
        packages = [
            uid for (uid,) in self.inventory.rows("SELECT customer_id FROM package_requests")
        ]
        emails = set(customers.values())
        return Verdict(
            lost=[
                email
                for email, outcome in self.outcomes.items()
                if outcome == "ok" and email not in emails
            ],
            unexpected=[
                email for email in emails if self.outcomes.get(email, "refused") == "refused"
            ],
            missing=sorted(set(customers) - set(packages)),
            double=sorted(uid for uid, number in Counter(packages).items() if number > 1),
            phantom=sorted(set(packages) - set(customers)),
            undelivered=self.integration.rows(
                "SELECT subject, state, error FROM deliveries WHERE state <> 'delivered'"
            ),
            feed=self._faults_of_feed(customers),
            damage=self.damage(),
            bugs=self.bugs(),
        )

    def damage(self) -> list[tuple[Any, ...]]:
        """Have each SQLite file checked by SQLite."""
        files = [server for server in self.servers if server.uses_sqlite]
        checked = {server.name: server.rows("PRAGMA integrity_check") for server in files}
        return [(name, *found) for name, found in checked.items() if found != [("ok",)]]

    def bugs(self) -> list[str]:
        """Find in the logs what must be in none: traces of a bug, and tokens."""
        return [
            f"{server.name}: {logged[found.start() :][:MOST_OF_A_BUG]}"
            for server in self.servers
            for logged in [server.logged()]
            if (found := BUG.search(logged))
        ]

    def _add(self, email: str, key: str | None, meanwhile: Callable[[], Any] | None) -> None:
        self.outcomes[email] = "unknown"
        is_first = True

        def is_answered() -> bool:
            nonlocal is_first
            was_first, is_first = is_first, False
            return self._is_answered(email, key, is_first=was_first)

        until(is_answered, f"{email} is added", meanwhile=meanwhile)

    def _is_answered(self, email: str, key: str | None, *, is_first: bool) -> bool:
        try:
            answer = self.client.post(
                f"{self.crm.url}/api/customers",
                json={"name": "Jane Doe", "email": email},
                headers=bearer("agent123") | ({"Idempotency-Key": key} if key else {}),
            )
        except httpx.TransportError:
            return False
        problem = "" if answer.is_success else answer.json()["type"].removeprefix("urn:problem:")
        if answer.status_code >= 500 or problem == "still-running":
            return False
        # Who asks again without a key is told that the address is taken; with one, what was told.
        is_own = problem == "email-taken" and not key and not is_first
        is_there = answer.status_code == 201 or is_own
        self.outcomes[email] = "ok" if is_there else "refused"
        return True

    def is_quiet(self) -> bool:
        """Tell whether the feed is read to its end and nobody is owed a package any more."""
        [(head, unnumbered)] = self.crm.rows(
            "SELECT last_position, (SELECT count(*) FROM events WHERE position IS NULL)"
            " FROM feed_head"
        )
        [(position, unfinished)] = self.integration.rows(
            "SELECT position, (SELECT count(*) FROM deliveries"
            " WHERE state IN ('pending', 'retrying')) FROM poller"
        )
        return bool(position == head and not unnumbered and not unfinished)

    def _faults_of_feed(self, customers: Collection[str]) -> list[str]:
        events, self._cursor = self._read_feed(self._cursor)
        self._follower += events
        anew, _ = self._read_feed(None)
        faults = []
        if [sequence for sequence, _ in anew] != list(range(1, len(anew) + 1)):
            faults.append(f"its positions have holes: {[sequence for sequence, _ in anew]}")
        if anew != self._follower:
            faults.append("a reader who read on has seen another order")
        if sorted(subject for _, subject in anew) != sorted(customers):
            faults.append("it tells of other customers than there are")
        return faults

    def _read_feed(self, cursor: str | None) -> tuple[list[tuple[int, str]], str]:
        events: list[tuple[int, str]] = []
        while True:
            after = {"after": cursor} if cursor else {}
            answer = self.client.get(
                f"{self.crm.url}/api/events",
                params={"limit": 500, **after},
                headers=bearer("integration123"),
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            events += [(event["sequence"], event["subject"]) for event in page["events"]]
            cursor = page["next_cursor"]
            assert cursor is not None
            if not page["has_more"]:
                return events, cursor
