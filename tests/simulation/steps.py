"""What may happen in a run: people, operators, and what goes wrong.

A step is a function of the world with `@step(weight, draw)`: how often it is drawn beside the
others, and what draws its details. Nothing else has to know of a new one; the tests find it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from crm_api.feed import service as feed
from integration_service.deliveries.schemas import RetryOrder
from integration_service.deliveries.service import retry_many
from integration_service.ledger import control
from service_kit.web.auth import COMMAND_LINE
from tests.simulation.machines import Process
from tests.simulation.network import FAULTS
from tests.simulation.webhooks import ADDRESSES, NEWS, ORDERED, resume_route
from tests.simulation.world import SERVERS, SERVICES, Person, Setup, World

HOUR, DAY = 3600.0, 86400.0
POLLERS = ("poller 1", "poller 2")
# The person who came last, for whom something may be on its way.
NEWEST = -1
FOREIGN = sorted(name for name in FAULTS if name.startswith("foreign"))
OWN = sorted(FAULTS.keys() - FOREIGN)
# Of a webhook any 2xx is a success, whoever has answered it.
REFUSALS = [name for name in FOREIGN if name != "foreign_200"]
Details = tuple[Any, ...]
Draw = Callable[[random.Random], Details]


class NothingToDo(Exception):
    """The step has nothing to act on: nobody to erase, no process to kill."""


@dataclass(frozen=True)
class Step:
    """One thing that happens, and how many seconds pass after it."""

    name: str
    details: Details
    pause: float

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.details))}), then {self.pause:g} s"


@dataclass(frozen=True)
class Kind:
    act: Callable[..., Awaitable[None]]
    weight: int
    draw: Draw


KINDS: dict[str, Kind] = {}


def step(weight: int, draw: Draw = lambda chance: ()) -> Callable[[Any], Any]:
    def register(act: Any) -> Any:
        KINDS[act.__name__] = Kind(act, weight, draw)
        return act

    return register


def draw_setup(seed: int) -> Setup:
    chance = random.Random(f"setup {seed}")
    return Setup(
        seed,
        pollers=chance.choice((1, 1, 2)),
        start_from=chance.choice(("beginning", "beginning", "now")),
        customers_before=chance.choice((0, 2, 5)),
        has_file=chance.random() < 0.7,
        stock=chance.choice((1000, 3)),
        settings={
            "batch_size": chance.choice((2, 3, 500)),
            "long_poll_seconds": chance.choice((0, 10)),
            "polling_interval_seconds": chance.choice((5, 10)),
            "reconcile_interval_seconds": chance.choice((10, 40)),
        },
        webhooks=chance.random() < 0.3,
    )


def draw_history(seed: int) -> list[Step]:
    """Draw what happens. Each history knows only half of the steps, so that these meet often.

    Most are short, since in the time of a long one there are many of them.
    """
    chance = random.Random(f"history {seed}")
    names = [name for name in KINDS if name == "register" or chance.random() < 0.5]
    weights = [KINDS[name].weight for name in names]
    drawn = chance.choices(names, weights, k=chance.randint(5, chance.choice((10, 20, 40))))
    return [draw_step(name, chance) for name in drawn]


def draw_step(name: str, chance: random.Random) -> Step:
    return Step(name, KINDS[name].draw(chance), chance.choice((0, 0, 0.05, 1, 3)))


def _number(chance: random.Random) -> Details:
    return (chance.randrange(1000),)


# --- people


async def furnish(world: World) -> None:
    """Give Inventory something to put into packages, and the CRM its first customers."""
    mug = {"sku": "MUG", "name": "Mug", "on_hand": world.setup.stock}
    await world.ask("inventory", "POST", "/items", json=mug)
    kit = {"lines": [{"sku": "MUG", "quantity": 1}]}
    await world.ask("inventory", "PUT", "/kits/welcome_package", json=kit)
    for _ in range(world.setup.customers_before):
        await _register(world)


@step(12, lambda chance: (chance.choice((1, 1, 2, 3)),))
async def register(world: World, count: int) -> None:
    for _ in range(count):
        await _register(world)


@step(1)
async def register_many(world: World) -> None:
    """More at once than a repair may make again without a word."""
    first, at = len(world.people), world.clocks["crm"].meter()
    names = [f"Member-{first:04}-{place:02}" for place in range(25)]
    is_owed = world.owes_newcomers()
    answer = await world.ask(
        "crm",
        "POST",
        "/api/customers/batch",
        json=[{"name": name, "email": f"{name}@example.com"} for name in names],
        headers={"Idempotency-Key": f"batch-{first}"},
    )
    if answer.status_code != httpx.codes.OK:
        return
    for number, (name, result) in enumerate(zip(names, answer.json(), strict=True), first):
        uid = result["customer"]["uid"]
        world.people.append(Person(number, [name], at, uid, is_owed, is_of_batch=True))


async def _register(world: World) -> None:
    """Add somebody. Whoever got no answer asks again, with the same key, before anybody else does.

    Such a one may have been there since the first time, or come only now.
    """
    is_owed, person = world.owes_newcomers(), world.unanswered
    if person is None:
        number = len(world.people)
        at = world.clocks["crm"].meter()
        person = Person(number, [f"Person-{number:04}"], at, is_owed=is_owed)
    elif person.is_owed != is_owed:
        person.is_owed = "either"
    world.unanswered = person
    answer = await _send_registration(world, person)
    world.unanswered = None
    if answer.status_code == httpx.codes.CREATED:
        person.uid = answer.json()["uid"]
        world.people.append(person)


async def _send_registration(world: World, person: Person) -> httpx.Response:
    return await world.ask(
        "crm",
        "POST",
        "/api/customers",
        json={"name": person.names[0], "email": f"p{person.number}@example.com"},
        headers={"Idempotency-Key": f"key-{person.number}"},
    )


@step(2, _number)
async def register_again(world: World, number: int) -> None:
    """A client repeats a request with the same Idempotency-Key, however late."""
    person = _person(world, number)
    age = world.clocks["crm"].meter() - person.registered_at
    if person.is_of_batch or person.is_undone or age > 6 * DAY:
        raise NothingToDo  # it had no key of its own, or the CRM no longer has to know it
    answer = await _send_registration(world, person)
    is_created = answer.status_code == httpx.codes.CREATED
    if is_created and answer.json()["uid"] != person.uid:
        world.found("unexpected", f"{person.names[0]} was asked for once and is there twice")
    elif not is_created and not person.is_erased:
        world.found("unexpected", f"{person.names[0]} was asked for again and refused")


@step(3, _number)
async def rename(world: World, number: int) -> None:
    person = _person(world, number)
    if person.is_erased:
        raise NothingToDo
    name = f"{person.names[0]}-{len(person.names)}"
    person.names.append(name)
    await world.ask("crm", "PATCH", f"/api/customers/{person.uid}", json={"name": name})


@step(6, lambda chance: (chance.choice((chance.randrange(1000), NEWEST)),))
async def erase(world: World, number: int) -> None:
    person = _person(world, number)
    try:
        answer = await world.ask("crm", "DELETE", f"/api/customers/{person.uid}")
        is_erased = answer.status_code == httpx.codes.NO_CONTENT
    except httpx.TransportError:
        # Whoever gets no answer looks whether the customer is still there.
        erased = world.disks["crm"].rows("SELECT uid FROM customers WHERE erased_at IS NOT NULL")
        is_erased = (person.uid,) in erased
    if is_erased:
        person.is_erased, person.is_undone = True, False
        person.erased_at = world.loop.time()


@step(3, _number)
async def ship(world: World, number: int) -> None:
    """A clerk packs a package and hands it out."""
    rows = world.disks["inventory"].rows(
        "SELECT request_id FROM package_requests WHERE status IN ('pending', 'packed') ORDER BY id"
    )
    if not rows:
        raise NothingToDo
    [request_id] = rows[number % len(rows)]
    for move in ("pack", "ship"):
        await world.ask("inventory", "POST", f"/package-requests/{request_id}/{move}")


@step(2, lambda chance: (chance.choice((chance.randrange(1000), NEWEST)),))
async def request_by_hand(world: World, number: int) -> None:
    """A clerk who has not heard of an erasure asks for the package."""
    person = _person(world, number)
    if not person.is_erased or person.is_undone:
        raise NothingToDo
    # With another name, or none, it would contradict what the integration sends.
    new = {"customer_id": person.uid, "customer_name": person.names[0]}
    if person.is_owed == "no":
        person.is_owed = "either"  # until a comparison finds the package, it may be handed out
    await world.ask("inventory", "POST", "/package-requests", json=new)


@step(1, lambda chance: (chance.randint(1, 5),))
async def receive_stock(world: World, count: int) -> None:
    movement = {"quantity": count, "reason": "received"}
    await world.ask("inventory", "POST", "/items/MUG/movements", json=movement)


def _person(world: World, number: int) -> Person:
    if not world.people:
        raise NothingToDo
    return world.people[number % len(world.people)]


# --- operators


@step(3)
async def pause(world: World) -> None:
    poller = _process(world, *POLLERS)
    await poller.carry_out(poller.database.write(control.pause, poller.clock.now(), COMMAND_LINE))


@step(3)
async def resume(world: World) -> None:
    poller = _process(world, *POLLERS)
    await poller.carry_out(poller.database.write(control.resume, COMMAND_LINE))


@step(2, lambda chance: (chance.choice((ORDERED, NEWS)), chance.choice(("pause", "resume"))))
async def steer_a_route(world: World, route: str, order: str) -> None:
    """Pause or resume one route, and accept its gap, if it has one."""
    if not world.setup.webhooks:
        raise NothingToDo
    poller = _process(world, *POLLERS)
    if order == "pause":
        work = poller.database.write(control.pause_route, route, poller.clock.now(), COMMAND_LINE)
    else:
        work = poller.database.write(resume_route, route)
    await poller.carry_out(work)


@step(1)
async def poll(world: World) -> None:
    poller = _process(world, *POLLERS)
    await poller.carry_out(poller.database.write(control.wake))


@step(2, lambda chance: (chance.choice(("dead", "retrying")),))
async def retry(world: World, state: str) -> None:
    poller = _process(world, *POLLERS)
    wanted = RetryOrder.model_validate({"state": state, "limit": 100})
    work = retry_many(poller.database, poller.clock.now, wanted, COMMAND_LINE)
    await poller.carry_out(work)


@step(2)
async def reconcile(world: World) -> None:
    poller = _process(world, *POLLERS)
    await poller.carry_out(world.compare(poller.name, "api"))


@step(2, lambda chance: (chance.choice((0.0, 5.0, DAY)),))
async def prune_feed(world: World, older_than: float) -> None:
    crm = _process(world, "crm")
    world.may_have_gaps = True
    before = crm.clock.now() - timedelta(seconds=older_than)
    await crm.carry_out(feed.prune(crm.database, before))


def _process(world: World, *names: str) -> Process:
    """Choose the first of these that runs."""
    for name in names:
        if (process := world.processes.get(name)) is not None:
            return process
    raise NothingToDo


# --- time, and what goes wrong


@step(8, lambda chance: (chance.choice((0.5, 0.5, 0.5, 5.0, 5.0, 5.0, 20.0, 20.0, 300.0)),))
async def wait(world: World, seconds: float) -> None:
    await asyncio.sleep(seconds)


@step(
    12,
    lambda chance: (
        chance.choice(SERVERS),
        chance.choice((chance.choice(FOREIGN), chance.choice(OWN))),
        chance.choice((1, 1, 2, 5, 12)),
    ),
)
async def network(world: World, service: str, fault: str, requests: int) -> None:
    """Let the same happen to the next few requests to a service."""
    world.links[service].faults.extend([fault] * requests)


@step(
    12,
    lambda chance: (
        chance.choice(sorted(ADDRESSES)),
        chance.choice((chance.choice(REFUSALS), chance.choice(OWN))),
        chance.choice((1, 1, 2, 5, 12)),
    ),
)
async def receiver_fails(world: World, route: str, fault: str, requests: int) -> None:
    """Let the same happen to the next few webhooks of a route."""
    if not world.setup.webhooks:
        raise NothingToDo
    world.receivers[route].faults.extend([fault] * requests)


@step(3, lambda chance: (chance.randrange(1000), chance.choice((1, 5, 20))))
async def poison(world: World, number: int, requests: int) -> None:
    """Inventory fails at the next few requests about one customer, whatever else is in them."""
    if not (uid := _person(world, number).uid):
        raise NothingToDo
    world.links["inventory"].poison[uid] += requests


@step(
    8,
    lambda chance: (
        chance.choice((*SERVERS, *POLLERS)),
        chance.choice((0, 1, 2, 3, 5, 8, 13, 21)),
        chance.choice((0.1, 3.0, 30.0)),
    ),
)
async def crash(world: World, name: str, statements: int, down_seconds: float) -> None:
    """Kill a process after so many more statements and commits, whatever it does by then."""
    process = _process(world, name)
    process.dies_after, process.down_seconds = statements, down_seconds


@step(3, lambda chance: (chance.choice((HOUR, 4 * DAY)),))
async def switch_off(world: World, seconds: float) -> None:
    """Every machine is off for a while."""
    for service in SERVICES:
        world.kill(service, down_seconds=0.1)
    await asyncio.sleep(0)
    world.loop.skip(seconds)


@step(
    5,
    lambda chance: (
        chance.choice(SERVICES),
        chance.choice((-4 * DAY, -HOUR, -30.0, 30.0, HOUR, 4 * DAY)),
    ),
)
async def set_clock(world: World, service: str, seconds: float) -> None:
    world.clocks[service].set(seconds)


@step(2, lambda chance: (chance.choice(POLLERS), chance.choice((1.0, 20.0))))
async def database_away(world: World, name: str, seconds: float) -> None:
    """A poller can't reach its database; the other one may, and takes over."""
    database = _process(world, name).database
    database.is_away = True
    await asyncio.sleep(seconds)
    database.is_away = False


@step(4, lambda chance: (chance.choice(SERVICES), chance.choice((1, 2, 5, 1000))))
async def restore(world: World, service: str, steps_ago: int) -> None:
    """Put a service's database back to what it was some steps ago."""
    world.kill(service, down_seconds=0.5)
    await asyncio.sleep(0)
    world.put_back(service, steps_ago)
