"""The CRM's command line."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crm_api.tokens.command import add_create_token
from crm_api.transfer import commands as transfer
from service_kit.process import cli
from service_kit.process.cli import Add, Service
from service_kit.process.environment import Refused

if TYPE_CHECKING:
    from service_kit.database import Database

SERVICE = Service(name="crm_api", port=8000)
OLDEST_DAYS = 36_500


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(SERVICE, argv, _add)


def _add(add: Add) -> None:
    about = "delete events of the change feed that are older than some days"
    prune = add("prune-feed", prune_feed, about)
    prune.add_argument("--older-than-days", type=int, required=True, metavar="N")
    about = "print the JSON Schemas of the change feed's events"
    add("events-schema", print_events_schema, about)
    add_create_token(add)
    transfer.add_commands(add)


def prune_feed(service: Service, options: argparse.Namespace) -> int:
    """Delete old events; a consumer that has not read them is told to start from a snapshot."""
    from datetime import timedelta

    from crm_api.feed import service as feed
    from service_kit.process import clock

    if not 1 <= options.older_than_days <= OLDEST_DAYS:
        raise Refused(f"--older-than-days takes 1 to {OLDEST_DAYS}")
    oldest = clock.now() - timedelta(days=options.older_than_days)

    async def prune(_: Any, database: "Database") -> int:
        return await feed.prune(database, oldest)

    print(f"{cli.with_database(service, prune)} events deleted")  # noqa: T201 (a command's own words)
    return 0


def print_events_schema(service: Service, options: argparse.Namespace) -> int:
    import json

    from crm_api.event_schemas import events_schema

    print(json.dumps(events_schema(), indent=2))  # noqa: T201 (what the command is for)
    return 0
