"""What the command `routes` does: with a file alone, with the past feed, or with the ledger."""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from integration_service.feed.client import CrmClient
from integration_service.feed.past import is_for, past_events
from integration_service.operations import overview, printing
from integration_service.operations.schemas import RouteOut
from integration_service.poller import adoption
from integration_service.routes.definitions import Route, WebhookRoute
from integration_service.routes.file import default_text, host_of, read_routes
from integration_service.routes.mistakes import RoutesFileError
from integration_service.settings import TARGETS, Settings
from integration_service.webhook_secrets import missing_secrets
from service_kit.database import Database
from service_kit.process import cli, clock
from service_kit.process.cli import Service

EXIT_MISTAKES = 1


def default(_service: Service, _options: argparse.Namespace) -> int:
    """Print the built-in route as a file."""
    sys.stdout.write(default_text())
    return 0


def check(service: Service, options: argparse.Namespace) -> int:
    """Show the routes of a file, or each of its mistakes.

    A secret that is missing is only a warning: the file may be checked on another machine.
    """
    try:
        file = read_routes(options.file, TARGETS)
    except RoutesFileError as error:
        return cli.refuse(service, str(error), EXIT_MISTAKES)
    with printing.listing(("route", "on", "leads to", "starts from"), as_json=False) as write:
        for route in file.routes:
            write((route.name, ",".join(route.on), _effect(route), str(route.start_from)), {})
    for warning in (*file.insecure(), *missing_secrets(file)):
        sys.stderr.write(f"{service.name}: warning: {warning}\n")
    return 0


def test(service: Service, options: argparse.Namespace) -> int:
    """Say what the routes of a file would send of the past feed. Raises CallFailed."""
    try:
        file = read_routes(options.file, TARGETS)
    except RoutesFileError as error:
        return cli.refuse(service, str(error), EXIT_MISTAKES)
    settings = service.settings()
    assert isinstance(settings, Settings)
    columns = ("route", "position", "event", "subject")
    with printing.listing(columns, as_json=options.json) as write:
        counts = asyncio.run(_try(settings, file.routes, options, write))
    if not options.json:
        printing.show([(name, f"{number} events") for name, number in counts.items()])
    return 0


async def _try(
    settings: Settings,
    routes: Sequence[Route],
    options: argparse.Namespace,
    write: printing.Write,
) -> Counter[str]:
    counts = Counter({route.name: 0 for route in routes})
    crm = CrmClient(settings)
    try:
        async for event in past_events(crm, routes, options.since):
            for route in routes:
                if not is_for(route, event):
                    continue
                counts[route.name] += 1
                if counts[route.name] <= options.limit:
                    _write_one(write, route, event)
    finally:
        await crm.close()
    return counts


def _write_one(write: printing.Write, route: Route, event: Mapping[str, Any]) -> None:
    shown = {"route": route.name, **{key: event.get(key) for key in ("sequence", "type")}}
    shown["subject"] = event.get("subject")
    write([str(one) for one in shown.values()], shown)


def list(service: Service, options: argparse.Namespace) -> int:  # noqa: A001 (the command's name)
    """Show how far each route is, and what it owes."""

    async def work(settings: Settings, database: Database) -> int:
        found = await database.scan(overview.routes, settings.read_routes(), clock.now())
        columns = ("route", "target", "feed", "lag", "owed", "dead", "state")
        with printing.listing(columns, as_json=options.json) as write:
            for one in found:
                write(_cells(one), one.model_dump(mode="json"))
        return 0

    return cli.with_database(service, work)


def accept(service: Service, _options: argparse.Namespace) -> int:
    """Let the next poller work by the file as it is."""

    async def work(settings: Settings, database: Database) -> int:
        await database.write(adoption.accept, settings.read_routes())
        sys.stdout.write("The next poller works by this file of routes.\n")
        return 0

    return cli.with_database(service, work)


def _cells(route: RouteOut) -> Sequence[str]:
    owed = route.deliveries["pending"] + route.deliveries["retrying"]
    if route.paused_at is not None:
        state = f"paused since {route.paused_at:%Y-%m-%d %H:%M:%S} UTC"
    elif route.circuit.state == "open":
        state = f"can't be used: {route.circuit.error}"
    else:
        state = "sends"
    lag = "unknown" if route.feed.lag_events is None else str(route.feed.lag_events)
    dead = str(route.deliveries["dead"])
    return route.name, route.target, route.feed.state, lag, str(owed), dead, state


def _effect(route: Route) -> str:
    """Say what a route leads to. Of an address only the host: the rest may hold a secret."""
    if isinstance(route, WebhookRoute):
        order = ", in order" if route.order == "subject" else ""
        return f"webhook: {host_of(route.url)}{order}"
    return f"{route.target}: {', '.join(route.send.values())}"
