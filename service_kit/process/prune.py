"""The command prune, which every service has: the timer's work, done at once."""

import argparse
from importlib import import_module
from typing import TYPE_CHECKING, Any

from service_kit.process import cli
from service_kit.process.cli import Add, Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service_kit.database import Database
    from service_kit.process.retention import Kept


def add_prune(add: Add) -> None:
    about = "delete what is older than the settings RETENTION_… keep it; the service does it hourly"
    add("prune", prune, about)


def prune(service: Service, options: argparse.Namespace) -> int:
    """Delete what is old, beside the service or without it. Prints a line for each kind."""
    kept: Sequence[Kept] = import_module(f"{service.name}.retention").KEPT

    async def work(settings: Any, database: "Database") -> int:
        for one in kept:
            number = await one.prune(settings, database)
            done = (
                f"{one.what}: kept for ever" if number is None else f"{one.what}: {number} deleted"
            )
            print(done)  # noqa: T201 (a command's own words)
        return 0

    return cli.with_database(service, work)
