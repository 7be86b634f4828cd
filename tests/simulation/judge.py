"""What every run must end with, told by looking at the three disks and at nobody's word."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from json import loads

from crm_api.feed.cursor import FeedCursor
from integration_service.ledger import control
from service_kit.web.auth import COMMAND_LINE
from tests.simulation import webhooks
from tests.simulation.world import Person, World

# How long after the last fault everything may take: the longest wait for another try, the longest
# for a comparison after one that failed, and the comparison itself.
QUIET_SECONDS = 1200.0
LIVE = "('pending', 'backordered', 'packed', 'shipped', 'delivered')"
# Of packages, and a share of all customers, that a repair may make again by itself.
REPAIR_COUNT, REPAIR_SHARE = 20, 0.05

Finding = tuple[str, str]


async def wait_until_quiet(world: World) -> None:
    """End all faults, and let time pass until nobody is owed anything."""
    for link in world.links.values():
        link.heal()
    give_up_at = world.loop.time() + QUIET_SECONDS
    runs_before: int | None = None
    while True:
        left = list(unfinished(world))
        if left:
            runs_before = None
        elif runs_before is None:
            [(runs_before,)] = world.disks["integration"].rows(
                "SELECT coalesce(max(id), 0) FROM reconciliations"
            )
        elif _is_compared(world, runs_before):
            return
        if world.loop.time() > give_up_at:
            for one in left or ["no comparison that began since then has found all repaired"]:
                world.found("stuck", one)
            return
        await _operate(world)
        await asyncio.sleep(2)
        look(world)


def _is_compared(world: World, runs_before: int) -> bool:
    rows = world.disks["integration"].rows(
        "SELECT id, counts FROM reconciliations WHERE state = 'finished' AND repaired = 0"
    )
    done = (loads(counts) for run, counts in rows if run > runs_before)
    # What it found on its way the next one looks at again.
    return any(not counts.get("held_back") and not counts.get("waiting") for counts in done)


async def _operate(world: World) -> None:
    """Do what a person has to, and cancel the deaths that are in store."""
    for process in world.processes.values():
        if process is not None:
            process.dies_after = None
    poller = next(filter(None, map(world.processes.get, world.pollers)), None)
    if poller is None:
        return
    ledger = world.disks["integration"]
    if ledger.rows("SELECT 1 FROM poller WHERE paused_at IS NOT NULL"):
        await poller.carry_out(poller.database.write(control.resume, COMMAND_LINE))
    await webhooks.operate(world, poller)
    last = ledger.rows("SELECT counts FROM reconciliations ORDER BY id DESC LIMIT 1")
    if last and loads(last[0][0]).get("held_back"):
        await poller.carry_out(world.compare(poller.name, "cli", confirm=True))


def unfinished(world: World) -> Iterator[str]:
    crm, ledger = world.disks["crm"], world.disks["integration"]
    if down := [name for name in world.everybody if world.processes.get(name) is None]:
        yield f"{down} are down"
    if world.is_carrying:
        yield "the network still carries a request"
    [(head, unnumbered)] = crm.rows(
        "SELECT last_position, (SELECT count(*) FROM events WHERE position IS NULL) FROM feed_head"
    )
    [(position, state)] = ledger.rows("SELECT position, feed_state FROM poller")
    if unnumbered or position != head or state != "running":
        yield f"the feed is {state}, read to {position} of {head}, {unnumbered} not numbered"
    for uid, state in ledger.rows(
        "SELECT subject, state FROM deliveries WHERE state IN ('pending', 'retrying')"
    ):
        yield f"the delivery for {uid} is {state}"
    yield from webhooks.unfinished(world, head)
    for (uid,) in ledger.rows("SELECT customer_uid FROM erasures WHERE done_at IS NULL"):
        yield f"{uid} is not forgotten"
    for (target,) in ledger.rows("SELECT target FROM links WHERE opened_at IS NOT NULL"):
        # What it would be probed with may have gone with a CRM that was put back.
        if not (target.startswith("webhook:") and world.may_have_gaps):
            yield f"the circuit of {target} is open"


def look(world: World) -> None:
    """Note what may be at no moment, since a comparison would mend it before the end."""
    inventory = world.disks["inventory"]
    for (uid,) in inventory.rows(
        "SELECT customer_id FROM package_requests JOIN erased_customers USING (customer_id)"
        " WHERE status IN ('pending', 'backordered', 'packed')"
    ):
        world.found("unwanted", f"Inventory knows that {uid} was erased and has a package to send")
    _look_at_erasures(world)
    webhooks.look(world)
    if world.has_lost_packages:
        return
    made = {uid for (uid,) in inventory.rows("SELECT customer_id FROM package_requests")}
    for (uid,) in world.disks["integration"].rows(
        "SELECT subject FROM deliveries WHERE state = 'delivered' AND event_type IS NULL"
    ):
        if uid not in made:
            world.found("missing", f"the delivery for {uid} counts as done and has no package")


def _look_at_erasures(world: World) -> None:
    """An erasure of whom the ledger knows is noted as soon as the feed is read past it.

    Others, from before a start with `now`, may be left to a comparison after a recovery.
    """
    crm, ledger = world.disks["crm"], world.disks["integration"]
    [(state, cursor, start)] = ledger.rows("SELECT feed_state, cursor, start_cursor FROM poller")
    if state != "running" or cursor is None or not world.crm_knows(cursor):
        return  # where the CRM was put back, the poller may not have heard of it
    place, since = (FeedCursor.decode(one).position if one else 0 for one in (cursor, start))
    noted = {uid for (uid,) in ledger.rows("SELECT customer_uid FROM erasures")}
    known = {uid for (uid,) in ledger.rows("SELECT subject FROM deliveries")}
    for (uid,) in crm.rows(
        "SELECT subject FROM events WHERE type = 'customer.erased'"  # noqa: S608
        f" AND position BETWEEN {since + 1} AND {place}"
    ):
        if uid in known - noted:
            world.found("unwanted", f"the feed was read past the erasure of {uid}")


def judge(world: World) -> None:
    """Note every promise that was broken."""
    for kind, what in _findings(world):
        world.found(kind, what)


def _findings(world: World) -> Iterator[Finding]:
    yield from _packages(world)
    yield from _memories(world)
    yield from _feed(world)
    yield from _books(world)
    yield from _comparisons(world)
    yield from webhooks.findings(world)


def _packages(world: World) -> Iterator[Finding]:
    packages = world.disks["inventory"].rows(
        f"SELECT customer_id FROM package_requests WHERE status IN {LIVE}"  # noqa: S608
    )
    live = Counter(uid for (uid,) in packages)
    unshipped = {
        uid
        for (uid,) in world.disks["inventory"].rows(
            "SELECT customer_id FROM package_requests"
            " WHERE status IN ('pending', 'backordered', 'packed') UNION "
            "SELECT customer_id FROM reservations JOIN package_requests ON id = package_request_id"
            # A box keeps its goods until somebody has emptied it.
            " WHERE status NOT IN ('shipped', 'delivered') AND NOT to_unpack"
        )
    }
    told = world.disks["inventory"].rows("SELECT customer_id FROM erased_customers")
    for person in everybody(world):
        count, who = live[person.uid], f"{person.names[0]} ({person.uid})"
        if count > 1:
            yield "double", f"{who} has {count} packages"
        if person.is_undone:
            continue
        if person.is_erased and person.uid in unshipped:
            yield "unwanted", f"{who} was erased and has a package or a reservation"
        if person.is_erased and person.is_owed == "yes" and (person.uid,) not in told:
            yield "unwanted", f"{who} was erased, and Inventory does not know it"
        if person.is_owed == "no" and count:
            yield "unwanted", f"{who} is from before the start and has a package"
        if person.is_owed == "yes" and not person.is_erased and not count:
            yield "missing", f"{who} has no package"


def everybody(world: World) -> Iterator[Person]:
    """Go through all whom somebody knows, and those of whom only the CRM knows."""
    known = {person.uid for person in world.people}
    yield from world.people
    is_owed = "either" if world.setup.start_from == "now" else "yes"
    for uid, name in world.disks["crm"].rows("SELECT uid, name FROM customers"):
        if uid not in known:
            yield Person(-1, [name], 0.0, uid, is_owed, is_undone=not name)


def _memories(world: World) -> Iterator[Finding]:
    """Find a name of an erased person anywhere, be it in a page that is no longer used."""
    images = {service: disk.image() for service, disk in world.disks.items()}
    for person in world.people:
        if not person.is_erased or person.is_undone:
            continue
        for service, image in images.items():
            if person.names[0].encode() in image:
                yield "remembered", f"{service} remembers {person.names[0]}, who was erased"


def _feed(world: World) -> Iterator[Finding]:
    crm = world.disks["crm"]
    [(last, pruned)] = crm.rows("SELECT last_position, pruned_position FROM feed_head")
    positions = [n for (n,) in crm.rows("SELECT position FROM events ORDER BY position")]
    if positions != list(range(pruned + 1, last + 1)):
        yield "feed", f"after {pruned} it has the positions {positions}, and ends at {last}"


def _books(world: World) -> Iterator[Finding]:
    from inventory_api.books import service

    verified = world.disks["inventory"].read(service.verify)
    for difference in verified.differences:
        yield "books", str(difference)
    for disk in world.disks.values():
        if disk.rows("PRAGMA foreign_key_check"):
            yield "books", "a row refers to one that is gone"


def _comparisons(world: World) -> Iterator[Finding]:
    rows = world.disks["integration"].rows(
        "SELECT state, counts, findings, repaired, customers, trigger FROM reconciliations"
        " ORDER BY id"
    )
    for _, _, _, repaired, customers, trigger in rows:
        if trigger != "cli" and repaired > max(REPAIR_COUNT, customers * REPAIR_SHARE):
            yield "flood", f"{repaired} of {customers} were made again without a word"
    finished = [row for row in rows if row[0] == "finished"]
    if not finished:
        return
    _, counts, findings, *_ = finished[-1]
    there = {uid for (uid,) in world.disks["crm"].rows("SELECT uid FROM customers")}
    packages = world.disks["inventory"].rows(
        f"SELECT customer_id FROM package_requests WHERE status IN {LIVE}"  # noqa: S608
    )
    extra = sorted({uid for (uid,) in packages} - there)
    if loads(findings).get("extra", []) != extra:
        yield "reconcile", f"it calls extra {loads(findings)['extra']}, not {extra}"
    for kind in ("missing", "double", "erased"):
        if loads(counts).get(kind):
            yield "reconcile", f"it calls {kind} {loads(findings)[kind]}"
