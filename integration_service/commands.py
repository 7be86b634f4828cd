"""The integration's command line."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, cast

from service_kit import commands
from service_kit.commands import Service

if TYPE_CHECKING:
    from integration_service.schemas import Status
    from integration_service.settings import Settings
    from service_kit.database import Database

    Work = Callable[[Settings, Database], Awaitable[Status]]

SERVICE = Service(name="integration_service", port=8002)

EXIT_UNFINISHED = 1


def main(argv: Sequence[str] | None = None) -> int:
    return commands.main(SERVICE, argv, _add)


def _add(found: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "read the feed to its end, send what is due, then exit; 1 where something is left"
    once = found.add_parser("run-once", help=about, description=about)
    once.set_defaults(run=run_once)
    about = "show how far the feed is read and what is owed"
    status = found.add_parser("status", help=about, description=about)
    status.add_argument("--json", action="store_true", help="as GET /status answers it")
    status.set_defaults(run=show_status)


def run_once(service: Service, _options: argparse.Namespace) -> int:
    """Do what the running service does, once. Refuses while it runs."""
    status = _run(service, _run_once)
    if status is None:
        return commands.EXIT_REFUSED
    _print(status)
    left = status.deliveries["pending"] + status.deliveries["retrying"]
    return EXIT_UNFINISHED if left or status.feed.lag_events or _is_broken(status) else 0


def show_status(service: Service, options: argparse.Namespace) -> int:
    status = _run(service, _status)
    if status is None:
        return commands.EXIT_REFUSED
    if options.json:
        sys.stdout.write(status.model_dump_json(indent=2) + "\n")
    else:
        _print(status)
    return 0


def _run(service: Service, work: "Work") -> "Status | None":
    """Do a command's work on the database; None, with the reason printed, where it can't be."""
    from integration_service.ledger.lease import LeaseLost
    from service_kit.database import DatabaseUnavailable, DurabilityMissing
    from service_kit.migrations import SchemaMismatch

    settings = commands.prepare(service)
    if settings is None:
        return None
    try:
        return asyncio.run(_with_database(service, cast("Settings", settings), work))
    except (DatabaseUnavailable, DurabilityMissing, SchemaMismatch) as error:
        commands.refuse(service, f"the database can't be used: {error}")
    except LeaseLost:
        commands.refuse(service, "another process polls this database; it does the work")
    return None


async def _with_database(service: Service, settings: "Settings", work: "Work") -> "Status":
    from service_kit.database import open_database
    from service_kit.migrations import SchemaMismatch, current_revision

    database = open_database(settings.database_url)
    try:
        await database.open()
        if await database.write(current_revision) != service.migrations().head:
            raise SchemaMismatch("its schema is not this version's; the command migrate helps.")
        return await work(settings, database)
    finally:
        await database.close()


async def _run_once(settings: "Settings", database: "Database") -> "Status":
    from integration_service.ledger.lease import LeaseLost, renew
    from integration_service.poller import Poller
    from service_kit.stopping import Stopping

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
    return await _status(settings, database)


async def _status(_settings: "Settings", database: "Database") -> "Status":
    from integration_service.ledger import views
    from service_kit import clock

    return await database.scan(views.status, clock.now(), None)


def _is_broken(status: "Status") -> bool:
    is_open = any(circuit.state == "open" for circuit in status.circuits.values())
    return is_open or status.feed.state != "running"


def _print(status: "Status") -> None:
    feed = status.feed
    lines = [
        f"feed        {feed.state}, position {feed.position or 0} of {feed.head_position or 0}",
        "deliveries  " + ", ".join(f"{n} {state}" for state, n in status.deliveries.items()),
        *(
            f"{name:<11} {'answers' if one.state == 'closed' else f'can not be used: {one.error}'}"
            for name, one in status.circuits.items()
        ),
        f"poller      {status.poller.holder or 'none is running'}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
