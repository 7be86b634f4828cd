"""What the commands do, once the database is open."""

import argparse
import json
import sys

from integration_service.deliveries import service, store
from integration_service.deliveries.schemas import DeliveryOut, RetryResult
from integration_service.deliveries.service import DeliveryNotFound, NotRetryable, Which
from integration_service.ledger.lease import LeaseLost, renew
from integration_service.operations import overview, printing
from integration_service.operations.schemas import Status
from integration_service.poller.poller import Poller
from integration_service.reconcile import store as runs
from integration_service.reconcile.schemas import ReconcileRun
from integration_service.settings import Settings
from service_kit.database import Database
from service_kit.process import clock
from service_kit.process.stopping import Stopping

PAGE = 500


async def run_once(settings: Settings, database: Database) -> Status:
    """Read the feed to its end and send what is due. Raises LeaseLost."""
    poller = Poller(settings, database, Stopping())
    try:
        lease = await poller.take_lease()
        if lease is None:
            raise LeaseLost
        while await poller.ingest.turn(lease, wait=0) == 0:
            await poller.dispatch.drain(lease)
            await database.write(renew, lease, settings.lease_seconds)
        await poller.dispatch.drain(lease)
        while await poller.erasing.turn(lease):
            pass
        await poller.give_back(lease)
    finally:
        await poller.close()
    return await status(settings, database)


async def status(_settings: Settings, database: Database) -> Status:
    return await database.scan(overview.status, clock.now(), None)


def show_status(status: Status, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(status.model_dump_json(indent=2) + "\n")
    else:
        printing.show(printing.status_rows(status))


def is_broken(status: Status) -> bool:
    is_open = any(circuit.state == "open" for circuit in status.circuits.values())
    return is_open or status.feed.state != "running"


async def list_dead(database: Database, *, as_json: bool) -> int:
    """Print every dead delivery, a page at a time. Returns how many there are."""
    count, after = 0, None
    with printing.listing(("customer", "class", "error"), as_json=as_json) as tell:
        while True:
            page = await database.read(store.page, "dead", after, PAGE)
            for row in page.rows:
                shown = DeliveryOut.model_validate(row)
                cells = (row.customer_uid, row.error_class or "", row.error or "")
                tell(cells, shown.model_dump(mode="json"))
            count += len(page.rows)
            if page.next_key is None:
                return count
            after = int(page.next_key)


async def retry_named(database: Database, options: argparse.Namespace) -> bool:
    """Retry the deliveries of some customers. Returns whether all could be."""
    all_could = True
    with printing.listing(("customer", "now", "why not"), as_json=options.json) as tell:
        for uid in options.customer_uid:
            try:
                if options.dry_run:
                    row = await database.read(service.retryable, uid)
                else:
                    row = await database.write(service.retry, uid, clock.now())
            except (DeliveryNotFound, NotRetryable) as problem:
                all_could = False
                document = {**problem.document(), "customer_uid": uid}
                tell((uid, problem.slug, problem.detail), document)
            else:
                tell((uid, row.state, ""), DeliveryOut.model_validate(row).model_dump(mode="json"))
    return all_could


async def retry_matching(database: Database, options: argparse.Namespace) -> bool:
    which = Which(options.state, options.error_class)
    done = await service.retry_many(
        database, clock.now, which, options.limit, dry_run=options.dry_run
    )
    result = RetryResult(
        dry_run=options.dry_run,
        matched=done.matched,
        retried=done.retried,
        customer_uids=done.customer_uids,
    )
    if options.json:
        sys.stdout.write(result.model_dump_json(indent=2) + "\n")
        return True
    verb = "would be retried" if options.dry_run else "are retried"
    sys.stdout.write(f"{done.retried} of {done.matched} {options.state} deliveries {verb}\n")
    sys.stdout.writelines(f"{uid}\n" for uid in done.customer_uids)
    return True


async def reconcile(
    settings: Settings, database: Database, options: argparse.Namespace
) -> ReconcileRun:
    """Compare both sides and print each finding as it is found.

    Raises AlreadyRunning, CallFailed or RunLost.
    """
    poller = Poller(settings, database, Stopping())
    try:
        comparison = await poller.reconciler.begin(
            "cli", repair=options.repair, confirm=options.confirm
        )
        with (
            printing.progress() as comparison.progress,
            printing.listing(
                ("what", "customer", "why"), as_json=options.json, name="findings"
            ) as tell,
        ):
            comparison.tell = lambda kind, uid, why: tell(
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
    return run
