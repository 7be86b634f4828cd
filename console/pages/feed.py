"""What a developer of another stack needs: the feed's tail, its readers, routes and recipes."""

import json

from starlette.responses import Response

from console.platform import Answer, Refused
from console.routing import get
from console.visit import Outcome, Visit

_SHOWN = 20
_TITLES = {"crm": "CRM", "inventory": "Inventory", "integration": "Integration"}


async def index(visit: Visit) -> Response:
    await visit.follow()
    syncs = visit.has("integration") and visit.may("sync:read")
    found = await visit.together(
        head=_head(visit),
        readers=visit.crm.get("/api/feed-readers", limit=100),
        routes=visit.integration.get("/routes") if syncs else None,
    )
    found["tail"] = await _tail(visit, found["head"])
    tail, head = found["tail"], found["head"]
    events = tail.json["events"] if isinstance(tail, Answer) else []
    addresses = visit.site.addresses(visit.request)
    return visit.render(
        "feed.html",
        events=events[::-1],
        newest=head.json["head_position"] if isinstance(head, Answer) else None,
        docs=[(_TITLES[key], f"{url}/docs") for key, url in addresses.items()],
        address=addresses["crm"],
        **found,
    )


async def show(visit: Visit) -> Response:
    """Show one event as the feed has it now."""
    number = visit.path("number")
    known = number if number.isascii() and number.isdecimal() else "0"
    event = (await visit.crm.get(f"/api/events/{known}")).json
    text = json.dumps(event, indent=2, ensure_ascii=False)
    return visit.render("event.html", event=event, text=text)


async def _head(visit: Visit) -> Answer:
    """Ask where the feed ends, by its first page, or the first that is left."""
    try:
        return await visit.crm.get("/api/events", limit=1)
    except Refused as problem:
        if (oldest := problem.problem.get("oldest_cursor")) is None:
            raise
        return await visit.crm.get("/api/events", limit=1, after=oldest)


async def _tail(visit: Visit, head: Outcome) -> Outcome:
    """Read the last events: those behind the one that stands so many before the end."""
    if not isinstance(head, Answer):
        return head
    after = None
    if (before := head.json["head_position"] - _SHOWN) > 0:
        edge = await visit.together(event=visit.crm.get(f"/api/events/{before}"))
        if isinstance(edge["event"], Answer):
            after = edge["event"].headers["x-feed-cursor"]
        else:
            after = head.json["next_cursor"]
    tail = await visit.together(page=visit.crm.get("/api/events", after=after, limit=_SHOWN))
    page: Outcome = tail["page"]
    return page


routes = [
    get("/feed", index, "events:read"),
    get("/feed/{number}", show, "events:read"),
]
