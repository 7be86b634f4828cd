"""The feed's statements."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    ScalarSelect,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from crm_api.as_json import rfc3339
from crm_api.feed.models import events, feed_head, feed_readers, pruned_registrations
from service_kit.database.listed import is_listed
from service_kit.database.prepared import (
    LAST_KEY,
    Prepared,
    PreparedChange,
    PreparedValues,
)
from service_kit.database.rows import find_all, find_one, get_one, page_after
from service_kit.database.types import UtcDateTime

# So that one transaction stays short however much has piled up.
ASSIGNED_AT_ONCE = 1000
# A page covers at most this many positions, so that rare types cost no long search.
WINDOW = 10_000
# The one type whose position outlives its event.
REGISTRATION = "customer.created"

# How long a reader's announcement counts.
ANNOUNCED_FOR = timedelta(days=7)

# Any number; it is this database's own.
LOCK = 0x66656564


class Head(NamedTuple):
    """Where the feed ends."""

    epoch: str
    last_position: int
    pruned_position: int
    last_id: str | None
    # Whether committed events have no position yet; they will be behind the last position.
    unnumbered: bool


class FeedEdge(NamedTuple):
    """What may change while a page is read: whether events wait at its end, and what is deleted."""

    unnumbered: bool
    pruned_position: int


class FeedEnd(NamedTuple):
    """The last position, and whether committed events wait for the next ones."""

    last_position: int
    unnumbered: bool


class ShownEvent(NamedTuple):
    """What callers are shown of an event; `data` is JSON as it was written down."""

    event_id: str
    type: str
    subject: str
    time: str
    position: int
    traceparent: str | None
    data: str


class FeedReader(NamedTuple):
    """A reader of the feed, and the position up to which it needs no event any more."""

    id: int
    name: str
    position: int
    announced_at: datetime

    @property
    def expires_at(self) -> datetime:
        return self.announced_at + ANNOUNCED_FOR


_WRITTEN = [one.key for one in events.c if one.key != "id"]
# Two that were given one position are a bug, and not to be skipped.
_ADD = PreparedChange(insert(events).inline(), columns=_WRITTEN)
_ID_AT_THE_END = (
    select(events.c.event_id)
    .where(events.c.position == feed_head.c.last_position)
    .scalar_subquery()
)
_IS_UNNUMBERED = exists().where(events.c.position.is_(None))
_UNNUMBERED = _IS_UNNUMBERED.label("unnumbered")
_HEAD = Prepared(
    Head,
    select(
        feed_head.c.epoch,
        feed_head.c.last_position,
        feed_head.c.pruned_position,
        _ID_AT_THE_END.label("last_id"),
        _UNNUMBERED,
    ),
)
_REGISTRATIONS_KNOWN_FROM = select(feed_head.c.traced_from)
_LOCK_HEAD = select(feed_head.c.id).with_for_update()
_EDGE = Prepared(FeedEdge, select(_UNNUMBERED, feed_head.c.pruned_position))
_ID_AT = PreparedValues[str](
    select(events.c.event_id).where(events.c.position == bindparam("position"))
)
_SHOWN = select(
    events.c.event_id,
    events.c.type,
    events.c.subject,
    rfc3339(events.c.occurred_at).label("time"),
    events.c.position,
    events.c.traceparent,
    events.c.data,
)
_BETWEEN = (
    _SHOWN.where(events.c.position > bindparam("after"), events.c.position <= bindparam("through"))
    .order_by(events.c.position)
    .limit(bindparam("limit"))
)
_BETWEEN_ANY = Prepared(ShownEvent, _BETWEEN)
_BETWEEN_OF_TYPES = Prepared(ShownEvent, _BETWEEN.where(is_listed(events.c.type, "types")))
_AT = Prepared(ShownEvent, _SHOWN.where(events.c.position == bindparam("at")))
_OF_SUBJECT = select(events.c.id, events.c.data).where(events.c.subject == bindparam("about"))
_REWRITE = update(events).where(events.c.id == bindparam("event")).values(data=bindparam("to_data"))
_ASSIGN_POSITIONS = text("""
    UPDATE events SET position = numbered.position
    FROM (
        SELECT id,
               (SELECT last_position FROM feed_head) + row_number() OVER (ORDER BY id) AS position
        FROM events WHERE position IS NULL ORDER BY id LIMIT :limit
    ) AS numbered
    WHERE events.id = numbered.id
