"""Tickets: what is due first, and one with its thread, its clocks and its customer."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.responses import Response

from console.forms import Form
from console.platform import Answer, Refused
from console.routing import get, post
from console.visit import Visit, change
from service_kit.process import clock

_PAGE = 50
WORKING = ("open", "in_progress", "pending", "on_hold")
PRIORITIES = ("low", "normal", "high", "urgent")
# What a reply may set besides, as its buttons name it, and what is said then.
_AFTER_REPLY = {"pending": "sent-pending", "resolved": "sent-resolved"}
# As the API says it of a change, which a note is not.
_CHANGED = {"type": "urn:problem:precondition-failed", "detail": "Nothing was sent."}
_TAKEN = {"type": "urn:problem:precondition-failed", "detail": "It was not taken."}
_CLOCKS = {
    "first_response": "First response",
    "next_response": "Next response",
    "resolution": "Resolution",
}


# How the API calls what the tabs show.
_COUNTED = {"mine": "assigned", "unassigned": "unassigned", "overdue": "overdue"}


class View(NamedTuple):
    """A tab of the list, and what it asks the API for."""

    name: str
    query: Mapping[str, Any]


def views_of(visit: Visit) -> dict[str, View]:
    unfinished = {"status": list(WORKING), "sort": "due"}
    return {
        "due": View("Due first", unfinished),
        "mine": View("Mine", {**unfinished, "assignee": visit.who.name}),
        "unassigned": View("Unassigned", {**unfinished, "assignee": "none"}),
        "overdue": View("Overdue", {"overdue": "true", "sort": "due"}),
        "all": View("All", {"sort": "-id"}),
    }


async def index(visit: Visit) -> Response:
    """List the tickets of a view, or those that a text is found in."""
    await visit.follow()
    text = visit.query.get("q", "").strip()[:200]
    views = views_of(visit)
    chosen = visit.query.get("view", "")
    key = "all" if text else chosen if chosen in views else "due"
    include = "customer" if visit.may("customers:read") else None
    found = await visit.together(
        counts=visit.crm.get("/api/stats/tickets", assignee=visit.who.name),
    )
    page = await visit.crm.get(
        "/api/tickets",
        **views[key].query,
        q=text or None,
        include=include,
        limit=_PAGE,
        cursor=visit.query.get("cursor"),
    )
    counts = found["counts"].json if isinstance(found["counts"], Answer) else {}
    return visit.render(
        "tickets.html",
        tickets=page.json,
        numbers={tab: counts.get(name) for tab, name in _COUNTED.items()},
        next=page.next_cursor,
        clocks={one["id"]: next_clock(one) for one in page.json},
        views=views,
        view="" if text else key,
        text=text,
        working=WORKING,
    )


async def show(visit: Visit) -> Response:
    return await _page(visit)


async def reply(visit: Visit) -> Response:
    """Add a note, and set the status where the button says so.

    Nothing is sent where somebody else has changed the ticket since it was shown.
    """
    form = await visit.form()
    if form["etag"] and (await visit.crm.get(_address(visit))).etag != form["etag"]:
        return await _page(visit, Refused(412, _CHANGED), form)
    note = {"body": form["body"], "visibility": "internal" if form["internal"] else "public"}
    once = {"Idempotency_Key": form["key"]} if form["key"] else {}
    try:
        await visit.crm.post(_address(visit) + "/notes", note, **once)
    except Refused as problem:
        return await _page(visit, problem, form)
    if (status := form["then"]) in _AFTER_REPLY:
        try:
            await visit.crm.patch(_address(visit), {"status": status})
        except Refused as problem:
            return await _page(visit, problem)
        return visit.go(_place(visit), _AFTER_REPLY[status])
    return visit.go(_place(visit), "sent")


async def alter(visit: Visit) -> Response:
    """Change the ticket as it was shown: a status, a priority, whose it is."""
    form = await visit.form()
    body: dict[str, Any] = {}
    if form["take"]:
        body["assignee"] = visit.who.name
    for name in ("status", "priority"):
        if form[name]:
            body[name] = form[name]
    if "assignee" in dict(form.items()):
        body["assignee"] = form["assignee"].strip() or None
    try:
        await visit.crm.patch(_address(visit), body, If_Match=form["etag"])
    except Refused as problem:
        return await _page(visit, problem, mine=body)
    return visit.go(_place(visit), "saved")


async def take(visit: Visit) -> Response:
    """Take a ticket that nobody has, from the list, unless somebody has taken it meanwhile."""
    form, me = await visit.form(), visit.who.name
    found = await visit.crm.get(_address(visit))
    if found.json["assignee"] not in {None, me}:
        return await _page(visit, Refused(412, _TAKEN))
    try:
        await visit.crm.patch(_address(visit), {"assignee": me}, If_Match=found.etag or "*")
    except Refused as problem:
        return await _page(visit, problem)
    view = form["view"] if form["view"] in views_of(visit) else "due"
    return visit.go("/tickets", "taken", view=view)


async def new(visit: Visit) -> Response:
    return await _form(visit, {"customer_id": visit.query.get("customer_id", "")})


async def open_ticket(visit: Visit) -> Response:
    form = await visit.form()
    typed = {name: form[name].strip() for name in ("subject", "description", "assignee")}
    number = form["customer_id"]
    body: dict[str, Any] = {
        **{name: value for name, value in typed.items() if value or name != "assignee"},
        "customer_id": int(number) if number.isascii() and number.isdecimal() else 0,
        "priority": form["priority"] or "normal",
    }
    once = {"Idempotency_Key": form["key"]} if form["key"] else {}
    try:
        ticket = (await visit.crm.post("/api/tickets", body, **once)).json
    except Refused as problem:
        given = {**typed, "customer_id": number, "priority": form["priority"]}
        return await _form(visit, given, problem)
    return visit.go(f"/tickets/{ticket['id']}", "opened")


async def _form(visit: Visit, typed: Mapping[str, str], problem: Refused | None = None) -> Response:
    customer = None
    if typed["customer_id"] and visit.may("customers:read"):
        found = await visit.together(
            customer=visit.crm.get(f"/api/customers/{_digits(typed['customer_id'])}")
        )
        customer = found["customer"]
    return visit.render(
        "ticket_form.html",
        200 if problem is None else problem.status,
        typed={"subject": "", "description": "", "assignee": "", "priority": "normal", **typed},
        customer=customer.json if isinstance(customer, Answer) else None,
        problem=problem,
        priorities=PRIORITIES,
        key=clock.new_id(),
    )


async def _page(
    visit: Visit,
    problem: Refused | None = None,
    form: Form | None = None,
    mine: Mapping[str, Any] | None = None,
) -> Response:
    """Show a ticket; after a refusal with what was typed, and what somebody else has done."""
    await visit.follow()
    address = _address(visit)
    found = await visit.crm.get(address)
    ticket = found.json
    reads = visit.may("customers:read")
    parts = await visit.together(
        notes=visit.crm.get(f"{address}/notes", limit=500),
        history=visit.crm.get(f"{address}/history", limit=500),
        customer=visit.crm.get(f"/api/customers/{ticket['customer_id']}") if reads else None,
    )
    parts |= await _package(visit, parts["customer"])
    return visit.render(
        "ticket.html",
        200 if problem is None else problem.status,
        ticket=ticket,
        etag=found.etag,
        clocks=_CLOCKS,
        priorities=PRIORITIES,
        problem=problem,
        has_changed=problem is not None and problem.slug == "precondition-failed",
        theirs=_last(parts["history"]),
        mine=mine or {},
        body=form["body"] if form else "",
        internal=bool(form and form["internal"]),
        key=clock.new_id(),
        also=_commands(visit, address),
        **parts,
    )


async def _package(visit: Visit, customer: object) -> dict[str, Any]:
    """Ask what has become of the customer's package."""
    knows = isinstance(customer, Answer)
    uid = customer.json["uid"] if isinstance(customer, Answer) else ""
    packs = knows and visit.has("inventory") and visit.may("packages:read")
    return await visit.together(
        packages=visit.inventory.get("/package-requests", customer_id=uid) if packs else None
    )


