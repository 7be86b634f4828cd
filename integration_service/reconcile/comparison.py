"""One comparison of the CRM's customers with Inventory's package requests."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from integration_service.concurrency import map_concurrently, run_to_completion
from integration_service.deliveries import erasures
from integration_service.deliveries.models import Arrival, ErasedCustomer
from integration_service.feed.client import CrmClient
from integration_service.feed.models import Customer, FeedBroken, is_from_before
from integration_service.ledger import control
from integration_service.ledger.lease import Clock
from integration_service.reconcile import keys
from integration_service.reconcile import store as ledger
from integration_service.reconcile.keys import SeenCustomer
from integration_service.reconcile.models import Candidate, Run
from integration_service.reconcile.schemas import CONFIRM_COMMAND, FINDINGS_KEPT
from integration_service.reconcile.store import COUNTED, KINDS, Kind, RunLost
from integration_service.targets.failures import CallFailed, Transient
from integration_service.targets.http import pages
from integration_service.targets.inventory import Inventory
from service_kit.database import Database, DatabaseUnavailable
from service_kit.process.logs import new_request_id, use_request_id

logger = logging.getLogger("integration_service")

# What is on its way when both lists are read gets this long to arrive.
PATIENCE_SECONDS = 15.0
RECHECK_SECONDS = 0.25
JUDGED_AT_ONCE = 100
ERASURES_PAGE = 500
LOOKUPS_AT_ONCE = 8
# More than this, and repair waits for a person: rather Inventory's database is gone, or another
# one is asked, than that so many packages were lost one by one.
MOST_BY_ITSELF = 20
LARGEST_SHARE_BY_ITSELF = 0.05
# How far the clocks of two processes may be apart.
SKEW = timedelta(seconds=60)

# Takes each finding, as it is found: its kind, the customer's uid, and why.
Publish = Callable[[str, str, str], None]
# Takes how far it is: what is being read, and how many there were so far.
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Sides:
    """What a comparison looks at, and where it writes down what it has seen."""

    database: Database
    crm: CrmClient
    inventory: Inventory
    clock: Clock
    package_type: str


class Comparison:
    """One run. Memory for a page is all it needs: what it has seen is in the database."""

    def __init__(self, sides: Sides, run: Run) -> None:
        """Its `repair` enqueues what is missing; only with `confirm` also very much of it."""
        self._database = sides.database
        self._crm = sides.crm
        self._inventory = sides.inventory
        self._clock = sides.clock
        self._package_type = sides.package_type
        self._repairs = run.repair
        self._is_confirmed = run.confirm
        self._customers = self._packages = self._absent = self._repaired = 0
        self._counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._findings: dict[str, list[str]] = {kind: [] for kind in (*KINDS, "waiting")}
        self._walked_at = self._clock()
        # Whether it was decided, before the customers were read, which of them are owed a package.
        self._has_started = False
        self.run = run.id
        self.publish: Publish = lambda *_: None
        self.progress: Progress = lambda *_: None

    async def carry_out(self) -> Run:
        """Do it, and return what became of it. Raises CallFailed, DatabaseUnavailable, RunLost."""
        use_request_id(new_request_id())
        error = "It was stopped."
        try:
            await self._compare()
            error = ""
        except (CallFailed, DatabaseUnavailable, RunLost) as failure:
            error = str(failure) or "Another one was begun, since this one seemed dead."
            logger.warning("The reconciliation has failed: %s. The next one starts anew.", error)
            raise
        finally:
            # Where this can't be written down, the run is found dead before the next one begins.
            with suppress(DatabaseUnavailable):
                await run_to_completion(self._end(error))
        return await self._database.read(ledger.find, self.run)

    async def _compare(self) -> None:
        await self._forget(of_others=True)
        await self._walk_customers()
        self._walked_at = self._clock()
        await self._walk_packages()
        await self._wait_for_the_late()
        await self._walk_erasures()
        for kind in KINDS:
            await self._judge(kind)
        await self._repair_or_wait()

    async def _walk_customers(self) -> None:
        """Read all customers, then once more those who are not from before START_FROM=now."""
        feed = await self._database.read(control.state)
        self._has_started = feed.start_from is not None
        async for page in self._pages_of_customers():
            seen = [
                _seen(
                    one,
                    is_owed=feed.start_cursor is None and not is_from_before(feed, one.created_at),
                )
                for one in page
            ]
            await self._database.write(keys.saw_customers, self.run, seen)
            self._customers += len(page)
            self.progress("customers", self._customers)
        if feed.start_cursor is not None:
            async for page in self._pages_of_customers(feed.start_cursor):
                seen = [_seen(one, is_owed=True) for one in page]
                await self._database.write(keys.saw_customers, self.run, seen)

    async def _pages_of_customers(
        self, since: str | None = None
    ) -> AsyncIterator[Sequence[Customer]]:
        try:
            async for page in pages(lambda cursor: self._crm.customers(cursor, since=since)):
                yield page
        except FeedBroken as broken:
            detail = broken.detail.rstrip(".")
            raise Transient(f"{detail}; first the poller has to read all customers") from broken

    async def _walk_packages(self) -> None:
        """Read Inventory's side second, so that whoever was seen there is behind the customers."""
        async for page in pages(
            lambda cursor: self._inventory.requests(self._package_type, cursor)
        ):
            uids = [one.customer_id for one in page]
            await self._database.write(keys.saw_packages, self.run, uids)
            self._packages += len(uids)
            self.progress("package requests", self._packages)

    async def _walk_erasures(self) -> None:
        after: int | None = 0
        while after is not None:
            after = await self._database.write(keys.saw_erasures, self.run, after, ERASURES_PAGE)

    async def _wait_for_the_late(self) -> None:
        """Give a customer who was just added, and the package on its way, the time to arrive."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_SECONDS
        is_first = True
        while not await self._database.scan(keys.is_quiet, self.run, self._walked_at):
            if loop.time() > give_up_at:
                return
            if is_first:
                await self._database.write(control.wake)
                is_first = False
            await self._database.write(ledger.alive, self.run)
            await asyncio.sleep(RECHECK_SECONDS)

    async def _judge(self, kind: Kind) -> None:
        """Go through what looks wrong, in the order of the keys, and look at each once more."""
        async for rows in self._candidates(kind):
            if kind == "erased":
                await self._judge_erased(rows)
            else:
                await self._judge_packages(kind, rows)
            self.progress(f"{kind} ones", sum(self._counts.values()))

    async def _candidates(self, what: Kind | Literal["absent"]) -> AsyncIterator[list[Candidate]]:
        after = ""
        while rows := await self._database.scan(
            keys.candidates, self.run, what, after, JUDGED_AT_ONCE
        ):
            yield rows
            after = rows[-1].customer_uid

    async def _judge_packages(self, kind: Kind, rows: Sequence[Candidate]) -> None:
        judges = {"missing": self._lacks, "extra": self._is_extra, "double": self._is_double}
        found = await map_concurrently(rows, judges[kind], LOOKUPS_AT_ONCE)
        absent = [uid for uid in found if uid is not None]
        await self._database.write(keys.are_absent, self.run, absent)
        self._absent += len(absent)

    async def _lacks(self, row: Candidate) -> str | None:
        """Judge a customer without a package. Returns its uid where one is to be enqueued."""
        uid = row.customer_uid
        if row.is_noted or row.state in {"skipped", "undone"}:
            self._counts["skipped"] += 1
        elif row.state is None:
            return await self._is_unknown(row)
        elif self._was_delivered_long_before(row):
            return self._lost(row)
        elif await self._inventory.count(self._package_type, uid, cancelled=True):
            pass  # it was made behind our back
        elif row.state == "delivered":
            return self._lost(row)
        elif row.state == "dead":
            self._found("missing", uid, f"its delivery is dead ({row.error_class})")
        else:
            self._found("waiting", uid, f"its delivery is {row.state}")
        return None

    def _was_delivered_long_before(self, row: Candidate) -> bool:
        return (
            row.state == "delivered"
            and row.delivered_at is not None
            and row.delivered_at < self._walked_at - SKEW
        )

    async def _is_unknown(self, row: Candidate) -> str | None:
        """Judge a customer without a package or a delivery. Returns what `_lacks` does."""
        uid = row.customer_uid
        feed = await self._database.read(control.state)
        if not self._has_started:
            self._found("waiting", uid, "where the feed is to be read from is not decided yet")
        elif not row.is_owed:
            self._counts["not_owed"] += 1
        elif await self._inventory.count(self._package_type, uid, cancelled=True):
            pass  # it was made behind our back
        elif not feed.is_read_after(self._walked_at):
            self._found("waiting", uid, "the feed is not read that far")
        elif (customer := await self._crm.find(uid)) is not None and not customer.is_erased:
            self._found("missing", uid, "the integration does not know the customer")
            return uid
        return None

    def _lost(self, row: Candidate) -> str:
        uid = row.customer_uid
        self._found("missing", uid, "Inventory no longer has it")
        return uid

    async def _is_extra(self, row: Candidate) -> None:
        uid = row.customer_uid
        if await self._crm.find(uid) is None and await self._inventory.count(
            self._package_type, uid, cancelled=False
        ):
            self._found("extra", uid, "the CRM has no such customer")

    async def _is_double(self, row: Candidate) -> None:
        uid = row.customer_uid
        if (count := await self._inventory.count(self._package_type, uid, cancelled=False)) > 1:
            self._found("double", uid, f"Inventory has {count}")

    async def _judge_erased(self, rows: Sequence[Candidate]) -> None:
        """Find erasures that Inventory has not applied, and have them applied once more.

        Without a limit, unlike packages: nothing is sent to anybody, and to apply one twice is to
        apply it once.
        """
        undone = await self._inventory.erase(
            [i for row in rows for i in row.erased.ids], dry_run=True
        )
        feed = await self._database.read(control.state)
        again = []
        for row in rows:
            uid, seen = row.customer_uid, row.seen_number
            erased = ErasedCustomer(uid, row.customer_number or seen)
            if undone.isdisjoint(row.erased.ids):
                if seen is not None and row.customer_number is None:
                    again.append(erased)  # noted by a version that did not keep it
            elif row.is_noted and row.done_at is None:
                self._found("waiting", uid, "Inventory has not received the erasure yet")
            elif not row.is_noted and not feed.is_read_after(self._walked_at):
                self._found("waiting", uid, "the feed is not read that far")
            else:
                self._found("erased", uid, "Inventory does not know that the customer was erased")
                self._repaired += self._repairs
                again.append(erased)
        await self._database.write(ledger.alive, self.run)
        if self._repairs and again:
            await self._database.write(erasures.again, again, self._clock())
            await self._database.write(control.wake)

    async def _repair_or_wait(self) -> None:
        """Enqueue what is missing, unless it is so much that a person has to look first."""
        by_itself = max(MOST_BY_ITSELF, int(LARGEST_SHARE_BY_ITSELF * self._customers))
        if self._absent > by_itself and not self._is_confirmed:
            self._counts["held_back"] = self._absent
            return
        if not self._repairs:
            return
        async for rows in self._candidates("absent"):
            absent = await map_concurrently(rows, self._named, LOOKUPS_AT_ONCE)
            found = [one for one in absent if one is not None]
            now = self._clock()
            self._repaired += await self._database.write(ledger.repair, self.run, found, now)

    async def _named(self, row: Candidate) -> Arrival | None:
        """Find the name to ask for a package with; None for who is gone by now."""
        if row.state is not None:
            return Arrival(row.customer_uid, row.customer_name, 0)
        customer = await self._crm.find(row.customer_uid)
        return None if customer is None else customer.arrival

    def _found(self, kind: str, uid: str, why: str) -> None:
        self._counts[kind] += 1
        if len(self._findings[kind]) < FINDINGS_KEPT:
            self._findings[kind].append(uid)
        self.publish(kind, uid, why)

    async def _end(self, error: str) -> None:
        columns = {
            "state": "failed" if error else "finished",
            "error": error or None,
            "customers": self._customers,
            "packages": self._packages,
            "counts": self._counts,
            "findings": {kind: sorted(uids) for kind, uids in self._findings.items()},
            "repaired": self._repaired,
        }
        await self._database.write(ledger.finish, self.run, columns)
        await self._forget(of_others=False)
        if not error:
            self._log()

    async def _forget(self, *, of_others: bool) -> None:
        while await self._database.write(keys.forget_keys, self.run, of_others=of_others):
            pass

    def _log(self) -> None:
        wrong = sum(self._counts[kind] for kind in KINDS)
        logger.log(
            logging.ERROR if wrong else logging.INFO,
            "Reconciled %d customers with %d package requests: %d missing, %d extra, %d double, "
            "%d erased; %d enqueued.",
            self._customers,
            self._packages,
            *(self._counts[kind] for kind in KINDS),
            self._repaired,
        )
        if held_back := self._counts["held_back"]:
            logger.error(
                "That is too many to enqueue %d packages by itself. Is it the right Inventory, and "
                "has it all its data? If they are to be made: %s",
                held_back,
                CONFIRM_COMMAND,
            )


def _seen(customer: Customer, *, is_owed: bool) -> SeenCustomer:
    return SeenCustomer(customer.uid, is_owed, customer.is_erased, customer.id)