""")
_ADVANCE = PreparedChange(
    update(feed_head).values(last_position=feed_head.c.last_position + bindparam("count"))
)
_END = Prepared(FeedEnd, select(feed_head.c.last_position, _UNNUMBERED))

_KEEP_REGISTRATIONS = insert(pruned_registrations).from_select(
    ["subject", "position"],
    select(events.c.subject, events.c.position).where(
        events.c.type == REGISTRATION, events.c.position <= bindparam("through")
    ),
)
_SET_PRUNED = (
    update(feed_head)
    .where(feed_head.c.pruned_position < bindparam("through"))
    .values(pruned_position=bindparam("through"))
)
_FIRST_YOUNG = (
    select(events.c.position)
    .where(events.c.position.is_not(None), events.c.occurred_at >= bindparam("before"))
    .order_by(events.c.position)
    .limit(1)
    .scalar_subquery()
)
_COUNT_OLD = (
    select(func.count())
    .select_from(events)
    .where(events.c.position < func.coalesce(_FIRST_YOUNG, LAST_KEY))
)

_READERS = select(feed_readers).where(
    feed_readers.c.announced_at > bindparam("since", type_=UtcDateTime)
)
_SLOWEST = _READERS.order_by(feed_readers.c.position, feed_readers.c.announced_at.desc()).limit(1)
_COUNT_READERS = select(func.count()).select_from(feed_readers)
_MOVE_READER = (
    update(feed_readers)
    .where(feed_readers.c.name == bindparam("reader"))
    .values(position=bindparam("to_position"), announced_at=bindparam("at", type_=UtcDateTime))
    .returning(*feed_readers.columns)
)
_ADD_READER = insert(feed_readers).returning(*feed_readers.columns)
_REMOVE_READER = delete(feed_readers).where(feed_readers.c.name == bindparam("reader"))
_REMOVE_SILENT = delete(feed_readers).where(
    feed_readers.c.announced_at <= bindparam("since", type_=UtcDateTime)
)


def add(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add events, each without a position until it is committed and a reader numbers it.

    On SQLite they have theirs from the beginning: whoever writes is alone from BEGIN IMMEDIATE to
    the commit, so that the order of positions is that of commits, and a rollback takes both the
    events and the head back. Only where an older version has left some without, these come first.
    """
    first: int | None = None
    if rows and db.dialect.name == "sqlite":
        [end] = _END.all(db)
        first = None if end.unnumbered else end.last_position + 1
    if first is None:
        _ADD.each(db, rows, position=None)
        return
    _ADD.each(db, [{**row, "position": n} for n, row in enumerate(rows, first)])
    _advance(db, len(rows))


def head(db: Connection) -> Head:
    return _HEAD.all(db)[0]


def lock_head(db: Connection) -> None:
    """Lock the head until this transaction ends."""
    db.execute(_LOCK_HEAD)


def edge(db: Connection) -> FeedEdge:
    return _EDGE.all(db)[0]


def find_event_id(db: Connection, position: int) -> str | None:
    return _ID_AT.first(db, position=position)


def between(
    db: Connection, after: int, through: int, types: Collection[str], limit: int
) -> Sequence[ShownEvent]:
    values = {"after": after, "through": through, "limit": limit}
    if types:
        return _BETWEEN_OF_TYPES.all(db, **values, types=list(types))
    return _BETWEEN_ANY.all(db, **values)


def find(db: Connection, position: int) -> ShownEvent | None:
    return _AT.first(db, at=position)


def registrations_known_from(db: Connection) -> int:
    """Return the position after which every registration is known, pruned or not."""
    found: int = db.execute(_REGISTRATIONS_KNOWN_FROM).scalar_one()
    return found


def registered_after(subject: ColumnElement[str], position: int) -> ColumnElement[bool]:
    """Build the condition that a customer was registered after a position, or has none yet."""
    event, pruned = events.c, pruned_registrations.c
    return or_(
        exists().where(
            event.subject == subject,
            event.type == REGISTRATION,
            or_(event.position.is_(None), event.position > position),
        ),
        exists().where(pruned.subject == subject, pruned.position > position),
    )


