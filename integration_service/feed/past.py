"""What there is in the feed from a place on, whoever has read it already."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from integration_service.feed.client import CrmClient
from integration_service.feed.models import FeedBroken, FeedPage
from integration_service.routes.definitions import Route
from integration_service.targets.failures import Transient

PAGE = 500


def is_for(route: Route, event: Mapping[str, Any]) -> bool:
    """Whether an event leads to something by this route."""
    kind = event.get("type")
    # One without a type is not left out, so that it is seen.
    if isinstance(kind, str) and kind not in route.event_types:
        return False
    return not route.is_unwanted(event)


async def past_events(
    crm: CrmClient, routes: Sequence[Route], since: int | None
) -> AsyncIterator[Mapping[str, Any]]:
    """Read all events behind a position, or from the oldest that is left, up to the feed's end.

    Raises CallFailed, for a position of which events are pruned too.
    """
    async for page in past_pages(crm, routes, since, may_skip=since is None):
        for event in page.events:
            if isinstance(event, Mapping):
                yield event


async def past_pages(
    crm: CrmClient, routes: Sequence[Route], since: int | None, *, may_skip: bool
) -> AsyncIterator[FeedPage]:
    """Read all pages behind a position, or from the feed's beginning, up to its end.

    With `may_skip` from the oldest event that is left, where some are pruned. Raises CallFailed.
    """
    types = ",".join(sorted({kind for route in routes for kind in route.event_types}))
    cursor = await _cursor_behind(crm, since, may_skip=may_skip) if since else None
    while True:
        try:
            page = await crm.page(cursor, None, PAGE, 0.0, types)
        except FeedBroken as broken:
            if cursor is None and may_skip and broken.oldest_cursor is not None:
                cursor = broken.oldest_cursor
                continue
            raise Transient(broken.detail) from None
        yield page
        cursor = page.next_cursor
        if not page.has_more:
            return


async def _cursor_behind(crm: CrmClient, position: int, *, may_skip: bool) -> str | None:
    try:
        cursor = await crm.cursor_behind(position)
    except FeedBroken as broken:
        if may_skip:
            return None
        raise Transient(broken.detail) from None
    if cursor is None:
        raise Transient(f"the feed does not reach position {position}")
    return cursor
