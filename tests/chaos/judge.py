"""Finds every promise that was broken, by an independent count over the three databases."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.chaos.callers import Book, Reader
from tests.chaos.copies import Copies
from tests.chaos.hearing import disordered, heard_twice, unheard
from tests.chaos.receiver import Accepted
from tests.system.processes import until
from tests.system.stack import Server, Stack

AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass
class Findings:
    """All of it is empty when every promise was kept."""

    # Acknowledged, but not in the CRM; in the CRM, but refused or never asked for.
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    # Customers without a package or with several; packages without a customer.
    missing: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    # Events that a webhook was to hear of and has not; that came under two ids; that came behind a
    # later one of the same subject; whose signature was of something else.
    unheard: list[str] = field(default_factory=list)
    heard_twice: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)
    # What is unfinished a minute after the last fault, or once more a minute after the poller that
    # was left is killed; deliveries that were given up.
    stuck: list[Any] = field(default_factory=list)
    dead: list[Any] = field(default_factory=list)
    # Holes in the feed, and readers who have seen different things.
    feed: list[str] = field(default_factory=list)
    # Acknowledged changes that are gone, and erased people whom somebody remembers.
    reverted: list[str] = field(default_factory=list)
    remembered: list[str] = field(default_factory=list)
    # People who were erased before anything was shipped, and have a package or stock of theirs.
    served: list[str] = field(default_factory=list)
    # Answers that contradict what was asked or was told before; errors other than 503.
    answers: list[str] = field(default_factory=list)
    damage: list[Any] = field(default_factory=list)
    # Descriptors, threads and memory that a service has not given back after its work.
    kept: list[str] = field(default_factory=list)
    # Traces of a bug or tokens in a log, processes that ended by themselves.
    bugs: list[str] = field(default_factory=list)

    def kinds(self) -> set[str]:
        return {name for name, found in vars(self).items() if found}

    def summary(self) -> str:
        """Say of each kind how many there are, and show the first few."""
        return "\n".join(
            f"{name}: {len(found)}\n" + "\n".join(f"    {one}"[:3000] for one in found[:3])
            for name, found in vars(self).items()
            if found
        )


def wait_until_quiet(
    stack: Stack, seconds: float, meanwhile: Callable[[], Any] | None = None
) -> list[Any]:
    """Wait until nobody is owed anything. Returns what is left after so many seconds."""
    with suppress(AssertionError):
        until(lambda: not unfinished(stack), "all is quiet", seconds=seconds, meanwhile=meanwhile)
    return unfinished(stack)


def unfinished(stack: Stack) -> list[Any]:
    try:
        return list(_unfinished(stack))
    except AWAY as error:
        return [f"a database is away: {error}"]


def _unfinished(stack: Stack) -> Iterator[Any]:
    [(head, unnumbered)] = stack.crm.rows(
        "SELECT last_position, (SELECT count(*) FROM events WHERE position IS NULL) FROM feed_head"
    )
    [(position,)] = stack.integration.rows("SELECT position FROM poller")
    if unnumbered or position != head:
        yield f"the feed is read to {position} of {head}, and {unnumbered} have no position"
    for name, state, place in stack.integration.rows(
        "SELECT name, feed_state, position FROM routes WHERE target = 'webhook'"
    ):
        if place != head or state != "running":
            yield f"the feed is {state} for {name}, and read to {place} of {head}"
    yield from stack.integration.rows(
        "SELECT route, subject, state, error FROM deliveries WHERE state IN ('pending', 'retrying')"
        " OR (state = 'dead' AND event_type IS NOT NULL)"
    )
    yield from stack.integration.rows(
        "SELECT customer_uid, 'to be forgotten' FROM erasures WHERE done_at IS NULL"
    )


def stuck_without_its_poller(stack: Stack, seconds: float) -> list[Any]:
    """Kill whoever polls; those who have stood by have so many seconds to serve a new customer.

    One of them that goes no further is not noticed as long as another one polls.
    """
    pollers = [server for server in stack.servers if server.service == stack.integration.service]
    if len(pollers) == 1:
        return []
    with suppress(AssertionError):  # where nobody does, nobody serves the customer either
        until(lambda: next(filter(stack.polls, pollers), None), "one of them polls").end()
    stack.add_customers(1)
    return wait_until_quiet(stack, seconds)


def judge(
    stack: Stack,
    book: Book,
    readers: Sequence[Reader],
    copies: Copies,
    accepted: Sequence[Accepted],
) -> Findings:
    """Compare what clients were told with what there is. `readers` ends with one who read anew.

    What the CRM has acknowledged since a copy was taken that was put back is lost for good; its
    packages are of nobody then.
    """
    book = book.without(copies.uncertain)
    rows = stack.crm.rows("SELECT uid, email, name, erased_at FROM customers")
    there = {uid: (email, name, erased_at) for uid, email, name, erased_at in rows}
    packages = packages_of(stack.inventory)
    # An older copy of the CRM has people again who were erased meanwhile. What they had is undone.
    back = {uid for uid, known in book.customers.items() if known.erased == "unknown"}
    unserved = (back if copies.uncertain else set()) | {
        uid for uid, (_, _, erased_at) in there.items() if erased_at is not None
    }
    return Findings(
        lost=sorted(
            uid for uid, known in book.customers.items() if known.since and uid not in there
        ),
        unexpected=[
            f"{uid} {email}"
            for uid, (email, _, _) in there.items()
            if not _is_asked(book, uid, email)
        ],
        # Whoever was erased before anything was sent has none.
        missing=sorted(set(there) - set(packages) - unserved),
        double=sorted(uid for uid, number in packages.items() if number > 1),
        phantom=sorted(set(packages) - set(there) - copies.had),
        unheard=list(unheard(accepted, readers[-1].seen)),
        heard_twice=list(heard_twice(accepted)),
        disordered=list(disordered(accepted, readers[-1].seen)),
        dead=list(_given_up(stack, unserved)),
        feed=list(_faults_of_feed(readers, set(there))),
        reverted=[
            f"{uid} is named {there[uid][1]}, not one of {known.names}"
            for uid, known in book.customers.items()
            if uid in there and not known.erased and there[uid][1] not in known.names
        ],
        remembered=list(_remembered(stack, book, there)),
        served=list(_served(stack, there)),
        answers=list(book.contradictions),
        damage=stack.damage(),
        bugs=stack.bugs(),
    )


def _given_up(stack: Stack, unserved: set[str]) -> Iterator[Any]:
    """Find deliveries that were given up; what a restored CRM has lost was dismissed."""
    for route, subject, state, skip_reason, error in stack.integration.rows(
        "SELECT route, subject, state, skip_reason, error FROM deliveries"
        " WHERE state NOT IN ('pending', 'retrying', 'delivered')"
    ):
        if state == "dead" or (skip_reason != "dismissed" and subject not in unserved):
            yield route, subject, state, skip_reason, error


def packages_of(inventory: Server) -> Counter[str]:
    rows = inventory.rows("SELECT customer_id FROM package_requests")
    return Counter(uid for (uid,) in rows)


def _is_asked(book: Book, uid: str, email: str) -> bool:
    return uid in book.customers or book.outcomes.get(email, "refused") == "unknown"


def _faults_of_feed(readers: Sequence[Reader], customers: set[str]) -> Iterator[str]:
    for reader in readers:
        yield from reader.faults
    *followers, anew = readers
    for follower in followers:
        if follower.seen != anew.seen:
            yield "who followed it has seen other events than who reads it now"
    created = Counter(subject for _, _, kind, subject in anew.seen if kind == "customer.created")
    for uid in customers ^ set(created):
        yield f"{uid} is a customer or in the feed, not both"
    yield from (f"{uid} is in it {number} times" for uid, number in created.items() if number > 1)


def _remembered(stack: Stack, book: Book, there: dict[str, Any]) -> Iterator[str]:
    erased = {uid for uid, known in book.customers.items() if known.erased == "ok"}
    for uid in erased & set(there):
        email, name, erased_at = there[uid]
        if email or name or erased_at is None:
            yield f"the CRM remembers {uid}"
    for server, table, uid in (
        (stack.inventory, "package_requests", "customer_id"),
        (stack.integration, "deliveries", "subject"),
    ):
        named = server.rows(f"SELECT {uid} FROM {table} WHERE customer_name IS NOT NULL")  # noqa: S608
        for (found,) in named:
            if found in erased:
                yield f"{server.name} remembers {found}"


def _served(stack: Stack, there: dict[str, Any]) -> Iterator[str]:
    """Find what is still to be shipped to the erased; only a box to empty may hold stock."""
    erased = {uid for uid, (_, _, erased_at) in there.items() if erased_at is not None}
    rows = stack.inventory.rows(
        "SELECT customer_id, status, to_unpack,"
        " (SELECT count(*) FROM reservations WHERE package_request_id = package_requests.id)"
        " FROM package_requests"
    )
    for uid, status, to_unpack, reserved in rows:
        if uid in erased and status in {"pending", "backordered", "packed"}:
            yield f"{uid} was erased and has a package that is {status}"
        if uid in erased and reserved and not to_unpack:
            yield f"{uid} was erased and has {reserved} items reserved"
    known = {uid for (uid,) in stack.inventory.rows("SELECT customer_id FROM erased_customers")}
    yield from (f"Inventory does not know that {uid} was erased" for uid in erased - known)
