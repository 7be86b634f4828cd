"""The audit: who did what, from where, in each service."""

from starlette.responses import Response

from console.platform import Answer
from console.routing import get
from console.visit import Visit

_PAGE = 50
SERVICES = {
    "crm": ("CRM", "/api/audit"),
    "inventory": ("Inventory", "/audit"),
    "integration": ("Integration", "/audit"),
}
FILTERS = {
    "actor": "Who",
    "action": "Action",
    "subject": "Subject",
    "request_id": "Request id",
}


async def index(visit: Visit) -> Response:
    """List one service's entries, newest first, of those that the filters leave."""
    services = {key: one for key, one in SERVICES.items() if visit.has(key)}
    asked = visit.query.get("service", "")
    key = asked if asked in services else "crm"
    filters = {name: visit.query.get(name, "").strip()[:200] for name in FILTERS}
    found = await visit.together(
        page=visit.callers[key].get(
            services[key][1],
            sort="-id",
            **{name: value or None for name, value in filters.items()},
            limit=_PAGE,
            cursor=visit.query.get("cursor"),
        )
    )
    return visit.render(
        "audit.html",
        key=key,
        services=services,
        names=FILTERS,
        filters=filters,
        next=found["page"].next_cursor if isinstance(found["page"], Answer) else None,
        **found,
    )


routes = [get("/audit", index, "audit:read")]
