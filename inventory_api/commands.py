"""Inventory's command line."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service_kit.process import cli as commands
from service_kit.process.cli import Service

if TYPE_CHECKING:
    from inventory_api.books.schemas import Difference, Repair, Verification

SERVICE = Service(name="inventory_api", port=8001)

EXIT_UNBALANCED = 1


def main(argv: Sequence[str] | None = None) -> int:
    return commands.main(SERVICE, argv, _add)


def _add(found: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "check the books; exit with 1 when they do not balance"
    command = found.add_parser("verify", help=about, description=about)
    command.add_argument("--repair", action="store_true", help="put right what does not balance")
    command.set_defaults(run=verify)


def verify(service: Service, options: argparse.Namespace) -> int:
    """Compare levels with the ledger and reservations with live requests; print each difference."""
    import asyncio

    from service_kit.database import DatabaseUnavailable
    from service_kit.database.migrations import SchemaMismatch

    settings = commands.prepare(service)
    if settings is None:
        return commands.EXIT_REFUSED
    try:
        found, repair = asyncio.run(_verify(service, settings.database_url, repair=options.repair))
    except (DatabaseUnavailable, SchemaMismatch) as error:
        return commands.refuse_database(service, error)
    if repair is not None:
        _print("repaired", repair.repaired)
    _print("differs", found.differences)
    state = "balance" if found.balanced else "do not balance"
    sys.stdout.write(f"{found.items_checked} tracked items checked: the books {state}\n")
    return 0 if found.balanced else EXIT_UNBALANCED


async def _verify(
    service: Service, url: str, *, repair: bool
) -> "tuple[Verification, Repair | None]":
    from inventory_api.books import service as books

    async with commands.opened_database(service, url) as database:
        done = await database.write(books.repair, "command line") if repair else None
        return await database.scan(books.verify), done


def _print(what: str, differences: "Sequence[Difference]") -> None:
    for one in differences:
        sys.stdout.write(f"{what}: {one.sku} {one.kind} is {one.level}, not {one.should_be}\n")
