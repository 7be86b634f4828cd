"""Customers: the list, and one with what became of their package."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.responses import Response

from console.forms import Form
from console.platform import Answer, Refused
from console.rendering import cause, instant
from console.routing import get, post
from console.visit import Outcome, Visit, change
from service_kit.process import clock

_PAGE = 50
# As the form names them, and whether the API takes nothing for it.
_POSTAL = ("postal_code", "city", "region", "country")
FIELDS = {"name": False, "email": False, "company": True, "phone": True, "external_ref": True}


class Moment(NamedTuple):
    """Something that happened to a customer."""

    at: str
    tint: str
    text: str
    more: str = ""


async def index(visit: Visit) -> Response:
    """List customers, newest first, or those that a text is found in."""
    text = visit.query.get("q", "").strip()[:200]
    cursor = visit.query.get("cursor")
    page = await visit.crm.get(
        "/api/customers", q=text or None, sort="-id", limit=_PAGE, cursor=cursor
    )
    return visit.render("customers.html", customers=page.json, next=page.next_cursor, text=text)


async def show(visit: Visit) -> Response:
    """Show a customer, by id or uid."""
    customer = (await visit.crm.get(_address(visit))).json
    uid = customer["uid"]
    packs = visit.has("inventory") and visit.may("packages:read")
    syncs = visit.has("integration") and visit.may("sync:read")
    found = await visit.together(
        packages=visit.inventory.get("/package-requests", customer_id=uid) if packs else None,
        delivery=visit.integration.get(f"/deliveries/{uid}") if syncs else None,
        tickets=visit.crm.get("/api/tickets", customer_id=customer["id"], sort="-id", limit=20)
        if visit.may("tickets:read")
        else None,
        audit=visit.crm.get("/api/audit", subject=uid, limit=50)
        if visit.may("audit:read")
        else None,
    )
    moments = sorted(_moments(customer, found), key=lambda moment: instant(moment.at))
    return visit.render("customer.html", customer=customer, moments=moments, **found)


async def new(visit: Visit) -> Response:
    return visit.render(
        "customer_form.html",
        customer=None,
        typed=dict.fromkeys([*FIELDS, "address"]),
        problem=None,
        key=clock.new_id(),
    )


async def register(visit: Visit) -> Response:
    form = await visit.form()
    body = {name: value for name, value in _typed(form).items() if value is not None}
    once = {"Idempotency_Key": form["key"]} if form["key"] else {}
    try:
        customer = (await visit.crm.post("/api/customers", body, **once)).json
    except Refused as problem:
        return _form_again(visit, None, form, problem)
    return visit.go(f"/customers/{customer['id']}", "registered")


async def edit(visit: Visit) -> Response:
    found = await visit.crm.get(_address(visit))
    return visit.render(
        "customer_form.html",
        customer=found.json,
        typed=found.json,
        problem=None,
        etag=found.etag,
        also=[change("PATCH", "crm", _address(visit), {"name": found.json["name"]})],
    )


async def save(visit: Visit) -> Response:
    form = await visit.form()
    try:
        await visit.crm.patch(_address(visit), _typed(form), If_Match=form["etag"])
    except Refused as problem:
        found = await visit.crm.get(_address(visit))
        return _form_again(visit, found, form, problem)
    return visit.go(f"/customers/{visit.path('key')}", "saved")


async def confirm_erasure(visit: Visit) -> Response:
    found = await visit.crm.get(_address(visit))
    command = change("DELETE", "crm", _address(visit))
    return visit.render(
        "customer_erase.html", customer=found.json, problem=None, etag=found.etag, also=[command]
    )


async def erase(visit: Visit) -> Response:
    """Erase a customer, as it was shown to whoever confirmed that."""
    form = await visit.form()
    try:
        await visit.crm.delete(_address(visit), If_Match=form["etag"])
    except Refused as problem:
        found = await visit.crm.get(_address(visit))
        return visit.render(
            "customer_erase.html",
            problem.status,
            customer=found.json,
            problem=problem,
            etag=found.etag,
        )
    return visit.go("/customers", "erased")


def _address(visit: Visit) -> str:
    return f"/api/customers/{quote(visit.path('key'), safe='')}"


def _typed(form: Form) -> dict[str, Any]:
    typed = {
        name: value if (value := form[name].strip()) or not may_be_empty else None
        for name, may_be_empty in FIELDS.items()
    }
    return {**typed, "address": _postal_address(form)}


def _postal_address(form: Form) -> dict[str, Any] | None:
    """Return the address that was typed; None where all its fields are empty."""
    lines = [line for line in map(str.strip, form["lines"].split("\n")) if line]
    rest = {name: form[name].strip() or None for name in _POSTAL}
    return {"lines": lines, **rest} if lines or any(rest.values()) else None


def _form_again(visit: Visit, now: Answer | None, form: Form, problem: Refused) -> Response:
    """Show a form with what was typed, why it was refused, and what others have changed."""
    typed = _typed(form)
    theirs = {}
    if now is not None and problem.slug == "precondition-failed":
        theirs = {name: now.json[name] for name in typed if now.json[name] != typed[name]}
    return visit.render(
        "customer_form.html",
        problem.status,
        customer=None if now is None else now.json,
        typed=typed,
        problem=problem,
        theirs=theirs,
        etag=None if now is None else now.etag,
        # A new one: the same key with another body would be refused.
        key=clock.new_id(),
    )


def _moments(customer: Mapping[str, Any], found: Mapping[str, Outcome | None]) -> Iterator[Moment]:
    yield from _of_customer(customer, found["audit"])
    if isinstance(delivery := found["delivery"], Answer):
        yield from _of_delivery(delivery.json)
    if isinstance(packages := found["packages"], Answer):
        for package in packages.json:
            yield Moment(package["created_at"], "good", "In Inventory", package["package_type"])
            if package["status"] not in {"pending", "backordered"}:
                yield Moment(package["updated_at"], "good", f"Package {package['status']}")
    if isinstance(tickets := found["tickets"], Answer):
        for ticket in tickets.json:
            yield Moment(ticket["created_at"], "rest", f"Ticket #{ticket['id']}", ticket["subject"])


def _of_customer(customer: Mapping[str, Any], audit: Outcome | None) -> Iterator[Moment]:
    if not isinstance(audit, Answer):
        yield Moment(customer["created_at"], "busy", "Registered")
        return
    words = {"customer.created": "Registered", "customer.updated": "Changed"}
    for entry in audit.json:
        if word := words.get(entry["action"]):
            yield Moment(entry["at"], "busy", word, f"by {entry['actor']}")


def _of_delivery(delivery: Mapping[str, Any]) -> Iterator[Moment]:
    yield Moment(delivery["created_at"], "busy", "Owed a package", f"route {delivery['route']}")
    for attempt in delivery["attempts"]:
        took = f"{attempt['duration_ms']:.0f} ms"
        if attempt["error_class"] is None:
            yield Moment(attempt["at"], "good", f"Delivered to Inventory, {took}")
        else:
            text = f"Tried, {attempt['error_class']}, {took}"
            yield Moment(attempt["at"], "bad", text, cause(attempt["error"]))
    if delivery["dismissed_at"]:
        by = f"by {delivery['dismissed_by']}: {delivery['dismissed_reason']}"
        yield Moment(delivery["dismissed_at"], "rest", "Dismissed", by)


routes = [
    get("/customers", index, "customers:read"),
    get("/customers/new", new, "customers:create"),
    post("/customers/new", register, "customers:create"),
    get("/customers/{key}", show, "customers:read"),
    get("/customers/{key}/edit", edit, "customers:write"),
    post("/customers/{key}/edit", save, "customers:write"),
    get("/customers/{key}/erase", confirm_erasure, "customers:delete"),
    post("/customers/{key}/erase", erase, "customers:delete"),
]
