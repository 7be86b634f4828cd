"""Deliveries: what is owed, what came of it, and how an operator steers it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.responses import Response

from console import plots
from console.platform import Answer, Refused
from console.routing import get, post
from console.visit import Visit, change

STATES = ("dead", "retrying", "pending", "delivered", "skipped", "undone")
_PAGE = 50
# Those that one order may retry: of a state and, if it says so, of an error class.
RETRYABLE = {"dead", "retrying"}
CLASSES = {
    "transient": "No answer, or one that may change",
    "refused": "Refused by Inventory",
    "unreadable": "The event can't be read",
}


# Why a delivery that waits is not sent.
HELD = {
    "paused": "sending is paused",
    "circuit": "its target does not answer",
    "order": "an earlier event of the same subject is not through",
}


class Group(NamedTuple):
    """Deliveries that failed in the same way."""

    error_class: str | None
    title: str
    rows: list[Mapping[str, Any]]

    @property
    def can_be_retried(self) -> bool:
        return self.error_class in {"transient", "refused"}


async def index(visit: Visit) -> Response:
    """List deliveries of one state, newest first; those that failed grouped by how."""
    text = visit.query.get("q", "").strip()[:200]
    found = await visit.together(
        status=visit.integration.get("/status"), compared=visit.integration.get("/reconcile")
    )
    counts = found["status"].json["deliveries"] if isinstance(found["status"], Answer) else {}
    state = _state(visit, counts)
    page = await visit.together(
        page=visit.integration.get(
            "/deliveries",
            state=None if text else state,
            q=text or None,
            sort="-id",
            limit=_PAGE,
            cursor=visit.query.get("cursor"),
        )
    )
    rows = page["page"].json if isinstance(page["page"], Answer) else []
    groups = list(_groups(rows)) if state in RETRYABLE and not text else None
    return visit.render(
        "deliveries.html",
        state="" if text else state,
        states=STATES,
        counts=counts,
        groups=groups,
        text=text,
        **found,
        **page,
    )


async def show(visit: Visit) -> Response:
    """Show one delivery with every attempt."""
    delivery = (await visit.integration.get(_address(visit))).json
    return _page(visit, delivery)


async def retry(visit: Visit) -> Response:
    await visit.integration.post(_address(visit) + "/retry")
    return visit.go(f"/deliveries/{visit.path('uid')}", "retried")


async def dismiss(visit: Visit) -> Response:
    form = await visit.form()
    try:
        await visit.integration.post(_address(visit) + "/dismiss", {"reason": form["reason"]})
    except Refused as problem:
        delivery = (await visit.integration.get(_address(visit))).json
        return _page(visit, delivery, problem, form["reason"])
    return visit.go(f"/deliveries/{visit.path('uid')}", "dismissed")


async def preview(visit: Visit) -> Response:
    """Show what a retry of many would do. It changes nothing."""
    order = _order(visit.query)
    dry = {**order, "dry_run": True}
    found = (await visit.integration.post("/deliveries/retry", dry)).json
    also = [change("POST", "integration", "/deliveries/retry", dry)]
    return visit.render("retry.html", order=order, found=found, classes=CLASSES, also=also)


async def retry_many(visit: Visit) -> Response:
    form = await visit.form()
    order = _order({name: form[name] for name in ("state", "error_class")})
    done = (await visit.integration.post("/deliveries/retry", order)).json
    return visit.go("/deliveries", "retried-many", state="retrying", number=str(done["retried"]))


async def pause(visit: Visit) -> Response:
    await visit.integration.post("/pause")
    return visit.go("/deliveries", "paused")


async def resume(visit: Visit) -> Response:
    await visit.integration.post("/resume")
    return visit.go("/deliveries", "resumed")


async def poll(visit: Visit) -> Response:
    await visit.integration.post("/poll")
    return visit.go("/deliveries", "polled")


async def compare(visit: Visit) -> Response:
    """Compare both sides, and enqueue what is missing where the form says so."""
    form = await visit.form()
    order = {"repair": form["repair"] == "yes", "confirm": form["confirm"] == "yes"}
    try:
        await visit.integration.post("/reconcile", order)
    except Refused as problem:
        if problem.slug != "reconcile-running":
            raise
    return visit.go("/deliveries", "comparing")


def _page(
    visit: Visit, delivery: Mapping[str, Any], problem: Refused | None = None, reason: str = ""
) -> Response:
    address = _address(visit)
    also = []
    if delivery["state"] == "dead" and visit.may("sync:operate"):
        dismissal = {"reason": reason or "She has got one by hand."}
        also = [
            change("POST", "integration", f"{address}/retry"),
            change("POST", "integration", f"{address}/dismiss", dismissal),
        ]
    longest = max((one["duration_ms"] for one in delivery["attempts"]), default=0.0)
    return visit.render(
        "delivery.html",
        200 if problem is None else problem.status,
        delivery=delivery,
        longest=longest or 1.0,
        tries=plots.tries_of(delivery),
        plot_width=plots.WIDTH,
        plot_height=plots.HEIGHT,
        held=HELD,
        problem=problem,
        reason=reason,
        classes=CLASSES,
        also=also,
    )


def _state(visit: Visit, counts: Mapping[str, int]) -> str:
    """Return the state that is asked for; else the first that somebody should look at."""
    asked = visit.query.get("state", "")
    if asked in STATES:
        return asked
    return next((state for state in STATES if counts.get(state)), "delivered")


def _groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[Group]:
    found: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["error_class"], []).append(row)
    for error_class, members in found.items():
        title = CLASSES.get(error_class or "", error_class or "Not tried yet")
        yield Group(error_class, title, members)


def _order(asked: Mapping[str, str]) -> dict[str, str]:
    """Say which deliveries a retry is about, as the API takes it."""
    order = {"state": asked.get("state", "") if asked.get("state") in RETRYABLE else "dead"}
    if asked.get("error_class") in {"transient", "refused"}:
        order["error_class"] = asked["error_class"]
    return order


def _address(visit: Visit) -> str:
    return f"/deliveries/{quote(visit.path('uid'), safe='')}"


routes = [
    get("/deliveries", index, "sync:read"),
    get("/deliveries/retry", preview, "sync:operate"),
    post("/deliveries/retry", retry_many, "sync:operate"),
    post("/deliveries/pause", pause, "sync:operate"),
    post("/deliveries/resume", resume, "sync:operate"),
    post("/deliveries/poll", poll, "sync:operate"),
    post("/deliveries/compare", compare, "sync:operate"),
    get("/deliveries/{uid}", show, "sync:read"),
    post("/deliveries/{uid}/retry", retry, "sync:operate"),
    post("/deliveries/{uid}/dismiss", dismiss, "sync:operate"),
]
