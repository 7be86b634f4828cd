"""Stock: what there is of each item, its ledger, and what came in or was counted."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.responses import Response

from console.forms import Form
from console.platform import Answer, Refused
from console.routing import get, post
from console.visit import Visit, change
from service_kit.process import clock

_PAGE = 100
_SHOWN_MOVEMENTS = 100
# Of the plot's own coordinates, in which an SVG is as wide as its page.
WIDTH, HEIGHT = 600, 80


class Plot(NamedTuple):
    """The level of an item over its last movements, as the points of a line in steps."""

    points: str
    least: int
    most: int


async def index(visit: Visit) -> Response:
    """List items, those of which too few are available first."""
    cursor = visit.query.get("cursor")
    found = await visit.together(
        low=None
        if cursor
        else visit.inventory.get("/items", below_reorder_level="true", limit=_PAGE),
        page=visit.inventory.get("/items", limit=_PAGE, cursor=cursor),
    )
    low = found["low"].json if isinstance(found["low"], Answer) else []
    rest = found["page"].json if isinstance(found["page"], Answer) else []
    known = {item["sku"] for item in low}
    rows = [*low, *(item for item in rest if item["sku"] not in known)]
    return visit.render("stock.html", rows=rows, few=known, page=found["page"])


async def show(visit: Visit) -> Response:
    return await _page(visit)


async def receive(visit: Visit) -> Response:
    """Record that stock came in, or with a negative number that it went out."""
    form = await visit.form()
    movement = {"quantity": _integer(form["quantity"]), "reason": form["reason"]}
    return await _move(visit, form, movement, "received")


async def count(visit: Visit) -> Response:
    """Record what was counted, as the difference to what there should be.

    Nothing is recorded where stock has moved since the page was shown: the count may be of then.
    """
    form = await visit.form()
    on_hand = (await visit.inventory.get(_address(visit))).json["on_hand"]
    counted = _integer(form["counted"])
    if not isinstance(counted, int) or counted < 0:
        return await _page(visit, _fault("counted", "must be a whole number, 0 or more"), form)
    if form["on_hand"] != str(on_hand):
        told = f"Stock has moved meanwhile: there should be {on_hand} now. Nothing was recorded."
        return await _page(visit, Refused(409, {"detail": told}), form)
    if counted == on_hand:
        return visit.go(_place(visit), "agrees")
    movement = {"quantity": counted - on_hand, "reason": form["why"] or "counted"}
    return await _move(visit, form, movement, "counted")


async def alter(visit: Visit) -> Response:
    """Change the name or the reorder level of the item as it was shown."""
    form = await visit.form()
    body = {"name": form["name"], "reorder_level": _integer(form["reorder_level"])}
    try:
        await visit.inventory.patch(_address(visit), body, If_Match=form["etag"])
    except Refused as problem:
        return await _page(visit, problem, form)
    return visit.go(_place(visit), "saved")


async def new(visit: Visit) -> Response:
    return _form(visit)


async def add(visit: Visit) -> Response:
    form = await visit.form()
    body = {
        "sku": form["sku"].strip(),
        "name": form["name"],
        "tracked": bool(form["tracked"]),
        "on_hand": _integer(form["on_hand"] or "0"),
        "reorder_level": _integer(form["reorder_level"] or "0"),
    }
    try:
        item = (await visit.inventory.post("/items", body, **_once(form))).json
    except Refused as problem:
        return _form(visit, form, problem)
    return visit.go(f"/stock/items/{quote(item['sku'])}", "added")


async def verify(visit: Visit) -> Response:
    """Show whether levels agree with the ledger, and reservations with live requests."""
    return visit.render("verify.html", found=(await visit.inventory.get("/verify")).json)


async def _move(visit: Visit, form: Form, movement: Mapping[str, Any], done: str) -> Response:
    try:
        await visit.inventory.post(f"{_address(visit)}/movements", movement, **_once(form))
    except Refused as problem:
        return await _page(visit, problem, form)
    return visit.go(_place(visit), done)


async def _page(visit: Visit, problem: Refused | None = None, form: Form | None = None) -> Response:
    """Show an item; after a refusal with what was typed."""
    address = _address(visit)
    item = await visit.inventory.get(address)
    found = await visit.together(
        ledger=visit.inventory.get(f"{address}/movements", sort="-id", limit=_SHOWN_MOVEMENTS)
    )
    rows = found["ledger"].json if isinstance(found["ledger"], Answer) else []
    levels = _levels(item.json["on_hand"], rows)
    return visit.render(
        "stock_item.html",
        200 if problem is None else problem.status,
        item=item.json,
        etag=item.etag,
        problem=problem,
        has_changed=problem is not None and problem.slug == "precondition-failed",
        typed=dict(form.items()) if form else {},
        key=clock.new_id(),
        levels=levels,
        plot=_plot(levels, item.json["reorder_level"]),
        width=WIDTH,
        height=HEIGHT,
        also=[
            change("POST", "inventory", f"{address}/movements", {"quantity": 50, "reason": "4711"})
        ]
        if visit.may("stock:write")
        else [],
        **found,
    )


def _form(visit: Visit, form: Form | None = None, problem: Refused | None = None) -> Response:
    return visit.render(
        "stock_form.html",
        200 if problem is None else problem.status,
        typed=dict(form.items()) if form else {"tracked": "yes"},
        problem=problem,
        key=clock.new_id(),
    )


def _levels(on_hand: int, movements: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return how many there were after each movement, given the newest first."""
    levels = []
    for movement in movements:
        levels.append(on_hand)
        on_hand -= movement["on_hand_delta"]
    return levels


def _plot(levels: Sequence[int], reorder_level: int) -> Plot | None:
    """Draw the levels as steps from the oldest to the newest; nothing where there are too few."""
    oldest_first = levels[::-1]
    if len(oldest_first) < 2:  # noqa: PLR2004 (one level is a point)
        return None
    most = max(*oldest_first, reorder_level, 1)
    step = WIDTH / (len(oldest_first) - 1)
    points: list[str] = []
    for number, level in enumerate(oldest_first):
        y = round(HEIGHT - 2 - (HEIGHT - 4) * level / most, 1)
        if number:
            points.append(f"{round(number * step, 1)},{points[-1].partition(',')[2]}")
        points.append(f"{round(number * step, 1)},{y}")
    return Plot(" ".join(points), min(oldest_first), most)


def _fault(field: str, text: str) -> Refused:
    """Say what is wrong with a field, as the API says it of its own."""
    return Refused(422, {"errors": [{"loc": ["body", field], "msg": text}]})


def _integer(text: str) -> int | str:
    """Read a number; what is none is left to the API to refuse."""
    plain = text.strip().replace("\u2212", "-")
    try:
        return int(plain) if len(plain) < 12 else text  # noqa: PLR2004 (its limit is 10 digits)
    except ValueError:
        return text


def _once(form: Form) -> dict[str, str]:
    return {"Idempotency_Key": form["key"]} if form["key"] else {}


def _address(visit: Visit) -> str:
    return f"/items/{quote(visit.path('sku'), safe='')}"


def _place(visit: Visit) -> str:
    return f"/stock{_address(visit)}"


routes = [
    get("/stock", index, "stock:read"),
    get("/stock/verify", verify, "stock:read"),
    get("/stock/new", new, "stock:write"),
    post("/stock/new", add, "stock:write"),
    get("/stock/items/{sku}", show, "stock:read"),
    post("/stock/items/{sku}/receive", receive, "stock:write"),
    post("/stock/items/{sku}/count", count, "stock:write"),
    post("/stock/items/{sku}/change", alter, "stock:write"),
]
