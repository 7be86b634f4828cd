"""A CSV file of customers into the database, some lines at a time, in constant memory.

A customer is known by its external_ref where the file gives one, else by its e-mail address. One
that is known by its external_ref becomes as the file says, in the columns that the file has; one
that is known by its address alone is left as it is. So a file can be imported any number of times.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection

from crm_api.customers import service, store
from crm_api.customers.models import Customer
from crm_api.customers.schemas import CustomerNew
from crm_api.tables import audit
from crm_api.transfer import table
from crm_api.transfer.postal_columns import ADDRESS
from crm_api.transfer.repeats import Repeats
from crm_api.transfer.table import METADATA, PLAIN, Fault, Line, Report
from service_kit.database import Database, RunAgain
from service_kit.problems import Problem
from service_kit.web.auth import Principal

IMPORTER = Principal("import-customers", "admin", frozenset(), "command-line")
SHOWN_FAULTS = 20
# A service that waits for SQLite's writer lock polls about as often; without a pause it would
# meet the next chunk's transaction again and again.
PAUSE_SECONDS = 0.02
_TAKEN_BY_OTHER = Fault("email", "belongs to a customer with another external_ref, or with none")


class Fate(StrEnum):
    """The outcome of a line."""

    CREATED = "created"
    UPDATED = "updated"
    KNOWN = "already there"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Order:
    """What to import, and how."""

    path: Path
    header: Sequence[str]
    chunk_size: int
    dry_run: bool = False
    welcome: bool = True


@dataclass(slots=True)
class Tally:
    """The outcomes so far, and the first lines that were refused."""

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
    """Import a file, each chunk of lines in one transaction; `advance` is called after each.

    A crash leaves whole chunks; importing the file again continues from there, since customers
    that exist already are skipped.
    """
    tally = Tally()
    for chunk in _chunks(map(repeats.refuse, table.lines(order.path, order.header)), order):
        readable = [line.customer for line in chunk if line.customer is not None]
        if not readable:
            outcomes: list[Fate] = []
        elif order.dry_run:
            outcomes = await database.scan(preview, readable, order.header)
        else:
            outcomes = await database.write(
                take, readable, order.header, IMPORTER, welcome=order.welcome
            )
            await asyncio.sleep(PAUSE_SECONDS)
        _count(tally, report, chunk, outcomes)
        advance(len(chunk))
    if not order.dry_run:
        lines = f"{tally.counts.total()} lines"
        await database.write(audit.record, "customers.imported", lines, by=IMPORTER)
    return tally


def outcomes_of(
    chunk: Sequence[Line], fates: Sequence[Fate]
) -> Iterator[tuple[Line, Fate, Sequence[Fault]]]:
    """Yield each line with its outcome and why it was refused; `fates` are of those that parsed."""
    rest = iter(fates)
    for line in chunk:
        fate = Fate.REFUSED if line.customer is None else next(rest)
        yield line, fate, line.faults or [_TAKEN_BY_OTHER] * (fate is Fate.REFUSED)


def _count(tally: Tally, report: Report, chunk: Sequence[Line], fates: Sequence[Fate]) -> None:
    for line, fate, faults in outcomes_of(chunk, fates):
        tally.counts[fate] += 1
        for fault in faults:
            tally.refuse(line.number, fault)
        if faults:
            report.add(line, faults)


def _chunks(lines: Iterator[Line], order: Order) -> Iterator[list[Line]]:
    while chunk := list(islice(lines, order.chunk_size)):
        yield chunk


def take(
    db: Connection,
    new: Sequence[CustomerNew],
    header: Collection[str],
    who: Principal,
    *,
    welcome: bool,
) -> list[Fate]:
    """Create, update or skip each of these; no two share a reference or an address."""
    outcomes: dict[int, Fate] = {}
    missing = _settle(db, new, range(len(new)), header, who, outcomes)
    added = service.register_all(db, [new[at] for at in missing], who, welcome=welcome)
    raced = []
    for at, result in zip(missing, added, strict=True):
        if isinstance(result, Problem):
            raced.append(at)
        else:
            outcomes[at] = Fate.CREATED
    # Somebody else has added them meanwhile.
    if raced and _settle(db, new, raced, header, who, outcomes):
        raise RunAgain  # and erased again
    return [outcomes[at] for at in range(len(new))]


def preview(db: Connection, new: Sequence[CustomerNew], header: Collection[str]) -> list[Fate]:
    """Predict the outcome of each, if the database stays as it is."""
    existing = _Existing.among(db, new)
    outcomes = []
    for one in new:
        if (before := existing.by_ref.get(one.external_ref or "")) is not None:
            owner = existing.refs_by_email.get(store.email_key(one.email), one.external_ref)
            if owner != one.external_ref:
                outcomes.append(Fate.REFUSED)
            else:
                outcomes.append(Fate.UPDATED if _changes(before, one, header) else Fate.KNOWN)
        else:
            outcomes.append(existing.fate_by_address(one) or Fate.CREATED)
    return outcomes


def _changes(before: Customer, new: CustomerNew, header: Collection[str]) -> dict[str, Any]:
    """Find what differs in the columns that the file has."""
    values = {name: getattr(new, name) for name in PLAIN if name in header}
    keys = {name.removeprefix(METADATA) for name in header if name.startswith(METADATA)}
    if keys:
        kept = {key: value for key, value in before.metadata.items() if key not in keys}
        values["metadata"] = {**kept, **new.metadata}
    if not set(ADDRESS).isdisjoint(header):
        values["address"] = new.address and new.address.model_dump()
    return {name: value for name, value in values.items() if getattr(before, name) != value}


@dataclass(frozen=True, slots=True)
class _Existing:
    """Existing customers with one of the file's references or addresses."""

    by_ref: Mapping[str | None, Customer]
    refs_by_email: Mapping[str, str | None]

    @classmethod
    def among(cls, db: Connection, new: Sequence[CustomerNew], *, lock: bool = False) -> Self:
        emails = [store.email_key(one.email) for one in new]
        refs = [one.external_ref for one in new if one.external_ref]
        owners = store.owners_of(db, emails, refs)
        return cls(
            {row.external_ref: row for row in store.with_refs(db, refs, lock=lock)} if refs else {},
            {row.email_key: row.external_ref for row in owners},
        )

    def fate_by_address(self, new: CustomerNew) -> Fate | None:
        """Find the outcome by its address, for one without a known external_ref."""
        if store.email_key(new.email) not in self.refs_by_email:
            return None
        return Fate.REFUSED if new.external_ref else Fate.KNOWN


def _settle(
    db: Connection,
    new: Sequence[CustomerNew],
    places: Sequence[int],
    header: Collection[str],
    who: Principal,
    outcomes: dict[int, Fate],
) -> list[int]:
    """Find the outcomes of known customers, and update them. Returns the others' places."""
    existing = _Existing.among(db, [new[at] for at in places], lock=True)
    missing = []
    for at in places:
        if (before := existing.by_ref.get(new[at].external_ref or "")) is not None:
            outcomes[at] = _update(db, before, _changes(before, new[at], header), who)
        elif (outcome := existing.fate_by_address(new[at])) is not None:
            outcomes[at] = outcome
        else:
            missing.append(at)
    return missing


def _update(db: Connection, before: Customer, values: Mapping[str, Any], who: Principal) -> Fate:
    if not values:
        return Fate.KNOWN
    try:
        service.change_row(db, before, values, who)
    except service.EmailTaken:
        return Fate.REFUSED
    return Fate.UPDATED
