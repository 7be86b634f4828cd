"""A campaign: a stack under load, links that misbehave, processes that die; and its score."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.chaos.callers import Book, Client, Reader
from tests.chaos.database_link import DatabaseLink
from tests.chaos.faulty_link import FaultyLink, Journal
from tests.chaos.holdings import held_by_each, not_given_back
from tests.chaos.judge import (
    Findings,
    judge,
    packages_of,
    stuck_without_its_poller,
    wait_until_quiet,
)
from tests.chaos.killer import Killer, Naive
from tests.chaos.plan import QUIET_SECONDS, RECOVERY_SECONDS, Plan
from tests.chaos.receiver import Receiver, write_routes
from tests.chaos.trouble import Trouble
from tests.conftest import ROOT, NewDatabase
from tests.system.processes import Nursery, bare_environment, until
from tests.system.stack import Server, Stack

CLIENTS = 8
READERS = (0, 5)  # the seconds that each lets the feed wait for news
NAIVE_SECONDS = 30.0
TO_RECEIVER = "poller to receiver"
LONGEST_WAIT = "integration_service.deliveries.retry_policy:LONGEST_WAIT_SECONDS"
# Any 2xx is a webhook's success, so no link may answer one in the receiver's place.
ACCEPTANCES = frozenset({"a page of HTML"})


@dataclass
class Score:
    """What there was, and what became of it."""

    engine: str
    plan: Plan
    findings: Findings
    customers: int = 0
    answers: int = 0
    erased: int = 0
    # Requests that the webhooks' receiver has accepted.
    heard: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    quiet_after: float = 0.0
    # Whether the integration's own comparison finds both sides alike, too.
    reconciles: bool = False
    # Of the naive poller, where there was one: customers it has missed, and served more than once.
    naive: tuple[int, int] | None = None

    def kinds(self) -> set[str]:
        """Say which kinds of trouble there was."""
        seen = {fault.split()[0] for fault in self.faults}
        seen |= {trouble.split(":")[0].split()[0] for trouble in self.troubles}
        names = {"mute": "mute", "clock": "clocks", "restore": "restores", "pause": "pauses"}
        found = {names[one] for one in seen if one in names}
        found |= {"links"} if seen - set(names) - {"copy"} else set()
        return found | ({"kills"} if self.kills else set())


class Campaign:
    """Three services, a receiver, and what happens to them; nothing runs when its `with` ends."""

    def __init__(
        self,
        folder: Path,
        nursery: Nursery,
        new_database: NewDatabase,
        plan: Plan,
        unconstrained: Nursery | None = None,
        postgres: str | None = None,
        clocks: Path | None = None,
    ) -> None:
        """`unconstrained` starts an Inventory for the naive poller, which then runs as well.

        `postgres` is the server's URL, where there is one; `clocks` the folder of the files by
        which the clocks go.
        """
        self.plan = plan
        self.book = Book()
        self._folder = folder
        self._stack = Stack(folder, nursery, new_database)
        self._journal = Journal(folder / "schedule.jsonl")
        self._postgres = postgres
        self._clocks = clocks or folder
        self.trouble = Trouble(self._stack, plan, self.book, self._journal, self._clocks)
        self.book.may_forget = "restores" in plan.kinds
        self._naive_inventory = (
            Server("inventory_api", unconstrained, folder, new_database("inventory_api"), replica=2)
            if unconstrained
            else None
        )
        crm, inventory = self._stack.crm, self._stack.inventory
        links = {"client to CRM": crm, "poller to CRM": crm, "poller to Inventory": inventory}
        if self._naive_inventory:
            links |= {"naive to CRM": crm, "naive to Inventory": self._naive_inventory}
        self._links = {
            name: FaultyLink(name, server.port, plan.seed, self._journal, plan.kinds)
            for name, server in links.items()
        }
        self._receiver = Receiver()
        # What has failed often, as webhooks may, would wait for five minutes.
        for server in self._stack.servers:
            if server.service == self._stack.integration.service:
                server.constants[LONGEST_WAIT] = 10.0

    def run(self) -> Score:
        with ExitStack() as exits:
            exits.callback(self._journal.close)
            exits.enter_context(self._stack)
            portal = exits.enter_context(start_blocking_portal())
            exits.callback(self.trouble.copies.drop)
            exits.enter_context(self._open_links(portal))
            self._start(portal)
            naive = self._start_naive(exits)
            killer = Killer(self._stack, self.plan, self._journal, naive, self.trouble)
            readers = [self._reader(wait) for wait in READERS]
            with self._callers(portal, readers):
                killer.run(self.plan.seconds)
            return self._end(portal, killer, readers)

    @contextmanager
    def _open_links(self, portal: BlockingPortal) -> Iterator[None]:
        portal.call(self._receiver.open)
        seed, kinds = self.plan.seed, self.plan.kinds
        self._links[TO_RECEIVER] = FaultyLink(
            TO_RECEIVER, self._receiver.port, seed, self._journal, kinds, never=ACCEPTANCES
        )
        for link in self._links.values():
            portal.call(link.open)
        yield
        opened: list[FaultyLink | DatabaseLink] = [*self._links.values()]
        for one in [*opened, *self.trouble.database_links.values()]:
            portal.call(one.close)
        portal.call(self._receiver.close)

    def _reader(self, wait: float) -> Reader:
        return Reader(self._stack.crm.url, wait, may_start_anew=self.book.may_forget)

    def _start(self, portal: BlockingPortal) -> None:
        stack = self._stack
        stack.integration.environment.update(
            CRM_API_URL=self._links["poller to CRM"].url,
            INVENTORY_API_URL=self._links["poller to Inventory"].url,
            LEASE_SECONDS="3",
            **write_routes(self._folder, self._links[TO_RECEIVER].url),
        )
        for _ in range(self.plan.pollers - 1):
            stack.add_replica()
        for server in stack.servers:
            clock = self._clocks / f"{server.name}.clock"
            clock.write_text("0")
            server.environment["CLOCK_OFFSET_FILE"] = str(clock)
            if self._postgres is not None and "mute" in self.plan.kinds:
                link = self.trouble.database_links[server] = DatabaseLink(self._postgres)
                portal.call(link.open)
                server.environment["DATABASE_URL"] = link.url(server.database_url)
        stack.start()

    def _start_naive(self, exits: ExitStack) -> Naive | None:
        if self._naive_inventory is None:
            return None
        exits.callback(self._naive_inventory.close)
        self._naive_inventory.restart()
        naive = Naive(self._links["naive to CRM"].url, self._links["naive to Inventory"].url)
        exits.callback(naive.close)
        naive.restart()
        return naive

    @contextmanager
    def _callers(self, portal: BlockingPortal, readers: list[Reader]) -> Iterator[None]:
        """Have clients and readers at work; afterwards end the faults, and wait for them."""
        ended = asyncio.Event()
        url, seed = self._links["client to CRM"].url, self.plan.seed
        clients = [Client(n, url, seed, self.book) for n in range(CLIENTS)]
        at_work: list[Client | Reader] = [*clients, *readers]
        running = [portal.start_task_soon(one.run, ended) for one in at_work]
        try:
            yield
        finally:
            for link in self._links.values():
                portal.call(link.end_faults)
            portal.call(ended.set)
            for one in running:
                one.result(timeout=QUIET_SECONDS)

    def _end(self, portal: BlockingPortal, killer: Killer, readers: list[Reader]) -> Score:
        began_at = time.monotonic()

        def are_up() -> bool:
            killer.tend(float("inf"))
            return self._is_ready()

        until(are_up, "all are up again")
        until(self.trouble.end, "they send again")
        quiet_seconds = self.plan.quiet_seconds
        if self.book.may_forget:
            quiet_seconds += RECOVERY_SECONDS
            wait_until_quiet(self._stack, quiet_seconds, self.trouble.operator.tend)
            # An operator who has put Inventory back makes up for what it had lost.
            self._reconcile("--repair", "--confirm")
        stuck = wait_until_quiet(self._stack, quiet_seconds, self.trouble.operator.tend)
        quiet_after = time.monotonic() - began_at
        readers.append(self._reader(0))
        for reader in readers:
            portal.call(reader.read_to_the_end)
        accepted = self._receiver.accepted
        findings = judge(self._stack, self.book, readers, self.trouble.copies, accepted)
        findings.forged = self._receiver.forged
        findings.stuck = stuck
        findings.bugs += killer.deserters
        worked = held_by_each(self._stack)
        findings.stuck += stuck_without_its_poller(self._stack, self.plan.quiet_seconds)
        findings.kept = not_given_back(self._stack, worked)
        links = [link for name, link in self._links.items() if not name.startswith("naive")]
        for link in links:
            findings.answers += link.server_errors
        return Score(
            engine="SQLite" if self._stack.crm.uses_sqlite else "PostgreSQL",
            plan=self.plan,
            findings=findings,
            customers=self._stack.crm.rows("SELECT count(*) FROM customers")[0][0],
            answers=self.book.answers,
            heard=len(accepted),
            erased=sum(known.erased == "ok" for known in self.book.customers.values()),
            faults=sum((link.faults for link in links), Counter[str]()),
            kills=killer.kills,
            troubles=self.trouble.happened,
            quiet_after=quiet_after,
            reconciles=self._reconciles(),
            naive=self._score_of_naive(),
        )

    def _reconciles(self) -> bool:
        """Ask the integration; what a CRM that was put back has lost is no fault of it."""
        code, run = self._reconcile()
        is_expected = self.book.may_forget and run["extra"] <= len(self.trouble.copies.had)
        wrong = run["missing"] + run["double"] + run["waiting"]
        return code == 0 or (is_expected and not wrong)

    def _reconcile(self, *options: str) -> tuple[int, Any]:
        """Run the command, again while another comparison is in its way, as an operator would.

        Returns its exit code and what it found.
        """
        found: tuple[int, Any] = until(
            lambda: self._try_to_reconcile(options),
            "the command reconcile compares both sides",
            seconds=QUIET_SECONDS,
        )
        return found

    def _try_to_reconcile(self, options: Sequence[str]) -> tuple[int, Any] | None:
        integration = self._stack.integration
        command = [sys.executable, "-m", "integration_service", "reconcile", "--json", *options]
        own = {"DATABASE_URL": integration.database_url, "PYTHONPATH": str(ROOT)}
        environment = bare_environment() | integration.environment | own
        with (self._folder / "reconcile.log").open("ab") as log:
            done = subprocess.run(
                command,
                env=environment,
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=QUIET_SECONDS,
                check=False,
            )
            log.write(done.stdout)
        return (done.returncode, json.loads(done.stdout)["run"]) if done.stdout else None

    def _is_ready(self) -> bool:
        return all(server.is_ready() for server in self._stack.servers)

    def _score_of_naive(self) -> tuple[int, int] | None:
        """Let the naive poller come to rest, then count."""
        if self._naive_inventory is None:
            return None
        count = "SELECT count(*) FROM package_requests"
        give_up_at, before = time.monotonic() + NAIVE_SECONDS, -1
        while time.monotonic() < give_up_at:
            if (now := self._naive_inventory.rows(count)[0][0]) == before:
                break
            before = now
            time.sleep(2)
        made = packages_of(self._naive_inventory)
        customers = {uid for (uid,) in self._stack.crm.rows("SELECT uid FROM customers")}
        return len(customers - set(made)), sum(number > 1 for number in made.values())
