"""Reading changes so that none is ever missed."""

import asyncio
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, NoReturn

from pydantic_core import to_json
from sqlalchemy import Connection

from crm_api.feed import store
from crm_api.feed.cursor import FeedCursor, MalformedCursor
from service_kit.database import Database
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.process.stopping import Stopping

# How soon a waiting reader sees another process's commit when no notification came.
RECHECK_SECONDS = 0.5
PRUNED_AT_ONCE = 1000


class CursorMalformed(Problem):
    """`after` is not a cursor of a feed."""

    status = HTTPStatus.BAD_REQUEST
    slug = "cursor-malformed"


class FeedDiverged(Problem):
    """The cursor is of another database, or beyond the head: read all customers again."""

    status = HTTPStatus.CONFLICT
    slug = "feed-diverged"


class CursorExpired(Problem):
    """The events after this cursor are deleted: read all customers again, or lose what is gone.

    Where it is about a page, `oldest_cursor` stands before the oldest event that is left.
    """

    status = HTTPStatus.GONE
    slug = "cursor-expired"


class EventPruned(CursorExpired):
    """There was such an event, and it is deleted."""


class EventNotFound(Problem):
    """No event has this position yet."""

    status = HTTPStatus.NOT_FOUND
    slug = "event-not-found"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of the feed, and the positions they cover."""

    rows: Sequence[store.ShownEvent]
    from_position: int
    through_position: int
    head_position: int
    next_cursor: str
    unnumbered: bool

    @property
    def has_more(self) -> bool:
        return self.through_position < self.head_position


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many events were deleted, and how many old ones were kept for which reader."""

    deleted: int
    kept: int = 0
    kept_for: store.FeedReader | None = None


def forget(db: Connection, subject: str, blank: Mapping[str, Any]) -> None:
    """Overwrite these fields in all past events about a subject."""

    def blanked(data: str) -> str:
        fields = json.loads(data)
        fields |= {name: blank[name] for name in blank if name in fields}
        return to_json(fields).decode()

    store.rewrite(db, subject, blanked)


def head_cursor(db: Connection) -> tuple[str, bool]:
    """Return the cursor after the last numbered event, and whether unnumbered ones are left.

    Then call `assign_all_positions`, or a reader that continues there gets events of customers it
    has seen.
    """
    head = store.head(db)
    return _cursor_at(head), head.unnumbered


async def assign_all_positions(database: Database) -> None:
    """Give a position to all that is committed by now, also while another process does so."""
    while await database.write(store.assign_positions, in_turn=True) == store.ASSIGNED_AT_ONCE:
        pass


def position_of(db: Connection, cursor: str) -> int:
    """Return the position of a cursor, to tell who was registered before it and who after.

    Raises CursorMalformed, FeedDiverged, or CursorExpired where that is no longer known.
    """
    head = store.head(db)
    position = _position_of(db, cursor, head.epoch, head.last_position)
    if position < (known_from := store.registrations_known_from(db)):
        raise CursorExpired(
            f"Events up to position {known_from} were deleted by a version that did not keep who "
            "was registered where."
        )
    return position


def readable_position(db: Connection, head: store.Head, after: str | None) -> int:
    """Return the position of a cursor behind which everything can still be read; None: the start.

    Raises CursorMalformed, FeedDiverged or CursorExpired.
    """
    position, pruned = 0, head.pruned_position
    if after is not None:
        position = _position_of(db, after, head.epoch, head.last_position)
    if position < pruned:
        _refuse_expired(head.epoch, pruned)
    return position


def get(db: Connection, position: int) -> tuple[store.ShownEvent, str]:
    """Return one event, and the cursor behind it. Raises EventNotFound or EventPruned."""
    # Taken first: since positions have no holes, what is not there below the head was pruned.
    head = store.head(db)
    if position > head.last_position:
        raise EventNotFound(f"The feed ends at position {head.last_position}.")
    found = store.find(db, position)
    if found is None:
        raise EventPruned(f"The event at position {position} is deleted.")
    return found, FeedCursor.at(head.epoch, position, found.event_id).encode()


async def look_up(database: Database, position: int) -> tuple[store.ShownEvent, str]:
    """Return one event, and the cursor behind it. Raises EventNotFound or EventPruned.

    Where the feed ends before it, all that is committed gets a position first: after a restore from
    a copy a reader may know a position that the feed has not given yet.
    """
    try:
        return await database.read(get, position)
    except EventNotFound:
        if (await database.read(store.edge)).unnumbered:
            await assign_all_positions(database)
    return await database.read(get, position)


