"""Readers of the feed say how far they are, so that what they still need is not pruned."""

import logging
from http import HTTPStatus

from sqlalchemy import Connection

from crm_api.feed import service, store
from crm_api.feed.schemas import FeedReaderPut
from service_kit.problems import InvalidRequest, Problem
from service_kit.process import clock
from service_kit.web.auth import Principal
from service_kit.web.paging import Page, page_of

MOST_READERS = 100

logger = logging.getLogger(__name__)


class FeedReaderNotFound(Problem):
    """No reader of this name has announced itself within the last seven days."""

    status = HTTPStatus.NOT_FOUND
    slug = "feed-reader-not-found"


class TooManyFeedReaders(Problem):
    """There are as many readers as there may be: remove one that no longer reads."""

    status = HTTPStatus.CONFLICT
    slug = "too-many-feed-readers"


def announce(db: Connection, name: str, put: FeedReaderPut) -> tuple[store.FeedReader, bool]:
    """Write down how far a reader is. Returns it, and whether it is a new one.

    Raises CursorMalformed, FeedDiverged, CursorExpired, InvalidRequest or TooManyFeedReaders.
    """
    # Whoever prunes does so before this or after it: what is accepted here is kept.
    store.lock_head(db)
    position, now = _checked_position(db, put), clock.now()
    store.remove_silent_readers(db, now)
    if (moved := store.move_reader(db, name, position, now)) is not None:
        return moved, False
    if store.count_readers(db) >= MOST_READERS:
        raise TooManyFeedReaders(f"There are {MOST_READERS} readers, and no more may be added.")
    return store.add_reader(db, name, position, now), True


def page(db: Connection, after: int | None, limit: int) -> Page[store.FeedReader]:
    """List the readers whose last announcement counts, from the one behind `after`."""
    rows = store.page_of_readers(db, clock.now(), after, limit + 1)
    return page_of(rows, limit, key="id")


def remove(db: Connection, name: str, who: Principal) -> None:
    """Forget a reader: nothing is kept for it any more. Raises FeedReaderNotFound."""
    store.remove_silent_readers(db, clock.now())
    if not store.remove_reader(db, name):
        raise FeedReaderNotFound("No reader of this name has announced itself lately.")
    logger.info("%s has removed the feed reader %s.", who.name, name)


def _checked_position(db: Connection, put: FeedReaderPut) -> int:
    """Return the position after which a reader needs every event, if its cursor allows that one."""
    read = service.readable_position(db, store.head(db), put.cursor)
    if put.position > read:
        raise InvalidRequest(
            f"By its cursor the reader has read up to position {read}; without one that is 0.",
            errors=[{"loc": ["body", "position"], "msg": "must not be beyond the cursor"}],
        )
    return put.position
