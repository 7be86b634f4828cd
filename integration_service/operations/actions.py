"""What the commands do, once the database is open. Each returns its exit code."""

import argparse
import json
import sys

from integration_service.deliveries import service, store
from integration_service.deliveries.schemas import DeliveryOut, RetryOrder
from integration_service.deliveries.service import DeliveryNotFound, NotRetryable
from integration_service.deliveries.store import Filter
from integration_service.feed.client import CrmClient
from integration_service.ledger.lease import Lease, LeaseLost, renew
from integration_service.operations import overview, printing
from integration_service.operations.schemas import Status
from integration_service.poller.poller import Poller
from integration_service.reconcile import store as runs
from integration_service.reconcile.webhooks import EventComparison
from integration_service.routes.definitions import WELCOME, WebhookRoute
from integration_service.settings import Settings
from service_kit.database import Database
from service_kit.process import clock
from service_kit.process.environment import Refused
from service_kit.process.stopping import Stopping
from service_kit.web.auth import COMMAND_LINE

EXIT_UNFINISHED = 1
PAGE = 500


async def run_once(settings: Settings, database: Database, options: argparse.Namespace) -> int:
    """Do what the running service does, once. Raises LeaseLost while it runs."""
    poller = Poller(settings, database, Stopping(), settings.read_routes())
    try:
        lease = await poller.take_lease()
        if lease is None:
            raise LeaseLost
        if poller.packages:
            await _send_packages(poller, lease, database, settings)
        if poller.reporting:
            await _report_events(poller, lease, database, settings)
        await poller.give_back(lease)
    finally:
        await poller.close()
    found = await _show_status(settings, database, options)
    left = found.deliveries["pending"] + found.deliveries["retrying"]
    left += sum(route.lag_events or 0 for route in found.routes)
    is_open = any(circuit.state == "open" for circuit in found.circuits.values())
    is_running = all(route.feed_state == "running" for route in found.routes)
    return EXIT_UNFINISHED if left or is_open or not is_running else 0


async def _send_packages(
    poller: Poller, lease: Lease, database: Database, settings: Settings
) -> None:
    while await poller.ingest.poll(lease, wait=0) == 0:
        await poller.dispatch.drain(lease)
        await database.write(renew, lease, settings.lease_seconds)
    await poller.dispatch.drain(lease)
    while await poller.erasing.erase_some(lease):
        pass
    while await poller.readdressing.tell_some(lease):
        pass


async def _report_events(
    poller: Poller, lease: Lease, database: Database, settings: Settings
) -> None:
    has_more = True
    while has_more:
        has_more = await poller.subscriptions.poll(lease, wait=0) == 0
        for reporting in poller.reporting:
            await reporting.drain(lease)
        await database.write(renew, lease, settings.lease_seconds)


async def status(settings: Settings, database: Database, options: argparse.Namespace) -> int:
    await _show_status(settings, database, options)
    return 0


async def _show_status(
    settings: Settings, database: Database, options: argparse.Namespace
) -> Status:
    routes = settings.read_routes()
    found = await database.scan(overview.status, clock.now(), None, routes)
    if options.json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        printing.show(printing.status_rows(found))
    return found


async def dead_letters(_settings: Settings, database: Database, options: argparse.Namespace) -> int:
    """List every dead delivery, a page at a time."""
    count, after = 0, None
    with printing.listing(("customer", "class", "error"), as_json=options.json) as write:
        while True:
            page = await database.read(store.page, Filter(state="dead"), after, PAGE)
            for row in page.rows:
                shown = DeliveryOut.model_validate(row)
                cells = (row.subject, row.error_class or "", row.error or "")
                write(cells, shown.model_dump(mode="json"))
            count += len(page.rows)
            if page.next_key is None:
                return EXIT_UNFINISHED if count else 0
            after = int(page.next_key)


