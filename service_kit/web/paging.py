"""Keyset paging: an opaque cursor, a Link header, no OFFSET, whose cost grows with the depth."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import quote, unquote

from fastapi import Depends, Query, Request, Response

from service_kit.problems import InvalidRequest
from service_kit.web.fields import Instant

T = TypeVar("T")

LARGEST_PAGE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# The instant and the id of the row after which a page starts.
InstantKey = tuple[datetime | None, int]
# What may stand in a query as it is (RFC 3986), with what was encoded by the caller already.
_AS_SENT = "%-._~!$&'()*+,;=:@/?"

Limit = Annotated[
    int,
    Query(ge=1, le=LARGEST_PAGE, description="The most results to return.", examples=[50]),
]
Sort = Annotated[Literal["id", "-id"], Query(description="`-id` returns the newest first.")]
Cursor = Annotated[
    str | None,
    Query(max_length=200, description="Where to continue: the X-Next-Cursor of the previous page."),
]
CreatedAfter = Annotated[
    Instant | None,
    Query(description="Only those created after this instant.", examples=["2026-01-05T12:00:00Z"]),
]
CreatedBefore = Annotated[
    Instant | None,
    Query(description="Only those created before this instant.", examples=["2036-01-05T12:00:00Z"]),
]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows, and the key after which the next page starts, if there is more."""

    rows: list[T]
    next_key: str | None


def page_of(rows: Sequence[T], limit: int, key: str) -> Page[T]:
    """Make a page of the rows of a query for limit + 1. `key` names the sorting column."""
    more = len(rows) > limit
    shown = list(rows[:limit])
    return Page(rows=shown, next_key=str(getattr(shown[-1], key)) if more else None)


def encode_cursor(key: str, order: str) -> str:
    return base64.urlsafe_b64encode(f"{order}:{key}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, order: str) -> int | None:
    """Read the key of a cursor of a list that is sorted by an integer.

    Raises InvalidRequest for one that is not from a page of this order.
    """
    if cursor is None:
        return None
    return _integer(_key_of(cursor, order))


def instant_key(at: datetime | None, row_id: int) -> str:
    """Write the key of a row in a list that is sorted by an instant, and by id where that is equal.

    Rows without the instant come last.
    """
    return f"{'' if at is None else (at - _EPOCH) // _MICROSECOND}.{row_id}"


def decode_instant_cursor(cursor: str | None, order: str) -> InstantKey | None:
    """Read a cursor whose key `instant_key` has written. Raises InvalidRequest for another."""
    if cursor is None:
        return None
    since_epoch, _, row_id = _key_of(cursor, order).partition(".")
    try:
        at = _EPOCH + _integer(since_epoch) * _MICROSECOND if since_epoch else None
    except OverflowError:
        raise _not_of_this_list() from None
    return at, _integer(row_id)


def _key_of(cursor: str, order: str) -> str:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    found, _, key = text.partition(":")
    if found != order:
        raise _not_of_this_list()
    return key


def _integer(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):  # noqa: PLR2004 (63 bits)
        raise _not_of_this_list()
    return int(text)


def _not_of_this_list() -> InvalidRequest:
    return InvalidRequest(
        "This cursor is not from this list and order.",
        errors=[{"loc": ["query", "cursor"], "msg": "Not a cursor of this list"}],
    )


def link_next(request: Request, response: Response, page: Page[Any], order: str) -> None:
    """Add the address of the next page to the response's headers, if there is one."""
    if page.next_key is None:
        return
    cursor = encode_cursor(page.next_key, order)
    given = request.scope["query_string"].decode("latin-1").split("&")
    kept = [part for part in given if part and unquote(part.partition("=")[0]) != "cursor"]
    query = quote("&".join([*kept, f"cursor={cursor}"]), safe=_AS_SENT)
    # The path is decoded and chosen by the caller: a line break would forge a header.
    address = f"{quote(request.scope['path'])}?{query}"
    response.headers["Link"] = f'<{address}>; rel="next"'
    response.headers["X-Next-Cursor"] = cursor


@dataclass(frozen=True, slots=True)
class Paging:
    """The page that a request asks for, and how its caller learns of the next one."""

    request: Request
    response: Response
    limit: int
    cursor: str | None

    def after(self, order: str = "id") -> int | None:
        """Return the key after which the page starts."""
        return decode_cursor(self.cursor, order)

    def after_instant(self, order: str) -> InstantKey | None:
        """Return the key after which the page of a list by an instant starts."""
        return decode_instant_cursor(self.cursor, order)

    def rows(self, page: Page[T], order: str = "id") -> list[T]:
        """Return the page's rows, and announce the next page in the response's headers."""
        link_next(self.request, self.response, page, order)
        return page.rows


async def _paging(
    request: Request, response: Response, limit: Limit = 50, cursor: Cursor = None
) -> Paging:
    return Paging(request, response, limit, cursor)


PagingDep = Annotated[Paging, Depends(_paging)]
