"""Packing: what to take from the shelf, what goes to whom, and moves of many packages at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.responses import Response

from console.platform import Answer, Down, Refused
from console.routing import get, post
from console.visit import Visit, change

_PAGE = 100
_MOST_AT_ONCE = 500


class Tab(NamedTuple):
    """Packages in one state, and the step that is taken with them next."""

    name: str
    status: str
    move: str = ""
    act: str = ""


TABS = {
    "pending": Tab("To pack", "pending", "pack", "Pack chosen"),
    "backordered": Tab("Waiting for stock", "backordered"),
    "packed": Tab("Packed", "packed", "ship", "Ship chosen"),
    "unpack": Tab("To unpack", "cancelled", "unpack", "Mark chosen as unpacked"),
}
# What has become of a package, as the page says it of each step.
MOVED = {"pack": "packed", "ship": "shipped", "unpack": "unpacked"}


class Result(NamedTuple):
    """What became of one package of those that were chosen."""

    request_id: str
    name: str | None
    error: str | None


async def index(visit: Visit) -> Response:
    return await _page(visit, _tab(visit.query.get("tab", "")))


async def move(visit: Visit) -> Response:
    """Take one step with each chosen package, and say what became of each.

    The step and the packages are the form's: sent again, it changes nothing.
    """
    form = await visit.form()
    key = _tab(form["tab"])
    tab, chosen = TABS[key], form.all("chosen")[:_MOST_AT_ONCE]
    if not tab.move or not chosen:
        return await _page(visit, key, problem=Refused(422, {"detail": "Choose packages first."}))
    order = {"move": tab.move, "request_ids": chosen}
    try:
        answer = await visit.inventory.post("/package-requests/moves", order)
    except (Refused, Down) as problem:
        return await _page(visit, key, chosen=chosen, problem=problem)
    results = _results(chosen, answer.json)
    return await _page(visit, key, results=results, order=order)


async def _page(
    visit: Visit,
    key: str,
    chosen: Sequence[str] = (),
    problem: Refused | Down | None = None,
    results: Sequence[Result] = (),
    order: Mapping[str, Any] | None = None,
) -> Response:
    """Show one tab; after a refusal with what was chosen, after a move with what came of it."""
    tab, found = TABS[key], await _asked(visit, key)
    rows = _rows(key, found)
    chooses_all = bool(visit.query.get("all") and rows)
    return visit.render(
        "packing.html",
        200 if problem is None else getattr(problem, "status", 503),
        key=key,
        tab=tab,
        tabs=TABS,
        numbers=_numbers(found),
        rows=rows,
        left={item["sku"]: item["available"] for item in _json(found["low"])},
        all=chooses_all,
        chosen=[row["request_id"] for row in rows] if chooses_all else chosen,
        problem=problem,
        results=results,
        moved=MOVED.get(tab.move, ""),
        also=[change("POST", "inventory", "/package-requests/moves", order or _example(tab, rows))]
        if visit.may("packages:write") and tab.move
        else [],
        **found,
    )


async def _asked(visit: Visit, key: str) -> dict[str, Any]:
    inventory, counts = visit.inventory, visit.may("stock:read")
    query = {"status": TABS[key].status, "limit": _PAGE, "cursor": visit.query.get("cursor")}
    return await visit.together(
        pick=inventory.get("/pick-list"),
        stats=inventory.get("/stats") if counts else None,
        low=inventory.get("/items", below_reorder_level="true", limit=500) if counts else None,
        # The boxes to empty are in the pick list.
        page=None if key == "unpack" else inventory.get("/package-requests", **query),
    )


def _rows(key: str, found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if key == "unpack":
        boxes: list[Mapping[str, Any]] = (_json(found["pick"]) or {}).get("to_unpack", [])
        return [{"customer_name": None, "ship_to": None, **box} for box in boxes]
    return list(_json(found["page"]))


def _numbers(found: Mapping[str, Any]) -> dict[str, int]:
    """Count what each tab has, as far as the services say."""
    numbers: dict[str, int] = {}
    if isinstance(stats := found["stats"], Answer):
        states = stats.json["package_requests"]
        numbers = {key: states.get(TABS[key].status, 0) for key in ("backordered", "packed")}
    if isinstance(pick := found["pick"], Answer):
        numbers |= {"pending": pick.json["packages"], "unpack": len(pick.json["to_unpack"])}
    return numbers


def _results(chosen: Sequence[str], answered: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Say of each package what became of it; those that could not be moved come first."""
    results = []
    for request_id, one in zip(chosen, answered, strict=True):
        package, problem = one.get("package_request"), one.get("problem")
        error = None if problem is None else str(problem.get("detail") or problem["title"])
        results.append(Result(request_id, package and package["customer_name"], error))
    return sorted(results, key=lambda result: result.error is None)


def _json(outcome: object) -> Any:
    return outcome.json if isinstance(outcome, Answer) else []


def _example(tab: Tab, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ids = [row["request_id"] for row in rows[:2]]
    return {"move": tab.move, "request_ids": ids or ["REQUEST_ID"]}


def _tab(asked: str) -> str:
    return asked if asked in TABS else "pending"


routes = [
    get("/packing", index, "packages:read"),
    post("/packing/move", move, "packages:write"),
]