def position_at_once(added: FromClause) -> ScalarSelect[int]:
    """Build, for PostgreSQL, the next position for the one event of a statement that adds a row.

    It is NULL, as everywhere else, while others are numbering, or where committed events wait to
    be numbered. So nobody waits for it, and a reader always gets its turn. Whoever gets the lock
    has it to the end of the commit: the next to number sees this event. Nothing is taken where
    `added` is empty.

    The statement sees what was committed before the lock was its own, so an event of another
    subject may be committed since and be numbered later. Hence only for the first event of a
    subject. The head itself is read anew once it is locked.
    """
    free = (
        select(feed_head.c.id)
        .where(~_IS_UNNUMBERED, func.pg_try_advisory_xact_lock(LOCK))
        .with_for_update(skip_locked=True)
        .cte("free")
    )
    moved = (
        update(feed_head)
        .where(feed_head.c.id.in_(select(free.c.id)), exists().select_from(added))
        .values(last_position=feed_head.c.last_position + 1)
        .returning(feed_head.c.last_position)
        .cte("moved")
    )
    return select(moved.c.last_position).scalar_subquery()


def assign_positions(db: Connection, *, in_turn: bool = False) -> int:
    """Give committed events without a position the next ones, by id. Returns how many got one.

    Only one transaction does so at a time; a second one leaves it to the first, or with
    `in_turn` waits for it. The lock is taken before anything is read: under READ COMMITTED each
    statement then sees all that was committed before it, so no event can be passed over.
    """
    if db.dialect.name == "postgresql" and in_turn:
        db.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    elif db.dialect.name == "postgresql":
        locked = db.execute(text(f"SELECT pg_try_advisory_xact_lock({LOCK})")).scalar_one()
        if not locked:
            return 0
    count = db.execute(_ASSIGN_POSITIONS, {"limit": ASSIGNED_AT_ONCE}).rowcount
    if count:
        _advance(db, count)
    return count


def _advance(db: Connection, count: int) -> None:
    _ADVANCE.each(db, [{"count": count}])


def rewrite(db: Connection, subject: str, rewritten: Callable[[str], str]) -> None:
    """Replace the data of every event about a subject."""
    for row in db.execute(_OF_SUBJECT, {"about": subject}).all():
        db.execute(_REWRITE, {"event": row.id, "to_data": rewritten(row.data)})


def last_older(db: Connection, before: datetime, limit: int) -> int:
    """Find the last of the oldest events that all happened before an instant. 0 if none did."""
    old = (
        select(events.c.position, events.c.occurred_at)
        .where(events.c.position.is_not(None))
        .order_by(events.c.position)
        .limit(limit)
    )
    through = 0
    for position, occurred_at in db.execute(old):
        if occurred_at >= before:
            break
        through = position
    return through


def prune(db: Connection, through: int) -> int:
    """Delete the events up to a position. Returns how many."""
    db.execute(_KEEP_REGISTRATIONS, {"through": through})
    pruned = db.execute(delete(events).where(events.c.position <= through)).rowcount
    db.execute(_SET_PRUNED, {"through": through})
    return pruned


def count_old(db: Connection, before: datetime) -> int:
    """Count the oldest events, up to the first that happened later."""
    found: int = db.execute(_COUNT_OLD, {"before": before}).scalar_one()
    return found


def slowest_reader(db: Connection, now: datetime) -> FeedReader | None:
    """Find the live reader with the lowest position; of several the one that lives longest."""
    return find_one(FeedReader, db, _SLOWEST, {"since": now - ANNOUNCED_FOR})


def page_of_readers(
    db: Connection, now: datetime, after: int | None, limit: int
) -> list[FeedReader]:
    statement = page_after(_READERS, feed_readers.c.id, after, limit)
    return find_all(FeedReader, db, statement, {"since": now - ANNOUNCED_FOR})


def count_readers(db: Connection) -> int:
    found: int = db.execute(_COUNT_READERS).scalar_one()
    return found


def move_reader(db: Connection, name: str, position: int, now: datetime) -> FeedReader | None:
    """Set where a reader is; None where there is no such reader."""
    values = {"reader": name, "to_position": position, "at": now}
    return find_one(FeedReader, db, _MOVE_READER, values)


def add_reader(db: Connection, name: str, position: int, now: datetime) -> FeedReader:
    values = {"name": name, "position": position, "announced_at": now}
    return get_one(FeedReader, db, _ADD_READER, values)


def remove_reader(db: Connection, name: str) -> bool:
    """Remove a reader. Returns whether there was one."""
    return db.execute(_REMOVE_READER, {"reader": name}).rowcount == 1


def remove_silent_readers(db: Connection, now: datetime) -> None:
    """Remove the readers whose last announcement no longer counts."""
    db.execute(_REMOVE_SILENT, {"since": now - ANNOUNCED_FOR})
