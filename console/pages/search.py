"""The one search: it leads to what a text names, or lists what it is found in."""

import re
from collections.abc import AsyncIterator

from starlette.responses import Response

from console.platform import Refused
from console.routing import get
from console.visit import Visit

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"#?([1-9][0-9]{0,17})")


async def search(visit: Visit) -> Response:
    text = visit.query.get("q", "").strip()[:200]
    if not text:
        return visit.go("/")
    places = [place async for place in _places(visit, text)]
    if len(places) == 1:
        return visit.go(places[0])
    found = await visit.together(
        customers=visit.crm.get("/api/customers", q=text, sort="-id", limit=20)
        if visit.may("customers:read")
        else None,
        tickets=visit.crm.get("/api/tickets", q=text, sort="-id", limit=20)
        if visit.may("tickets:read")
        else None,
    )
    return visit.render("search.html", searched=text, **found)


async def _places(visit: Visit, text: str) -> AsyncIterator[str]:
    """Find what a text names by itself: an address, a uid, a ticket's number, a request."""
    if visit.may("customers:read"):
        for customer in await _customers(visit, text):
            yield f"/customers/{customer['id']}"
    if visit.may("tickets:read") and (number := _NUMBER.fullmatch(text)):
        for ticket in await _found(visit, f"/api/tickets/{number[1]}"):
            yield f"/tickets/{ticket['id']}"
    if visit.may("audit:read") and _REQUEST_ID.fullmatch(text):
        for entry in await _found(visit, "/api/audit", request_id=text, limit=1):
            if str(entry["action"]).startswith("customer."):
                yield f"/customers/{entry['subject']}"


async def _customers(visit: Visit, text: str) -> list[dict[str, object]]:
    """Find the customer whom an address, a uid, or a name that nobody shares means."""
    if "@" in text:
        return await _found(visit, "/api/customers", email=text)
    if _UID.fullmatch(text):
        return await _found(visit, f"/api/customers/{text.lower()}")
    named = await _found(visit, "/api/customers", q=text, limit=2)
    return named if len(named) == 1 else []


async def _found(visit: Visit, path: str, **query: str | int) -> list[dict[str, object]]:
    """Return what is at an address: a list, one thing, or nothing."""
    try:
        found = (await visit.crm.get(path, **query)).json
    except Refused:
        return []
    return found if isinstance(found, list) else [found]


routes = [get("/search", search)]
