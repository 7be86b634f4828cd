"""A whole file into the database, some lines at a time, in constant memory."""

import asyncio
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from crm_api.customers import store
from crm_api.customers.schemas import CustomerNew
from crm_api.transfer import intake, table
from crm_api.transfer.intake import Fate, Outcome
from crm_api.transfer.table import Line
from service_kit.auth import Principal
from service_kit.database import Database

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

    def refuse(self, line: int, fault: table.Fault) -> None:
        if len(self.first_refused) < SHOWN_FAULTS:
            self.first_refused.append(f"line {line}, {fault.field}: {fault.reason}")


class Report(Protocol):
    """Takes a row for each fault."""

    def writerow(self, row: Sequence[object], /) -> object: ...


async def run(
    database: Database, order: Order, report: Report, advance: Callable[[int], None]
) -> Tally:
    """Take in a file, each chunk of lines in one transaction; tell `advance` after each how many.

    Dying anywhere leaves whole chunks; taking the file in again goes on from there, since whoever
    is there already is passed over.
    """
    tally = Tally()
    with _seen(order) as seen:
        for chunk in _chunks(table.lines(order.path, order.header), order.chunk_size):
            readable = [line.customer for line in chunk if line.customer is not None]
            if not readable:
                outcomes: list[Outcome] = []
            elif seen is not None:
                found = await database.scan(intake.preview, readable, order.header)
                outcomes = [seen.amend(*pair) for pair in zip(readable, found, strict=True)]
            else:
                outcomes = await database.write(
                    intake.take, readable, order.header, IMPORTER, welcome=order.welcome
                )
                await asyncio.sleep(PAUSE_SECONDS)
            _count(tally, report, chunk, outcomes)
            advance(len(chunk))
    return tally


def _seen(order: Order) -> "AbstractContextManager[Seen | None]":
    return Seen() if order.dry_run else nullcontext(None)


def _count(
    tally: Tally, report: Report, chunk: Sequence[Line], outcomes: Sequence[Outcome]
) -> None:
    rest = iter(outcomes)
    for line in chunk:
        outcome = Outcome(Fate.REFUSED) if line.customer is None else next(rest)
        tally.counts[outcome.fate] += 1
        for fault in [*line.faults, *([outcome.fault] if outcome.fault else [])]:
            tally.refuse(line.number, fault)
            report.writerow([line.number, fault.field, fault.reason])


def _chunks(lines: Iterator[Line], size: int) -> Iterator[list[Line]]:
    while chunk := list(islice(lines, size)):
        yield chunk


class Seen:
    """Who would have come earlier in the file, where nothing is written; on disk, not in memory."""

    def __init__(self) -> None:
        # A temporary file of SQLite's own, which nobody else can open.
        self._db = sqlite3.connect("", isolation_level=None)

    def __enter__(self) -> Self:
        self._db.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, print BLOB) WITHOUT ROWID")
        self._db.execute("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._db.close()

    def amend(self, new: CustomerNew, outcome: Outcome) -> Outcome:
        """Correct what a look at the database says by what the lines before would have done."""
        is_settled = new.external_ref is None and outcome.fate is Fate.KNOWN
        if is_settled or outcome.fate is Fate.REFUSED:
            return outcome
        email = _digest("email", store.email_key(new.email))
        if new.external_ref is None:
            if self._find(email) is not None:
                return Outcome(Fate.KNOWN)
            self._note(email, email)
            return outcome
        ref, content = _digest("ref", new.external_ref), _digest(new.model_dump_json())
        before = self._find(ref)
        if before is None and outcome.fate is Fate.CREATED and self._find(email) is not None:
            return Outcome(Fate.REFUSED, intake.TAKEN_BY_OTHER)
        self._note(email, email)
        self._note(ref, content)
        if before is None:
            return outcome
        return Outcome(Fate.KNOWN if before == content else Fate.UPDATED)

    def _find(self, key: bytes) -> bytes | None:
        found = self._db.execute("SELECT print FROM seen WHERE key = ?", [key]).fetchone()
        return None if found is None else bytes(found[0])

    def _note(self, key: bytes, content: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", [key, content])


def _digest(*texts: str) -> bytes:
    return hashlib.sha256("\n".join(texts).encode()).digest()
