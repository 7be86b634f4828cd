"""Inventory's command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service_kit.process import cli, copies, prune
from service_kit.process.cli import Add, Service
from service_kit.process.environment import Refused

if TYPE_CHECKING:
    from inventory_api.books.schemas import Difference, Repair, Verification
    from service_kit.database import Database

SERVICE = Service(name="inventory_api", port=8001)

EXIT_UNBALANCED = 1


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(SERVICE, argv, _add)


def _add(add: Add) -> None:
    copies.add_commands(add)
    prune.add_prune(add)
    about = "check the database's books, or a backup; exit with 1 when something is wrong"
    command = add("verify", verify, about)
    command.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a backup")
    command.add_argument("--repair", action="store_true", help="put right what does not balance")


def verify(service: Service, options: argparse.Namespace) -> int:
    """Compare levels with the ledger and reservations with live requests; print each difference.

    Of a backup also check that it is whole.
    """
    if options.file is not None:
        if options.repair:
            raise Refused("--repair is for the database, not for a backup")
        return copies.verify(service, options)
    from inventory_api.books import service as books
    from service_kit.web.auth import COMMAND_LINE

    async def work(_: Any, database: "Database") -> "tuple[Verification, Repair | None]":
        done = await database.write(books.repair, COMMAND_LINE) if options.repair else None
        return await database.scan(books.verify), done

    found, repair = cli.with_database(service, work)
    if repair is not None:
        _print("repaired", repair.repaired)
    _print("differs", found.differences)
    state = "balance" if found.balanced else "do not balance"
    sys.stdout.write(f"{found.items_checked} tracked items checked: the books {state}\n")
    return 0 if found.balanced else EXIT_UNBALANCED


def _print(what: str, differences: "Sequence[Difference]") -> None:
    for one in differences:
        sys.stdout.write(f"{what}: {one.sku} {one.kind} is {one.level}, not {one.should_be}\n")
