"""A whole file into the database, some lines at a time, in constant memory."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from crm_api.transfer import intake, table
from crm_api.transfer.intake import Fate, Outcome
from crm_api.transfer.repeats import Repeats
from crm_api.transfer.report import Report
from crm_api.transfer.table import Fault, Line
from service_kit.database import Database
from service_kit.web.auth import Principal

IMPORTER = Principal("import-customers", "admin", frozenset())
SHOWN_FAULTS = 20
# A service that waits for SQLite's one writer's lock looks for it about as often; without a pause
# it would find the next chunk's transaction there again and again.
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be taken in, and how."""

    path: Path
    header: Sequence[str]
    chunk_size: int
    dry_run: bool = False
    welcome: bool = True


@dataclass(slots=True)
class Tally:
    """What has become of the lines so far, and the first of those that were refused."""

    counts: Counter[Fate] = field(default_factory=Counter)
    first_refused: list[str] = field(default_factory=list)

    def refuse(self, line: int, fault: Fault) -> None:
        if len(self.first_refused) < SHOWN_FAULTS:
            self.first_refused.append(f"line {line}, {fault.field}: {fault.reason}")


async def run(
    database: Database,
    order: Order,
    repeats: Repeats,
    report: Report,
    advance: Callable[[int], None],
) -> Tally:
    """Take in a file, each chunk of lines in one transaction; tell `advance` after each how many.

    Dying anywhere leaves whole chunks; taking the file in again goes on from there, since whoever
    is there already is passed over.
    """
    tally = Tally()
    for chunk in _chunks(map(repeats.refuse, table.lines(order.path, order.header)), order):
        readable = [line.customer for line in chunk if line.customer is not None]
        if not readable:
            outcomes: list[Outcome] = []
        elif order.dry_run:
            outcomes = await database.scan(intake.preview, readable, order.header)
        else:
            outcomes = await database.write(
                intake.take, readable, order.header, IMPORTER, welcome=order.welcome
            )
            await asyncio.sleep(PAUSE_SECONDS)
        _count(tally, report, chunk, outcomes)
        advance(len(chunk))
    return tally


def _count(
    tally: Tally, report: Report, chunk: Sequence[Line], outcomes: Sequence[Outcome]
) -> None:
    rest = iter(outcomes)
    for line in chunk:
        outcome = Outcome(Fate.REFUSED) if line.customer is None else next(rest)
        tally.counts[outcome.fate] += 1
        faults = [*line.faults, *([outcome.fault] if outcome.fault else [])]
        for fault in faults:
            tally.refuse(line.number, fault)
        if faults:
            report.add(line, faults)


def _chunks(lines: Iterator[Line], order: Order) -> Iterator[list[Line]]:
    while chunk := list(islice(lines, order.chunk_size)):
        yield chunk
