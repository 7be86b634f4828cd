"""The commands backup, verify, restore and move, which every service has.

Exit codes: 0 it is done; 1 it is not, or the backup has faults; 2 the call or the settings are
wrong.
"""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from service_kit.process import cli
from service_kit.process.cli import Add, Service

if TYPE_CHECKING:
    from service_kit.database.copies import Contents

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def add_commands(add: Add) -> None:
    """Add the commands; a service that has a `verify` of its own adds that itself."""
    about = "write a backup of the database, which may be in use, to a SQLite file"
    _add_file(add("backup", backup, about), "a new file, or a backup to be replaced")
    about = "put a backup in the database's place; every process that uses it must be stopped"
    _add_file(add("restore", restore, about), "a backup")
    about = "move the database to the other engine; every process that uses it must be stopped"
    to = "an empty postgresql://… database, or the sqlite:///… file to make"
    add("move", move, about).add_argument("--to", required=True, metavar="URL", help=to)


def add_verify(add: Add) -> None:
    about = "check a backup: the file, its rows and what they must agree on; 1 where it has faults"
    _add_file(add("verify", verify, about), "a backup")


def backup(service: Service, options: argparse.Namespace) -> int:
    from service_kit.database.copies.backup import take
    from service_kit.process.progress import shown

    def run() -> int:
        path: Path = options.file.absolute()
        url = cli.prepare(service).session_url
        taken = take(service.migrations(), contents_of(service), url, path, shown)
        print(f"{path}: {taken.rows} rows of {taken.tables} tables")  # noqa: T201 (a command's own words)
        return 0

    return _run_explaining(service, run)


def verify(service: Service, options: argparse.Namespace) -> int:
    """Print a line for each fault; it needs no settings and no database but the file."""
    from service_kit.database.copies.checking import verify as find_faults

    def run() -> int:
        path: Path = options.file.absolute()
        about, faults = find_faults(service.migrations(), contents_of(service), path)
        for fault in faults:
            print(f"{path}: {fault}")  # noqa: T201 (likewise)
        if about is not None and not faults:
            print(  # noqa: T201 (likewise)
                f"{path}: whole; taken {about.taken_at:%Y-%m-%d %H:%M} UTC by {about.release} from "
                f"{about.engine}, schema {about.revision}"
            )
        return EXIT_FAILED if faults else 0

    return _run_explaining(service, run)


def restore(service: Service, options: argparse.Namespace) -> int:
    from service_kit.database.copies.restoring import restore as put_back
    from service_kit.process.logs import new_request_id, use_request_id
    from service_kit.process.progress import shown

    def run() -> int:
        path: Path = options.file.absolute()
        url = cli.prepare(service).session_url
        use_request_id(new_request_id())  # by which the audit tells this command from others
        done = put_back(service.migrations(), contents_of(service), path, url, shown)
        print(f"Restored as of {done.manifest.taken_at:%Y-%m-%d %H:%M} UTC.")  # noqa: T201 (likewise)
        if done.redone is None:
            print("What was erased since then can't be read any more: erase it again.")  # noqa: T201 (likewise)
        elif done.redone:
            print(f"Done again, as since then: {done.redone} erasures and revocations.")  # noqa: T201 (likewise)
        if done.kept is not None:
            print(f"What it has replaced is in {done.kept}")  # noqa: T201 (likewise)
        return 0

    return _run_explaining(service, run)


def move(service: Service, options: argparse.Namespace) -> int:
    from service_kit.database.copies.moving import move as move_database
    from service_kit.process.progress import shown

    def run() -> int:
        url = cli.prepare(service).session_url
        place = move_database(service.migrations(), contents_of(service), url, options.to, shown)
        print(f"Moved to {place}; set DATABASE_URL to it.")  # noqa: T201 (likewise)
        return 0

    return _run_explaining(service, run)


def contents_of(service: Service) -> "Contents":
    found: Contents = import_module(f"{service.name}.copies").CONTENTS
    return found


def _add_file(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=about)


def _run_explaining(service: Service, run: Callable[[], int]) -> int:
    """Run a command; where something keeps it from its work, say what in one sentence."""
    import sqlite3

    from sqlalchemy.exc import SQLAlchemyError

    from service_kit.database import DatabaseUnavailable
    from service_kit.database.copies import CopyFailed
    from service_kit.database.errors import is_unavailable, reason
    from service_kit.database.migrations import SchemaMismatch

    try:
        return run()
    except CopyFailed as error:
        words = str(error)
    except SchemaMismatch as error:
        words = f"the database can't be used: {error}"
    except (SQLAlchemyError, sqlite3.Error, ValueError) as error:
        words = reason(error)
    except KeyboardInterrupt:
        return cli.refuse(service, "stopped before its end: run it again", EXIT_INTERRUPTED)
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            words = f"{error.filename}: {error.strerror}"
        elif isinstance(error, DatabaseUnavailable) or is_unavailable(error):
            words = f"the database can't be used: {reason(error)}"
        else:
            raise
    return cli.refuse(service, words, EXIT_FAILED)
