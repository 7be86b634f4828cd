"""Tokens: issued with a part of a role's scopes, shown once, and revoked."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from console.forms import Form
from console.platform import Refused
from console.routing import get, post
from console.visit import Visit, change
from service_kit.process import clock
from service_kit.web.roles import ROLES

_PAGE = 50
# How long a token may be good, as the form offers it.
LIFETIMES = {"1": "a day", "30": "30 days", "90": "90 days", "365": "a year", "": "until revoked"}


async def index(visit: Visit) -> Response:
    return await _page(visit)


async def issue(visit: Visit) -> Response:
    """Issue a token. Its text is on the page that answers, and nowhere else."""
    form = await visit.form()
    body: dict[str, Any] = {"name": form["name"], "role": form["role"]}
    if scopes := form.all("scope"):
        body["scopes"] = scopes
    if (days := form["days"]) in LIFETIMES and days:
        body["expires_at"] = clock.rfc3339(clock.now() + timedelta(days=int(days)))
    once = {"Idempotency_Key": form["key"]} if form["key"] else {}
    try:
        issued = (await visit.crm.post("/api/tokens", body, **once)).json
    except Refused as problem:
        return await _page(visit, problem, form)
    return await _page(visit, issued=issued)


async def revoke(visit: Visit) -> Response:
    number = visit.path("number")
    known = number if number.isascii() and number.isdecimal() else "0"
    await visit.crm.delete(f"/api/tokens/{known}")
    return visit.go("/tokens", "revoked")


async def _page(
    visit: Visit,
    problem: Refused | None = None,
    form: Form | None = None,
    issued: Mapping[str, Any] | None = None,
) -> Response:
    """List tokens, newest first; after a refusal with what was typed."""
    cursor = visit.query.get("cursor")
    page = await visit.crm.get("/api/tokens", sort="-id", limit=_PAGE, cursor=cursor)
    example = {"name": "web-shop", "role": "agent", "scopes": ["customers:read"]}
    return visit.render(
        "tokens.html",
        200 if problem is None else problem.status,
        tokens=page.json,
        next=page.next_cursor,
        issued=issued,
        problem=problem,
        typed=dict(form.items()) if form else {},
        chosen=form.all("scope") if form else [],
        roles=ROLES,
        scopes=sorted(ROLES["admin"]),
        lifetimes=LIFETIMES,
        now=clock.rfc3339(clock.now()),
        key=clock.new_id(),
        also=[change("POST", "crm", "/api/tokens", example), change("DELETE", "crm", _SAMPLE)],
    )


_SAMPLE = "/api/tokens/1"

routes = [
    get("/tokens", index, "tokens:manage"),
    post("/tokens", issue, "tokens:manage"),
    post("/tokens/{number}/revoke", revoke, "tokens:manage"),
]
