"""The CRM's command line."""

import argparse
from collections.abc import Sequence

from crm_api.tokens.command import add_create_token
from crm_api.transfer import commands as transfer
from service_kit.process import cli as commands
from service_kit.process.cli import Service

SERVICE = Service(name="crm_api", port=8000)
OLDEST_DAYS = 36_500


def main(argv: Sequence[str] | None = None) -> int:
    return commands.main(SERVICE, argv, _add)


def _add(found: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "delete events of the change feed that are older than some days"
    prune = found.add_parser("prune-feed", help=about, description=about)
    prune.add_argument("--older-than-days", type=int, required=True, metavar="N")
    prune.set_defaults(run=prune_feed)
    about = "print the JSON Schemas of the change feed's events"
    schema = found.add_parser("events-schema", help=about, description=about)
    schema.set_defaults(run=print_events_schema)
    add_create_token(found)
    transfer.add(found)


def prune_feed(service: Service, options: argparse.Namespace) -> int:
    """Delete old events; a consumer that has not read them is told to start from a snapshot."""
    import asyncio

    from service_kit.database import DatabaseUnavailable, DurabilityMissing
    from service_kit.database.migrations import SchemaMismatch

    settings = commands.prepare(service)
    if settings is None:
        return commands.EXIT_REFUSED
    if not 1 <= options.older_than_days <= OLDEST_DAYS:
        return commands.refuse(service, f"--older-than-days takes 1 to {OLDEST_DAYS}")
    try:
        pruned = asyncio.run(_prune(service, settings.database_url, options.older_than_days))
    except (DatabaseUnavailable, DurabilityMissing, SchemaMismatch) as error:
        return commands.refuse_database(service, error)
    print(f"{pruned} events deleted")  # noqa: T201 (a command's own words)
    return 0


def print_events_schema(service: Service, options: argparse.Namespace) -> int:
    import json

    from crm_api.event_schemas import events_schema

    print(json.dumps(events_schema(), indent=2))  # noqa: T201 (what the command is for)
    return 0


async def _prune(service: Service, url: str, days: int) -> int:
    from datetime import timedelta

    from crm_api.feed import service as feed
    from service_kit.process import clock

    async with commands.opened_database(service, url) as database:
        return await feed.prune(database, clock.now() - timedelta(days=days))
