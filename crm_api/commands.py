"""The CRM's command line."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crm_api.sessions.command import add_console_link
from crm_api.tokens.command import add_create_token
from crm_api.transfer import commands as transfer
from service_kit.process import cli, copies, prune
from service_kit.process.cli import Add, Service
from service_kit.process.environment import Refused

if TYPE_CHECKING:
    from service_kit.database import Database

SERVICE = Service(name="crm_api", port=8000)
OLDEST_DAYS = 36_500


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(SERVICE, argv, _add)


def _add(add: Add) -> None:
    copies.add_commands(add)
    prune.add_prune(add)
    copies.add_verify(add)
    about = "delete events of the change feed that are older than some days"
    feed = add("prune-feed", prune_feed, about)
    feed.add_argument("--older-than-days", type=int, required=True, metavar="N")
    force = "delete also what a reader of the feed still needs"
    feed.add_argument("--force", action="store_true", help=force)
    about = "print the JSON Schemas of the change feed's events"
    add("events-schema", print_events_schema, about)
    add("asyncapi", print_asyncapi, "print the AsyncAPI description of the feed and of webhooks")
    add_create_token(add)
    add_console_link(add)
    transfer.add_commands(add)


def prune_feed(service: Service, options: argparse.Namespace) -> int:
    """Delete old events up to the slowest reader. Returns 1 where some were kept for it.

    A reader that has not announced itself, and has not read them, is told to read all customers.
    """
    from datetime import timedelta

    from crm_api.feed import service as feed
    from crm_api.retention import kept_for_reader
    from service_kit.process import clock

    if not 1 <= options.older_than_days <= OLDEST_DAYS:
        raise Refused(f"--older-than-days takes 1 to {OLDEST_DAYS}")
    oldest = clock.now() - timedelta(days=options.older_than_days)

    async def prune(_: Any, database: "Database") -> feed.Pruned:
        return await feed.prune(database, oldest, force=options.force)

    pruned = cli.with_database(service, prune)
    print(f"{pruned.deleted} events deleted")  # noqa: T201 (a command's own words)
    if (kept := kept_for_reader(pruned)) is None:
        return 0
    print(f"{kept} --force deletes them now.")  # noqa: T201 (likewise)
    return 1


def print_events_schema(service: Service, options: argparse.Namespace) -> int:
    import json

    from crm_api.published.schemas import events_schema

    print(json.dumps(events_schema(), indent=2))  # noqa: T201 (what the command is for)
    return 0


def print_asyncapi(service: Service, options: argparse.Namespace) -> int:
    import json

    from crm_api.published.asyncapi import asyncapi

    print(json.dumps(asyncapi(), indent=2))  # noqa: T201 (what the command is for)
    return 0
