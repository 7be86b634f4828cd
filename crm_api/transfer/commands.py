"""import-customers and export-customers."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from service_kit.process import cli
from service_kit.process.cli import Add, Service
from service_kit.process.environment import Refused

if TYPE_CHECKING:
    from crm_api.transfer.importing import Order, Tally
    from service_kit.database import Database

EXIT_SOME_REFUSED = 1
EXIT_INTERRUPTED = 130
# So that a service on the same SQLite file never waits long for the one writer's lock.
CHUNK_SIZE = 200
LARGEST_CHUNK = 2000
STDIN = Path("-")


def add_commands(add: Add) -> None:
    about = (
        "add and update the customers of a CSV file: one who is known by the external_ref becomes "
        "as the file says, one who is known by the e-mail address alone is left as is"
    )
    taking = add("import-customers", import_customers, about)
    which = "or - for standard input; by default what CSV_FILE_PATH names"
    taking.add_argument("file", type=Path, nargs="?", metavar="FILE.csv", help=which)
    size = f"lines that are one transaction, 1 to {LARGEST_CHUNK}"
    taking.add_argument("--chunk-size", type=int, default=CHUNK_SIZE, metavar="N", help=size)
    taking.add_argument("--dry-run", action="store_true", help="say what would happen")
    taking.add_argument("--no-welcome", action="store_true", help="ask for no welcome packages")
    report = "write each row that is refused, with its line and the reason, to be corrected"
    taking.add_argument("--report", type=Path, metavar="FILE.csv", help=report)
    about = "write all customers as CSV, to a file or to stdout"
    add("export-customers", export_customers, about).add_argument(
        "file", type=Path, nargs="?", metavar="FILE"
    )


def import_customers(service: Service, options: argparse.Namespace) -> int:
    """Take in a file. Exits with 0 when all of it was taken, 1 when some was refused, else 2."""
    return _run_explaining(service, lambda: _import(service, options))


def export_customers(service: Service, options: argparse.Namespace) -> int:
    """Write everybody but those who were erased."""
    return _run_explaining(service, lambda: _export(service, options.file))


def _import(service: Service, options: argparse.Namespace) -> int:
    from crm_api.transfer import importing, table
    from crm_api.transfer.repeats import Repeats
    from service_kit.process.logs import new_request_id, use_request_id
    from service_kit.process.progress import shown

    if not 1 <= options.chunk_size <= LARGEST_CHUNK:
        raise Refused(f"--chunk-size takes 1 to {LARGEST_CHUNK}")
    use_request_id(run_id := new_request_id())
    settings = cli.prepare(service)
    file = _chosen_file(options.file, settings)
    if options.report is not None and _is_same(file, options.report):
        raise Refused("--report would overwrite the file that is imported: name another")
    cli.with_database(service, _is_there, settings)  # before a long file is gone through
    with _regular_file(file) as path, _name_file(file):
        header, rows = table.check(path)
        order = importing.Order(
            path, header, options.chunk_size, options.dry_run, not options.no_welcome
        )
        with closing(Repeats(header)) as repeats:
            with shown("checked", rows) as advance:
                repeats.read(path, advance)
            to = nullcontext() if options.report is None else _private(options.report)
            with to as refused, shown("lines", rows) as advance:
                report = table.Report(refused, header)
                tally = cli.with_database(
                    service,
                    lambda _, database: importing.run(database, order, repeats, report, advance),
                    settings,
                )
    return _print_tally(tally, order, run_id, has_report=options.report is not None)


def _chosen_file(named: Path | None, settings: Any) -> Path:
    file: Path | None = named or settings.csv_file_path
    if file is None:
        raise Refused("which file? Name one, or - for standard input, or set CSV_FILE_PATH")
    return file


def _export(service: Service, path: Path | None) -> int:
    from crm_api.tables import audit
    from crm_api.transfer import exporting
    from crm_api.transfer.exporting import EXPORTER
    from service_kit.process.progress import shown

    async def run(_: Any, database: "Database") -> int:
        columns, number, last = await exporting.header(database)
        await database.write(audit.record, "customers.exported", f"{number} customers", by=EXPORTER)
        with shown("customers", number) as advance:
            return await exporting.write(database, columns, last, file, advance)

    with _destination(path) as file:
        if late := cli.with_database(service, run):
            raise Refused(
                f"{late} customers were given metadata or an address meanwhile, which has no "
                "column: export again"
            )
    return 0


def _print_tally(tally: "Tally", order: "Order", run_id: str, *, has_report: bool) -> int:
    from crm_api.transfer.importing import Fate

    refused = tally.counts[Fate.REFUSED]
    counts = ", ".join(f"{tally.counts[fate]} {fate}" for fate in Fate)
    packages = tally.counts[Fate.CREATED] if order.welcome else 0
    for line in tally.first_refused:
        print(line, file=sys.stderr)  # noqa: T201 (a command's own words)
    if refused and not has_report:
        print("--report FILE.csv writes down all that is refused", file=sys.stderr)  # noqa: T201
    if order.dry_run:
        print(f"Nothing was written. It would be: {counts}.")  # noqa: T201
        print(f"Welcome packages that it would cause: {packages}.")  # noqa: T201
    else:
        print(f"{counts}.")  # noqa: T201
        print(f"Welcome packages that it causes: {packages}. Request id: {run_id}")  # noqa: T201
    return EXIT_SOME_REFUSED if refused else 0


def _run_explaining(service: Service, run: Callable[[], int]) -> int:
    """Run a command; where a file or its user keeps it from its work, say so."""
    try:
        return run()
    except OSError as error:
        raise Refused(f"{error.filename or 'the file'}: {error.strerror}") from error
    except KeyboardInterrupt:
        reason = "stopped; what was taken in stays, and taking the file in again goes on from there"
        return cli.refuse(service, reason, code=EXIT_INTERRUPTED)


async def _is_there(_settings: Any, _database: "Database") -> None:
    """Do nothing: that the database opened is the answer."""


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


@contextmanager
def _regular_file(path: Path) -> Iterator[Path]:
    """Give a file that can be read again and again: what comes through a pipe is kept in one."""
    is_stdin = path == STDIN
    if path.is_file() and not is_stdin:
        yield path
        return
    with tempfile.NamedTemporaryFile() as kept:
        with nullcontext(sys.stdin.buffer) if is_stdin else path.open("rb") as source:
            shutil.copyfileobj(source, kept)
        kept.flush()
        yield Path(kept.name)


@contextmanager
def _name_file(path: Path) -> Iterator[None]:
    """Say which file it is that can't be read as a table."""
    from crm_api.transfer.table import NotATable

    try:
        yield
    except NotATable as error:
        name = "standard input" if path == STDIN else path
        raise Refused(f"{name}: {error}") from None


@contextmanager
def _destination(path: Path | None) -> Iterator[TextIO]:
    """Give a file that takes its name when it is whole, or stdout."""
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        with _private(partial) as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _private(path: Path) -> TextIO:
    """Open a file that only its owner may read: who customers are is nobody else's business."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(number, "w", encoding="utf-8", newline="")
