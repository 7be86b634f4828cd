"""How the commands show things: tables and a bar on a terminal, plain lines elsewhere."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from integration_service.operations.schemas import Status
from integration_service.reconcile.comparison import Progress
from integration_service.reconcile.schemas import CONFIRM_COMMAND, ReconcileRun

# Lines of progress where there is no terminal: one for so many.
TOLD_EVERY = 10_000


def show(rows: Sequence[tuple[str, str]]) -> None:
    """Show names and what they are."""
    if not sys.stdout.isatty():
        sys.stdout.writelines(f"{name:<11} {value}\n" for name, value in rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value, overflow="fold"))
    Console().print(table)


# Told of one thing: its cells for people, and all of it for machines.
Tell = Callable[[Sequence[str], dict[str, Any]], None]


@contextmanager
def listing(columns: Sequence[str], *, as_json: bool, name: str | None = None) -> Iterator[Tell]:
    """Give what shows one thing after another: a table on a terminal, else each as it comes.

    As JSON it is an array; with a name, the first member of an object that the caller ends.
    """
    if as_json:
        with _json_array(name) as tell:
            yield tell
    elif sys.stdout.isatty():
        with _table(columns) as tell:
            yield tell
    else:
        yield lambda cells, _: print("  ".join(cells).rstrip())  # noqa: T201 (a command's output)


@contextmanager
def _json_array(name: str | None) -> Iterator[Tell]:
    sys.stdout.write("[" if name is None else f'{{"{name}": [')
    separator = ""

    def tell(_: Sequence[str], document: dict[str, Any]) -> None:
        nonlocal separator
        sys.stdout.write(f"{separator}\n  {json.dumps(document)}")
        separator = ","

    yield tell
    sys.stdout.write("]\n" if name is None else "]")


@contextmanager
def _table(columns: Sequence[str]) -> Iterator[Tell]:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    yield lambda cells, _: table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    if table.row_count:
        Console().print(table)


def status_rows(status: Status) -> list[tuple[str, str]]:
    feed = status.feed
    place = f"{feed.state}, position {feed.position or 0} of {feed.head_position or 0}"
    if feed.recovery is not None:
        place = (
            f"recovering since {feed.recovery.began_at:%H:%M:%S} UTC, as it was "
            f"{feed.recovery.reason}: {feed.recovery.customers_read} customers read"
        )
    rows = [
        ("feed", place),
        ("deliveries", ", ".join(f"{n} {state}" for state, n in status.deliveries.items())),
        *(
            (name, "answers" if one.state == "closed" else f"can not be used: {one.error}")
            for name, one in status.circuits.items()
        ),
        ("poller", status.poller.holder or "none is running"),
    ]
    if status.paused_at is not None:
        rows.append(("paused", f"since {status.paused_at:%Y-%m-%d %H:%M:%S} UTC"))
    if status.reconcile is not None:
        rows += run_rows(status.reconcile)
    if status.repair_held_back is not None:
        rows += held_back_rows(status.repair_held_back.customers)
    return rows


def run_rows(run: ReconcileRun) -> list[tuple[str, str]]:
    if run.error:
        return [("reconcile", f"failed: {run.error}")]
    found = f"{run.missing} missing, {run.extra} extra, {run.double} double, {run.erased} erased"
    seen = f"{run.customers} customers, {run.packages} package requests"
    return [("reconcile", f"{seen}: {found}; {run.waiting} on their way, {run.repaired} enqueued")]


def held_back_rows(number: int) -> list[tuple[str, str]]:
    """Say how many packages a repair holds back, and what makes them."""
    return [("held back", f"{number} packages, until you run: {CONFIRM_COMMAND}")] * bool(number)


@contextmanager
def progress() -> Iterator[Progress]:
    """Give what shows, on stderr, how far something long is."""
    if not sys.stderr.isatty():
        yield _plain_progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("begins", total=None)
        yield lambda what, number: bar.update(task, description=f"{number:,} {what}")


def _plain_progress() -> Progress:
    told: dict[str, int] = {}

    def tell(what: str, number: int) -> None:
        if number // TOLD_EVERY > told.get(what, 0):
            told[what] = number // TOLD_EVERY
            sys.stderr.write(f"{number} {what}\n")

    return tell
