"""Progress of a long job: a bar on a terminal, a plain line now and then elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Elsewhere there is a line for each of these parts of the whole.
_PARTS = 10


@contextmanager
def shown(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of rows done, each time some are."""
    if not sys.stderr.isatty():
        yield _plain(what, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda rows: progress.advance(task, rows)


def _plain(what: str, total: int) -> Callable[[int], None]:
    done, shown_parts = 0, 0

    def advance(rows: int) -> None:
        nonlocal done, shown_parts
        done += rows
        if (part := done * _PARTS // max(total, 1)) > shown_parts:
            shown_parts = part
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)  # noqa: T201

    return advance
