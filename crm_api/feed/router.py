"""The feed's routes, and those of its readers."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic_core import to_json

from crm_api.access import CanReadCustomers, CanReadEvents
from crm_api.event_types import EVENT_TYPES
from crm_api.feed import readers, service
from crm_api.feed.schemas import (
    LONGEST_CURSOR,
    Event,
    FeedHead,
    FeedPage,
    FeedReaderOut,
    FeedReaderPut,
)
from crm_api.feed.store import FeedReader, ShownEvent
from service_kit.problems import InvalidRequest
from service_kit.web.auth import GuardedRoute, principal_of
from service_kit.web.dependencies import DatabaseDep, database_of
from service_kit.web.hot import HotRoute, hot, plain_limit, plain_query
from service_kit.web.openapi import answering, documented, header
from service_kit.web.overload import slot_of
from service_kit.web.paging import Limit, PagingDep

router = APIRouter(prefix="/api/events", route_class=HotRoute, tags=["events"])
readers_router = APIRouter(prefix="/api/feed-readers", route_class=GuardedRoute, tags=["events"])

After = Annotated[
    str | None,
    Query(
        max_length=LONGEST_CURSOR,
        description="The `next_cursor` of the page before; absent: the start.",
    ),
]
Types = Annotated[
    str | None,
    Query(
        max_length=300,
        description="Only these types, comma-separated.",
        examples=["customer.created,customer.erased"],
    ),
]
Position = Annotated[
    int, Path(ge=1, lt=2**63, description="The event's position in the feed.", examples=[1])
]
ReaderName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=64,
        pattern=r"^[a-z0-9-]+$",
        description="The reader's name.",
        examples=["data-warehouse"],
    ),
]
_CURSOR_BEHIND = {
    "X-Feed-Cursor": header(
        "The cursor with which `GET /api/events` continues behind this event.", "MDE5YTVkM2M6NDE"
    )
}
Behind = Annotated[
    str | None,
    Query(
        max_length=LONGEST_CURSOR,
        description="Wait for events behind this cursor, which is one of the feed's.",
    ),
]
# What a page has besides its events.
_PAGE_FIELDS = [name for name in FeedPage.model_fields if name != "events"]
_SECONDS = re.compile(r"(1?[0-9]|2[0-5])(\.0)?")
Wait = Annotated[
    float,
    Query(
        ge=0, le=25, description="Seconds to wait for new events when there are none.", examples=[0]
    ),
]


async def _read_by_hand(request: Request) -> Response | None:
    """Read without FastAPI; None with `types`, or with a limit or a wait that is not plain."""
    query = plain_query(request, "after", "limit", "wait")
    if query is None or not (limit := plain_limit(query)):
        return None
    if not _SECONDS.fullmatch(wait := query.get("wait", "0")):
        return None
    database, who = database_of(request), principal_of(request)
    return await read_events(request, database, who, query.get("after"), None, limit, float(wait))


@router.get(
    "",
    summary="Read the change feed",
    response_model=FeedPage,
    responses=documented(service.CursorMalformed, service.FeedDiverged, service.CursorExpired),
)
@hot(_read_by_hand)
async def read_events(
    request: Request,
    database: DatabaseDep,
    _: CanReadEvents,
    after: After = None,
    types: Types = None,
    limit: Limit = 50,
    wait: Wait = 0,
) -> Response:
    """Read the events after a cursor, in commit order.

    Positions run 1, 2, 3 … without gaps: whoever has read one has read all before it. Check that
    `from_position` follows the last page's `through_position`; then nothing can be missed.
    """
    with slot_of(request).waiting(wait) if wait else nullcontext():
        page = await service.next_page(
            database, request.app.state.stopping, after, _parse_types(types), limit, wait
        )
    return Response(_page_json(page), media_type="application/json")


# Before the look-up of one, which would take it for a position.
@router.get(
    "/head",
    summary="Where the feed ends",
    responses=documented(service.CursorMalformed, service.FeedDiverged, service.CursorExpired),
)
async def get_feed_head(
    request: Request,
    database: DatabaseDep,
    _: CanReadCustomers,
    after: Behind = None,
    wait: Wait = 0,
) -> FeedHead:
    """Say where the feed ends, for whoever wants to know when something changes, not what.

    With `after` and `wait` it answers as soon as there are events behind that cursor; when the time
    is over it answers with the end as it is.
    """
    with slot_of(request).waiting(wait) if wait else nullcontext():
        position, cursor = await service.head_behind(
            database, request.app.state.stopping, after, wait
        )
    return FeedHead(position=position, cursor=cursor)


@router.get(
    "/{sequence}",
    summary="Look up an event",
    response_model=Event,
    responses=documented(service.EventNotFound, service.EventPruned)
    | answering(200, _CURSOR_BEHIND),
)
async def get_event(sequence: Position, database: DatabaseDep, _: CanReadEvents) -> Response:
    """Look up one event by its position, as the feed shows it now.

    An event of a customer who was erased since has no personal data any more.
    """
    found, cursor = await service.look_up(database, sequence)
    return Response(
        _event_json(found), media_type="application/json", headers={"X-Feed-Cursor": cursor}
    )


@readers_router.put(
    "/{name}",
    summary="Announce how far a reader is",
    response_model=FeedReaderOut,
    responses={
        **documented(
            service.CursorMalformed,
            service.FeedDiverged,
            readers.TooManyFeedReaders,
            service.CursorExpired,
        ),
        201: {"model": FeedReaderOut, "description": "The reader is a new one."},
    },
)
async def announce_feed_reader(
    name: ReaderName,
    put: FeedReaderPut,
    database: DatabaseDep,
    _: CanReadEvents,
    response: Response,
) -> FeedReader:
    """Say how far a reader of the feed is, so that `prune-feed` keeps what it has not read.

    This counts for seven days: announce the reader at least once a day. A cursor with which
    `GET /api/events` can't continue is refused here in the same way. At most 100 readers.
    """
    reader, is_new = await database.write(readers.announce, name, put)
    response.status_code = 201 if is_new else 200
    return reader


@readers_router.get("", summary="List the feed's readers", response_model=list[FeedReaderOut])
async def list_feed_readers(
    database: DatabaseDep, _: CanReadEvents, paging: PagingDep
) -> list[FeedReader]:
    """List the readers that have announced themselves within seven days, newest last."""
    page = await database.read(readers.page, paging.after(), paging.limit)
    return paging.rows(page)


@readers_router.delete(
    "/{name}",
    status_code=204,
    summary="Remove a reader",
    responses=documented(readers.FeedReaderNotFound),
)
async def remove_feed_reader(name: ReaderName, database: DatabaseDep, who: CanReadEvents) -> None:
    """Keep no more events for a reader that no longer reads the feed."""
    await database.write(readers.remove, name, who)


def _page_json(page: service.Page) -> bytes:
    """Write a page as its models would: to fill and check them takes most of a request's time."""
    fields = to_json({name: getattr(page, name) for name in _PAGE_FIELDS})
    events = ",".join(_event_json(row) for row in page.rows)
    return b'{"events":[' + events.encode() + b"]," + fields[1:]


def _event_json(row: ShownEvent) -> str:
    # Ids, types and instants hold nothing that JSON writes in another way.
    traceparent = f'"traceparent":"{row.traceparent}",' if row.traceparent else ""
    return (
        f'{{"specversion":"1.0","id":"{row.event_id}","source":"/crm","type":"{row.type}",'
        f'"subject":"{row.subject}","time":"{row.time}","sequence":{row.position},'
        f'"datacontenttype":"application/json",{traceparent}"data":{row.data}}}'
    )


def _parse_types(types: str | None) -> Sequence[str]:
    parsed = [part.strip() for part in types.split(",")] if types else []
    if unknown := [part for part in parsed if part not in EVENT_TYPES]:
        raise InvalidRequest(
            f"There are the event types {', '.join(sorted(EVENT_TYPES))}.",
            errors=[{"loc": ["query", "types"], "msg": f"{len(unknown)} unknown"}],
        )
    return parsed