async def retry(_settings: Settings, database: Database, options: argparse.Namespace) -> int:
    if not options.customer_uid:
        return await _retry_matching(database, options)
    code = 0
    with printing.listing(("customer", "now", "why not"), as_json=options.json) as write:
        for uid in options.customer_uid:
            try:
                route = options.route or WELCOME.name
                if options.dry_run:
                    row = await database.read(service.retryable, uid, route)
                else:
                    now = clock.now()
                    row = await database.write(service.retry, uid, now, COMMAND_LINE, route)
            except (DeliveryNotFound, NotRetryable) as problem:
                code = EXIT_UNFINISHED
                document = {**problem.document(), "customer_uid": uid}
                write((uid, problem.slug, problem.detail), document)
            else:
                shown = DeliveryOut.model_validate(row)
                write((uid, row.state, ""), shown.model_dump(mode="json"))
    return code


async def _retry_matching(database: Database, options: argparse.Namespace) -> int:
    wanted = RetryOrder.model_validate(options, from_attributes=True)
    done = await service.retry_many(database, clock.now, wanted, COMMAND_LINE)
    if options.json:
        sys.stdout.write(done.model_dump_json(indent=2) + "\n")
        return 0
    verb = "would be retried" if options.dry_run else "are retried"
    sys.stdout.write(f"{done.retried} of {done.matched} {options.state} deliveries {verb}\n")
    sys.stdout.writelines(f"{one}\n" for one in [*done.customer_uids, *done.event_ids])
    return 0


async def reconcile(settings: Settings, database: Database, options: argparse.Namespace) -> int:
    """Compare both sides and print each finding as it is found, beside the running service or not.

    Raises AlreadyRunning, CallFailed or RunLost.
    """
    poller = Poller(settings, database, Stopping(), settings.read_routes())
    try:
        comparison = await poller.reconciler.begin(
            "cli", repair=options.repair, confirm=options.confirm, by=COMMAND_LINE
        )
        columns = ("what", "customer", "why")
        with (
            printing.progress() as comparison.progress,
            printing.listing(columns, as_json=options.json, name="findings") as write,
        ):
            comparison.publish = lambda kind, uid, why: write(
                (kind, uid, why), {"kind": kind, "customer_uid": uid, "why": why}
            )
            run = runs.show(await comparison.carry_out())
    finally:
        await poller.close()
    if options.json:
        document = run.model_dump(mode="json", exclude={"findings"})
        sys.stdout.write(f', "run": {json.dumps(document)}}}\n')
    else:
        printing.show(printing.run_rows(run) + printing.held_back_rows(run.held_back))
    return 0 if run.is_exact else EXIT_UNFINISHED


async def reconcile_route(
    settings: Settings, database: Database, options: argparse.Namespace
) -> int:
    """Compare a webhook's deliveries with the feed. Raises CallFailed, Refused or RouteNotRead."""
    known = {one.name: one for one in settings.read_routes() if isinstance(one, WebhookRoute)}
    if (route := known.get(options.route)) is None:
        raise Refused(f"there is no route {options.route} to a webhook in the file of routes")
    crm = CrmClient(settings)
    comparison = EventComparison(database, crm, route, clock.now)
    columns = ("position", "event", "type", "subject")
    try:
        with (
            printing.progress() as comparison.progress,
            printing.listing(columns, as_json=options.json, name="missing") as write,
        ):
            comparison.publish = lambda one: write(
                (str(one.sequence), one.subject, one.event_type, one.event_subject or ""),
                {
                    "position": one.sequence,
                    "event_id": one.subject,
                    "type": one.event_type,
                    "subject": one.event_subject,
                },
            )
            found = await comparison.carry_out(COMMAND_LINE, repair=options.repair)
    finally:
        await crm.close()
    if options.json:
        sys.stdout.write(f', "run": {json.dumps(found.document())}}}\n')
    else:
        text = f"{found.events} events through position {found.through_position}: "
        text += f"{found.missing} missing, {found.repaired} enqueued"
        printing.show([("reconcile", text)])
    return EXIT_UNFINISHED if found.missing else 0
