"""The rules about imports that come over HTTP."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from sqlalchemy import Connection

from crm_api import import_reports
from crm_api.imports import store
from crm_api.imports.models import RUNNING, Import
from crm_api.imports.schemas import MOST_SHOWN
from crm_api.tables import audit
from crm_api.transfer import importing
from crm_api.transfer.importing import Fate
from crm_api.transfer.table import Line, Report, header_line
from service_kit.problems import Problem, ServiceUnavailable
from service_kit.process import clock
from service_kit.process.logs import current_request_id
from service_kit.web.auth import Principal
from service_kit.web.paging import Page, page_of

# Of all callers together; each has its own file on the disk until it is done.
MOST_RUNNING = 4

_COUNTED = {
    Fate.CREATED: "created",
    Fate.UPDATED: "updated",
    Fate.KNOWN: "unchanged",
    Fate.REFUSED: "refused",
}


class ImportNotFound(Problem):
    """There is no import with this id."""

    status = HTTPStatus.NOT_FOUND
    slug = "import-not-found"


class ImportRunning(Problem):
    """An import of yours is running, as `import_id` says, or its file is just being received."""

    status = HTTPStatus.CONFLICT
    slug = "import-running"
    headers = {"Retry-After": "10"}
    example = {"import_id": 1}


class ReportGone(Problem):
    """The report is no longer kept; a dry run of the same file makes another."""

    status = HTTPStatus.GONE
    slug = "report-gone"


class TooManyImports(ServiceUnavailable):
    """As many imports are running as may at once; the same request may succeed later."""

    slug = "too-many-imports"
    headers = {"Retry-After": "30"}


class NoLongerRunning(Exception):
    """Somebody has taken this import for dead: whoever works on it must stop."""


@dataclass(frozen=True, slots=True)
class NewImport:
    """A file that was received and can be read as a table."""

    bytes: int
    header: Sequence[str]
    rows: int
    dry_run: bool
    welcome: bool


def refuse_second(db: Connection, who: Principal) -> None:
    """Raise ImportRunning if this caller has an import that runs."""
    if (running := store.running_of(db, who.credential)) is not None:
        raise _running(running)


def begin(db: Connection, new: NewImport, who: Principal) -> Import:
    """Add an import, which runs from now on. Raises ImportRunning or TooManyImports."""
    if store.count_running(db) >= MOST_RUNNING:
        refuse_second(db, who)
        raise TooManyImports(f"{MOST_RUNNING} imports are running, and no more may at once.")
    values = {
        "state": RUNNING,
        "dry_run": new.dry_run,
        "welcome": new.welcome,
        "actor": who.name,
        "credential": who.credential,
        "request_id": current_request_id(),
        "created_at": clock.now(),
        "bytes": new.bytes,
        "header": list(new.header),
        "rows": new.rows,
        "first_refused": [],
        **dict.fromkeys(("rows_read", "beats", *_COUNTED.values()), 0),
    }
    added = store.add(db, values)
    if added is None:
        raise _running(store.running_of(db, who.credential))
    if not new.dry_run:
        audit.record(db, "customers.imported", f"import:{added.id}", by=who)
    return added


def advance(
    db: Connection,
    import_id: int,
    before: int,
    chunk: Sequence[Line],
    who: Principal,
    foreseen: Sequence[Fate] | None = None,
) -> None:
    """Import some lines and write down how it went, in one transaction.

    `before` is how many rows were done before these; where they are done already, a commit whose
    answer was lost has succeeded. A dry run's outcomes are `foreseen`. Raises NoLongerRunning.
    """
    found = store.lock(db, import_id)
    if found is None or found.state != RUNNING:
        raise NoLongerRunning
    if found.rows_read != before:
        return
    fates = foreseen
    if fates is None:
        new = [line.customer for line in chunk if line.customer is not None]
        fates = importing.take(db, new, found.header, who, welcome=found.welcome) if new else []
    _write_down(db, found, chunk, fates)


def _write_down(
    db: Connection, found: Import, chunk: Sequence[Line], fates: Sequence[Fate]
) -> None:
    text = io.StringIO()
    report = Report(text, found.header)
    counts: Counter[str] = Counter()
    refused = list(found.first_refused)
    for line, fate, faults in importing.outcomes_of(chunk, fates):
        counts[_COUNTED[fate]] += 1
        if faults:
            report.add(line, faults)
        refused += [
            {"line": line.number, "column": fault.field[:300], "reason": fault.reason[:500]}
            for fault in faults
        ]
    values: dict[str, Any] = {name: getattr(found, name) + counts[name] for name in counts}
    values["rows_read"] = found.rows_read + len(chunk)
    if refused != found.first_refused:
        values["first_refused"] = refused[:MOST_SHOWN]
    store.change(db, found.id, values)
    if rows := text.getvalue().removeprefix(header_line(found.header)):
        import_reports.add_part(db, found.id, rows, clock.now())


def end(db: Connection, import_id: int, state: str, problem: str | None = None) -> Import | None:
    """End an import that runs, in this state. Returns it."""
    values = {"state": state, "problem": problem, "finished_at": clock.now()}
    store.change(db, import_id, values)
    return store.find(db, import_id)


def interrupt(db: Connection, import_id: int, seen: int) -> bool:
    """End an import of a process that died: its count has not moved on from what was seen."""
    return store.interrupt(db, import_id, seen, clock.now())


def get(db: Connection, import_id: int) -> Import:
    """Look up one import. Raises ImportNotFound."""
    found = store.find(db, import_id)
    if found is None:
        raise ImportNotFound("There is no import with this id.")
    return found


def get_with_report(db: Connection, import_id: int) -> Import:
    """Look up an import whose report is kept. Raises ImportNotFound or ReportGone."""
    found = get(db, import_id)
    if found.report_expires_at <= clock.now():
        raise ReportGone(f"A report is kept for {import_reports.KEPT.days} days.")
    if import_reports.has_gap(db, import_id):
        raise ReportGone("A customer was erased since, and with it the reports of all imports.")
    return found


def page(db: Connection, after: int | None, limit: int, *, ascending: bool) -> Page[Import]:
    """List imports by id, from the one behind `after`."""
    rows = store.page(db, after, limit + 1, ascending=ascending)
    return page_of(rows, limit, key="id")


def _running(import_id: int | None) -> ImportRunning:
    extra: dict[str, Any] = {} if import_id is None else {"import_id": import_id}
    return ImportRunning("An import of yours is running. Wait until it has ended.", **extra)