def page(db: Connection, after: str | None, types: Collection[str], limit: int) -> Page:
    """Read what follows a cursor. Raises CursorMalformed, FeedDiverged or CursorExpired."""
    head = store.head(db)
    position, last = readable_position(db, head, after), head.last_position
    through = min(last, position + store.WINDOW)
    rows = store.between(db, position, through, types, limit)
    if len(rows) == limit:
        through = rows[-1].position
    is_seen = rows and rows[-1].position == through
    last_id = rows[-1].event_id if is_seen else store.find_event_id(db, through)
    unnumbered, pruned = store.edge(db)
    if position < pruned:
        # In the meantime: the first of the rows may be missing.
        _refuse_expired(head.epoch, pruned)
    return Page(
        rows=rows,
        from_position=position + 1,
        through_position=through,
        head_position=last,
        next_cursor=FeedCursor.at(head.epoch, through, last_id).encode(),
        unnumbered=unnumbered,
    )


async def next_page(
    database: Database,
    stopping: Stopping,
    after: str | None,
    types: Collection[str],
    limit: int,
    wait: float,
) -> Page:
    """Read what follows a cursor, waiting up to `wait` seconds for the first event."""
    give_up_at = time.monotonic() + wait
    while True:
        # Taken before looking, so that no news falls between.
        next_commit = database.committed.next()
        found = await database.read(page, after, types, limit)
        while found.unnumbered and not found.has_more:
            numbered = await database.write(store.assign_positions)
            found = await database.read(page, after, types, limit)
            if not numbered:
                break  # another reader is at it; its commit wakes this one, or a re-check sees it
        left = give_up_at - time.monotonic()
        if found.rows or found.has_more or left <= 0 or stopping.begun:
            return found
        await stopping.sleep(min(left, RECHECK_SECONDS), asyncio.shield(next_commit))


async def head_behind(
    database: Database, stopping: Stopping, after: str | None, wait: float
) -> tuple[int, str]:
    """Return the feed's last position and the cursor there.

    With a cursor it waits up to `wait` seconds until something stands behind that. Raises as `page`
    does.
    """
    if after is not None:
        await next_page(database, stopping, after, (), 1, wait)
    head = await database.read(store.head)
    if head.unnumbered:
        await assign_all_positions(database)
        head = await database.read(store.head)
    return head.last_position, _cursor_at(head)


def _cursor_at(head: store.Head) -> str:
    return FeedCursor.at(head.epoch, head.last_position, head.last_id).encode()


async def prune(database: Database, before: datetime, *, force: bool = False) -> Pruned:
    """Delete all events older than an instant, in small transactions, up to the slowest reader.

    With `force` what a live reader still needs is deleted as well.
    """
    # Only numbered events are pruned, and perhaps nobody reads this feed.
    await assign_all_positions(database)
    total = 0
    while True:
        pruned, kept_for = await database.write(_prune_some, before, force=force)
        total += pruned
        if not pruned:
            break
    if kept_for is None:
        return Pruned(total)
    return Pruned(total, await database.scan(store.count_old, before), kept_for)


def _prune_some(
    db: Connection, before: datetime, *, force: bool
) -> tuple[int, store.FeedReader | None]:
    """Delete some old events. Returns how many, and the reader who needs the next ones."""
    # Before the readers are looked at: whoever announces itself does it before this or after it.
    store.lock_head(db)
    through = store.last_older(db, before, PRUNED_AT_ONCE)
    slowest = None if force else store.slowest_reader(db, clock.now())
    if slowest is None or through <= slowest.position:
        return store.prune(db, through), None
    return store.prune(db, slowest.position), slowest


def _position_of(db: Connection, text: str, epoch: str, last: int) -> int:
    try:
        cursor = FeedCursor.decode(text)
    except MalformedCursor:
        raise CursorMalformed("This is not a cursor of a feed.") from None
    if cursor.epoch != epoch:
        _refuse_diverged("it is of another database")
    if cursor.position > last:
        _refuse_diverged(f"it is at {cursor.position}, the feed ends at {last}")
    event_id = store.find_event_id(db, cursor.position)
    if event_id is not None and not cursor.marks(event_id):
        _refuse_diverged(f"another event stands at position {cursor.position} now")
    return cursor.position


def _refuse_diverged(reason: str) -> NoReturn:
    raise FeedDiverged(
        f"The cursor does not belong to this feed: {reason}. The CRM's database was restored or "
        "replaced. Read all customers, then go on from the X-Feed-Cursor of their first page."
    )


def _refuse_expired(epoch: str, pruned: int) -> NoReturn:
    raise CursorExpired(
        f"Events up to position {pruned} are deleted. Read all customers, then go on from the "
        "X-Feed-Cursor of their first page. Who needs no events but those that are left goes on "
        "from `oldest_cursor`.",
        oldest_cursor=FeedCursor.at(epoch, pruned, None).encode(),
    )
