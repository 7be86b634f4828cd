"""The receivers of the simulated webhooks: what they were sent, and what they have accepted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from json import loads
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import Connection

from integration_service.deliveries import service
from integration_service.feed.places import OLDEST
from integration_service.ledger import control
from integration_service.routes.definitions import DEFAULT, Route, WebhookRoute
from service_kit.web.auth import COMMAND_LINE
from tests.chaos.receiver import is_signed
from tests.simulation.machines import Process
from tests.simulation.network import Link

if TYPE_CHECKING:
    from tests.simulation.world import World

SECRET_NAME = "SIMULATED_SECRET"
SECRET = "whsec_" + "b25seS1mb3ItdGhlLXNpbXVsYXRlZC13ZWJob29rcy4u"
ORDERED, NEWS = "everything", "newcomers"
ADDRESSES = {ORDERED: "10.1.0.1", NEWS: "10.1.0.2"}
WEBHOOKS = (
    WebhookRoute(
        name=ORDERED,
        on=("customer.*", "ticket.*"),
        url=f"http://{ADDRESSES[ORDERED]}/",
        secrets=(SECRET_NAME,),
        order="subject",
    ),
    WebhookRoute(
        name=NEWS,
        on=("customer.created",),
        url=f"http://{ADDRESSES[NEWS]}/",
        secrets=(SECRET_NAME,),
    ),
)
# An event may be sent so long after it was read: the seconds for which it is kept in memory, and
# those of up to three tries.
UNDER_WAY_SECONDS = 5.0 + 3 * 15.0


def routes(*, with_webhooks: bool) -> tuple[Route, ...]:
    return (*DEFAULT, *WEBHOOKS) if with_webhooks else DEFAULT


@dataclass(frozen=True)
class Accepted:
    """An event that was answered 204."""

    webhook_id: str
    event_id: str
    subject: str


class Receiver(Link):
    """The way to a receiver, and the receiver: it takes whatever is signed."""

    def __init__(self, world: "World", route: str) -> None:
        super().__init__(world, route)
        self.accepted: list[Accepted] = []

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        self._look_for_the_erased(request.content)
        return await super().exchange(request)

    async def deliver(self, request: httpx.Request) -> httpx.Response:
        webhook_id = request.headers["webhook-id"]
        if not is_signed(SECRET, request.headers, request.content):
            self.world.found(
                "forged", f"{self.service} is sent {webhook_id} with another's signature"
            )
            return httpx.Response(401, content=b"")
        event: dict[str, Any] = loads(request.content)
        self.accepted.append(Accepted(webhook_id, event["id"], event["subject"]))
        return httpx.Response(204, content=b"")

    def _look_for_the_erased(self, body: bytes) -> None:
        """Find a name in what is sent of a person who was erased before it was read."""
        latest = self.world.loop.time() - UNDER_WAY_SECONDS
        for person in self.world.people:
            is_erased = person.is_erased and not person.is_undone and person.erased_at < latest
            if is_erased and person.names[0].encode() in body:
                self.world.found("remembered", f"{self.service} is sent {person.names[0]}")


def resume_route(db: Connection, route: str) -> None:
    """Have a route go on, from the oldest event that is left where it has a gap."""
    control.resume_route(db, route, COMMAND_LINE)
    control.accept_gap(db, route, OLDEST, COMMAND_LINE)


async def operate(world: "World", poller: Process) -> None:
    """Do what a person has to: resume routes, accept their gaps, and settle what is dead."""
    if not world.setup.webhooks:
        return
    ledger = world.disks["integration"]
    stopped = "SELECT name FROM routes WHERE paused_at IS NOT NULL OR feed_state = 'gap'"
    for (name,) in ledger.rows(stopped):
        await poller.carry_out(poller.database.write(resume_route, name))
    [(head,)] = world.disks["crm"].rows("SELECT last_position FROM feed_head")
    # Before, what is dead may yet be found where the feed is read anew.
    if not list(unread(world, head)):
        await _settle_the_dead(world, poller)


async def _settle_the_dead(world: "World", poller: Process) -> None:
    """Retry what the feed has, as after a restore that was undone; dismiss what it has lost."""
    there = {event for (event,) in world.disks["crm"].rows("SELECT event_id FROM events")}
    write, now = poller.database.write, poller.clock.now()
    for name, event in _dead(world):
        if event in there:
            work = write(service.retry, event, now, COMMAND_LINE, name)
        else:
            work = write(service.dismiss, event, "It is lost.", now, COMMAND_LINE, name)
        await poller.carry_out(work)


def _dead(world: "World") -> list[tuple[str, str]]:
    return world.disks["integration"].rows(
        "SELECT route, subject FROM deliveries WHERE state = 'dead' AND event_type IS NOT NULL"
    )


def unfinished(world: "World", head: int) -> Iterator[str]:
    """Find routes that have not read the feed to its end, and what is dead."""
    yield from unread(world, head)
    for name, event in _dead(world):
        yield f"{event} of {name} is dead"


def unread(world: "World", head: int) -> Iterator[str]:
    for name, state, position in world.disks["integration"].rows(
        "SELECT name, feed_state, position FROM routes WHERE target = 'webhook'"
    ):
        if position != head or state != "running":
            yield f"the feed is {state} for {name}, read to {position} of {head}"


def findings(world: "World") -> Iterator[tuple[str, str]]:
    """Find what was owed and never came, what came as two, and what came behind a later event."""
    events = world.disks["crm"].rows("SELECT event_id, type, subject FROM events ORDER BY position")
    for route in WEBHOOKS if world.setup.webhooks else ():
        accepted = world.receivers[route.name].accepted
        owed = [event for event, kind, _ in events if kind in route.event_types]
        yield from _unheard(route, accepted, owed)
        yield from _heard_twice(route, accepted)
        if route.order == "subject":
            yield from _disordered(route, accepted, owed)


def _unheard(
    route: WebhookRoute, accepted: list[Accepted], owed: list[str]
) -> Iterator[tuple[str, str]]:
    heard = {one.event_id for one in accepted}
    yield from (("unheard", f"{route.name}: {event}") for event in owed if event not in heard)


def _heard_twice(route: WebhookRoute, accepted: list[Accepted]) -> Iterator[tuple[str, str]]:
    ids = Counter(event for event, _ in {(one.event_id, one.webhook_id) for one in accepted})
    for event, number in sorted(ids.items()):
        if number > 1:
            yield "heard twice", f"{route.name}: {event} came under {number} ids"


def _disordered(
    route: WebhookRoute, accepted: list[Accepted], owed: list[str]
) -> Iterator[tuple[str, str]]:
    """What counts is when each came first; what a restored CRM has lost has no place any more."""
    places = {event: place for place, event in enumerate(owed)}
    newest: dict[str, int] = {}
    seen: set[str] = set()
    for one in accepted:
        place = places.get(one.event_id)
        if place is None or one.event_id in seen:
            continue
        seen.add(one.event_id)
        if place < newest.get(one.subject, -1):
            yield "disordered", f"{route.name}: {one.event_id} came behind a later one"
        newest[one.subject] = max(place, newest.get(one.subject, -1))


def look(world: "World") -> None:
    """Note what may be at no moment: a gap or an open circuit without a cause."""
    if not world.setup.webhooks:
        return
    ledger = world.disks["integration"]
    if not world.may_have_gaps:
        for (name,) in ledger.rows("SELECT name FROM routes WHERE feed_state = 'gap'"):
            world.found("gap", f"{name} has a gap, and nothing was restored or pruned")
    for (target,) in ledger.rows("SELECT target FROM links WHERE opened_at IS NOT NULL"):
        receiver = world.receivers.get(target.removeprefix("webhook:"))
        if receiver is not None and not receiver.seen:
            world.found("shared", f"the circuit of {target} is open, and it has never failed")