def next_clock(ticket: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the clock of a ticket that is due first, with the seconds that are left."""
    running = [
        (one["due_at"], name)
        for name, one in ticket["sla"].items()
        if one is not None and one["due_at"] is not None and one["state"] in _TICKING
    ]
    if not running or ticket["status"] not in WORKING:
        return None
    _, name = min(running)
    one = ticket["sla"][name]
    return {**one, "left": one["target_seconds"] - one["used_seconds"], "name": _CLOCKS[name]}


# A deadline that has passed unmet still waits for what it is about.
_TICKING = {"running", "breached"}


def _last(history: object) -> Sequence[Mapping[str, Any]]:
    """Return what was changed last, the newest first."""
    changes: list[Mapping[str, Any]] = history.json if isinstance(history, Answer) else []
    return changes[-3:][::-1]


def _commands(visit: Visit, address: str) -> list[Any]:
    if not visit.may("tickets:write"):
        return []
    return [
        change("POST", "crm", f"{address}/notes", {"body": "We send you another."}),
        change("PATCH", "crm", address, {"status": "pending"}),
    ]


def _address(visit: Visit) -> str:
    return f"/api/tickets/{_digits(visit.path('number'))}"


def _place(visit: Visit) -> str:
    return f"/tickets/{_digits(visit.path('number'))}"


def _digits(text: str) -> str:
    """Return what the API takes for a number: anything else is nobody's."""
    return text if text.isascii() and text.isdecimal() else "0"


routes = [
    get("/tickets", index, "tickets:read"),
    get("/tickets/new", new, "tickets:write"),
    post("/tickets/new", open_ticket, "tickets:write"),
    get("/tickets/{number}", show, "tickets:read"),
    post("/tickets/{number}/take", take, "tickets:write"),
    post("/tickets/{number}/reply", reply, "tickets:write"),
    post("/tickets/{number}/change", alter, "tickets:write"),
]
