"""The overview: the way from the CRM to Inventory, what is wrong, and what to do first."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from starlette.responses import Response

from console import plots
from console.pages.tickets import WORKING, next_clock
from console.platform import Answer
from console.rendering import cause
from console.routing import get
from console.visit import Outcome, Visit

_DEAD_SHOWN = 3
_DUE_SHOWN = 5
# The integration's route of packages; others report events to webhooks.
PACKAGES = "welcome-package"


class Notice(NamedTuple):
    """Something that is wrong, and what to do about it."""

    tint: str
    title: str
    text: str
    path: str = ""
    act: str = ""
    at: str | None = None
    # Whether the act is a change, which a form sends.
    post: bool = False


async def show(visit: Visit) -> Response:
    await visit.follow()
    syncs = visit.has("integration") and visit.may("sync:read")
    counts = visit.has("inventory") and visit.may("stock:read")
    reads, answers = visit.may("customers:read"), visit.may("tickets:read")
    found = await visit.together(
        crm=visit.crm.get("/api/stats") if answers else None,
        due=visit.crm.get("/api/tickets", status=list(WORKING), sort="due", limit=_DUE_SHOWN)
        if answers
        else None,
        inventory=visit.inventory.get("/stats") if counts else None,
        status=visit.integration.get("/status") if syncs else None,
        dead=visit.integration.get("/deliveries", state="dead", sort="-id", limit=_DEAD_SHOWN)
        if syncs
        else None,
        counted=visit.integration.get("/deliveries/per-minute", route=PACKAGES) if syncs else None,
        customers=visit.crm.get("/api/customers", sort="-id", limit=8) if reads else None,
    )
    notices = list(_notices(visit, found))
    counted, due = found["counted"], found["due"]
    return visit.render(
        "overview.html",
        notices=notices,
        summary=_summary(found["status"], notices),
        day=plots.day_of(counted.json) if isinstance(counted, Answer) else None,
        clocks={one["id"]: next_clock(one) for one in due.json} if isinstance(due, Answer) else {},
        plot_width=plots.WIDTH,
        plot_height=plots.HEIGHT,
        **found,
    )


def _summary(status: Outcome | None, notices: list[Notice]) -> str:
    """Say in one sentence how things are."""
    if needy := sum(notice.tint == "bad" for notice in notices):
        return "1 thing needs attention." if needy == 1 else f"{needy} things need attention."
    if isinstance(status, Answer):
        waiting = status.json["deliveries"]["pending"] + status.json["deliveries"]["retrying"]
        if not waiting and not status.json["deliveries"]["dead"]:
            return "Every customer who is owed a package has one."
    return "Nothing needs attention." if not notices else "Something waits."


def _notices(visit: Visit, found: dict[str, Outcome | None]) -> Iterator[Notice]:
    if isinstance(dead := found["dead"], Answer):
        for delivery in dead.json:
            name = delivery["customer_name"] or "A customer"
            uid = delivery["customer_uid"]
            yield Notice(
                "bad",
                f"{name} has no package.",
                cause(delivery["error"]),
                f"/customers/{uid}" if visit.may("customers:read") else f"/deliveries/{uid}",
                "Open",
            )
    if isinstance(status := found["status"], Answer):
        yield from _of_status(visit, status.json)
    if isinstance(crm := found["crm"], Answer) and (late := crm.json["tickets"]["overdue"]):
        word = "ticket is" if late == 1 else "tickets are"
        yield Notice("wait", f"{late} {word} overdue.", "", "/tickets?view=overdue", "Open")
    if isinstance(stock := found["inventory"], Answer) and (low := stock.json["low_stock"]):
        yield Notice("wait", "Stock is low:", ", ".join(low[:5]) + ".")


def _of_status(visit: Visit, status: dict[str, Any]) -> Iterator[Notice]:
    if paused_at := status["paused_at"]:
        waiting = status["deliveries"]["pending"] + status["deliveries"]["retrying"]
        text = f"{waiting} waiting; nothing is lost. Since"
        path, act = ("/deliveries/resume", "Resume") if visit.may("sync:operate") else ("", "")
        yield Notice("wait", "Deliveries are paused.", text, path, act, paused_at, post=bool(act))
    for name, circuit in status["circuits"].items():
        if circuit["state"] == "open":
            title = (
                f"The integration does not reach {'the CRM' if name == 'crm' else name.title()}."
            )
            text = "It tries again by itself; nothing is lost. Since"
            yield Notice("wait", title, text, at=circuit["opened_at"])
    if (state := status["feed"]["state"]) != "running":
        text = "All customers are read again." if state == "recovering" else "It is tried again."
        yield Notice("wait", f"The feed is {state}.", text)
    if held := status["repair_held_back"]:
        text = f"{held['customers']} packages are missing at Inventory: check that it is the right"
        yield Notice("bad", "A repair waits for you.", f"{text} one.", "/deliveries", "Open")


routes = [get("/", show)]
