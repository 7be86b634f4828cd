"""What the integration asks of the CRM. Nothing in its answers is taken on trust."""

import contextlib
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from integration_service.feed.models import Customer, FeedBroken, FeedPage, Newest
from integration_service.routes.definitions import WELCOME
from integration_service.settings import Settings
from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import CallFailed, TooLarge, Transient, slug_of
from integration_service.targets.http import (
    CURSOR,
    PAGE,
    Answer,
    Link,
    ListPage,
    cursor_in,
    read_page,
)

TYPES = ",".join(WELCOME.event_types)
_CUSTOMERS = TypeAdapter(list[Customer])
_NOT_THERE = {"customer-not-found", "invalid-request"}


class CrmClient:
    """Reads the change feed, and customers."""

    def __init__(self, settings: Settings) -> None:
        self.link = Link(settings.crm_api_url, settings.crm_token, ca_file=settings.ca_file)
        interval = settings.polling_interval_seconds
        # Used for its growing intervals only, which /status shows: polls go on while it is open.
        self.circuit = Circuit(
            target="crm",
            label="CRM",
            threshold=1,
            first_probe_seconds=min(1.0, interval),
            longest_probe_seconds=interval,
        )
        # Halved when a page's events are so large that their answer is not read whole.
        self._limit_divisor = 1

    async def close(self) -> None:
        await self.link.close()

    async def page(
        self,
        after: str | None,
        position: int | None,
        limit: int,
        wait: float,
        types: str = TYPES,
    ) -> FeedPage:
        """Read the page after a cursor, which stood at `position` where that is known.

        `types` are the event types that are wanted, comma-separated.

        Raises CallFailed, or FeedBroken when the CRM does not know the cursor as its own, or when
        the page does not start where the last one ended.
        """
        params: dict[str, Any] = {"types": types, "limit": max(1, limit // self._limit_divisor)}
        if after is not None:
            params["after"] = after
        if wait:
            params["wait"] = f"{wait:g}"
        try:
            answer = await self.link.call(
                "GET", "/api/events", params=params, extra_seconds=wait, once=True
            )
        except TooLarge:
            self._limit_divisor *= 2
            raise
        except CallFailed as failure:
            _raise_if_broken(failure)
            raise
        self._limit_divisor = max(1, self._limit_divisor // 2)
        return _checked(answer.body, position)

    async def events_from(self, position: int, ahead: int, types: str) -> list[Any]:
        """Read the event at a position, if it is there, and up to so many behind it.

        Raises CallFailed, or FeedBroken where the first is pruned.
        """
        answer = await self._look_up(position)
        if answer is None:
            return []
        found = [answer.body]
        cursor = cursor_in(answer, "x-feed-cursor")
        if ahead and cursor is not None:
            # Without these each is looked up by itself, so no failure matters.
            with contextlib.suppress(CallFailed, FeedBroken):
                found += (await self.page(cursor, position, ahead, 0.0, types)).events
        return found

    async def cursor_behind(self, position: int) -> str | None:
        """Return the feed's place behind a position; None where the feed is not that far.

        Raises CallFailed, or FeedBroken where that event is pruned.
        """
        answer = await self._look_up(position)
        if answer is None:
            return None
        cursor = cursor_in(answer, "x-feed-cursor")
        if cursor is None:
            raise Transient("its event names no feed cursor", status=answer.status)
        return cursor

    async def _look_up(self, position: int) -> Answer | None:
        try:
            return await self.link.call("GET", f"/api/events/{position}")
        except CallFailed as failure:
            if slug_of(failure.problem) == "event-not-found":
                return None
            _raise_if_broken(failure)
            raise

    async def announce(self, reader: str, position: int, cursor: str | None) -> None:
        """Have the CRM keep the events behind a position. Raises CallFailed or FeedBroken."""
        body: dict[str, Any] = {"position": position}
        if cursor is not None:
            body["cursor"] = cursor
        try:
            await self.link.call("PUT", f"/api/feed-readers/{reader}", body=body)
        except CallFailed as failure:
            _raise_if_broken(failure)
            raise

    async def newest(self) -> Newest:
        """Return the feed's place behind all that is committed by now. Raises CallFailed."""
        page = await self.customers(None, limit=1, sort="-id")
        return Newest(page.feed_cursor, page.items[0].created_at if page.items else None)

    async def customers(
        self, cursor: str | None, since: str | None = None, *, limit: int = PAGE, **params: str
    ) -> ListPage[Customer]:
        """Read a page of all customers who are to get a welcome package.

        The first page, which has no cursor, comes with the feed's cursor from before its first row:
        all pages, and then the feed from there, miss nobody.

        `since` leaves those who were registered behind that place in the feed. Raises CallFailed,
        or FeedBroken when the CRM does not know that place.
        """
        if since is not None:
            params["since"] = since
        try:
            page = await read_page(
                self.link,
                "/api/customers",
                _CUSTOMERS,
                cursor,
                limit=limit,
                welcome="true",
                **params,
            )
        except CallFailed as failure:
            _raise_if_broken(failure)
            raise
        if cursor is None and not page.feed_cursor:
            raise Transient("its list of customers names no feed cursor")
        return page

    async def find(self, uid: str) -> Customer | None:
        """Look one customer up by its uid. Raises CallFailed."""
        try:
            answer = await self.link.call("GET", f"/api/customers/{quote(uid, safe='')}")
        except CallFailed as failure:
            if slug_of(failure.problem) in _NOT_THERE:
                return None
            raise
        try:
            found = Customer.model_validate(answer.body)
        except ValidationError:
            raise Transient("its customer is malformed", status=answer.status) from None
        # The same address finds a customer by its number as well.
        return found if found.uid == uid else None


def _raise_if_broken(failure: CallFailed) -> None:
    slug = slug_of(failure.problem)
    if slug == "feed-diverged":
        raise FeedBroken("diverged", failure.error) from failure
    if slug == "cursor-expired":
        oldest = (failure.problem or {}).get("oldest_cursor")
        is_cursor = isinstance(oldest, str) and CURSOR.fullmatch(oldest)
        broken = FeedBroken("expired", failure.error, oldest if is_cursor else None)
        raise broken from failure


def _checked(body: Any, position: int | None) -> FeedPage:
    try:
        page = FeedPage.model_validate(body)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise Transient(f"its page of events is malformed at {fault['loc']}") from None
    if position is not None and page.from_position != position + 1:
        raise FeedBroken(
            "diverged", f"the page after position {position} starts at {page.from_position}"
        )
    covered = page.through_position - page.from_position + 1
    # A page that has more and reads nothing would be asked for again without end.
    if covered < page.has_more or page.head_position < page.through_position:
        raise Transient("its page of events covers impossible positions")
    return page
