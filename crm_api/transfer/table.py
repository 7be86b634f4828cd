"""The CSV format of import and export: its header, its rows, its cells."""

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from pydantic import ValidationError
from sqlalchemy import JSON

from crm_api.customers.models import SHOWN, Customer, customers
from crm_api.customers.schemas import CustomerNew
from crm_api.transfer.postal_columns import ADDRESS, address_of, cell_of_address, column_at_fault
from service_kit.database.personal import personal

PLAIN = tuple(
    name
    for name in SHOWN
    if name in personal(customers) and not isinstance(customers.c[name].type, JSON)
)
METADATA = "metadata."
# What a report adds to the refused rows. Import ignores them, so a report can be imported.
REPORTED = ("line", "reason")
_REQUIRED = ("name", "email")
_BYTES_AT_ONCE = 1 << 16
# Far more than a customer has; a file without an end of a line is not read into memory.
_LONGEST_LINE = 1 << 18
# Separators of files that are called CSV but are not separated by commas.
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SHOWN_COLUMNS = 3
_SHOWN_CHARACTERS = 40

# A spreadsheet would run a cell that begins like this as a formula; many read the wide forms too.
_BEGINNING = "[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"
# Where a cell begins: at its own start, and behind what separates cells in another country's files.
# Spaces and the quotes of such a file may stand in front.
_START = '((?:^|[;,|\t\r\n])[ "\xa0\u3000]*)'
# An apostrophe in front keeps it text; one that is there already gets another, so that reading
# removes just what writing has added.
_FORMULA = re.compile(f"{_START}(?='*{_BEGINNING})")
_ESCAPED = re.compile(f"{_START}'(?='*{_BEGINNING})")


# A file by its path, or an open one that may have no name; of that one reader at a time.
Source = Path | io.FileIO


class NotATable(Exception):
    """The file can't be read as a table of customers at all."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line is refused, without the value, which may be personal."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """One customer of a file, by the line on which it starts, with its cells: read, or refused."""

    number: int
    cells: Sequence[str]
    customer: CustomerNew | None
    faults: Sequence[Fault] = ()


class Report:
    """Writes the refused rows, each with why: a table to correct and import again; or nothing."""

    def __init__(self, file: TextIO | None, header: Sequence[str]) -> None:
        # A report on a report has those two columns once.
        self._places = [place for place, name in enumerate(header) if name not in REPORTED]
        self._width = len(header)
        self._rows = None if file is None else csv.writer(file, lineterminator="\n")
        if self._rows is not None:
            self._rows.writerow([*(cell_of(header[place]) for place in self._places), *REPORTED])

    def add(self, line: Line, faults: Sequence[Fault]) -> None:
        """Write the cells as they were read. Those beyond the header's come last."""
        if self._rows is None:
            return
        cells = [*line.cells, *[""] * (self._width - len(line.cells))]
        reason = "; ".join(f"{fault.field}: {fault.reason}" for fault in faults)
        kept = [cells[place] for place in self._places]
        self._rows.writerow([*kept, line.number, reason, *cells[self._width :]])


def header_line(header: Sequence[str]) -> str:
    """Write the first line of a report."""
    text = io.StringIO()
    Report(text, header)
    return text.getvalue()


def check(source: Source) -> tuple[list[str], int]:
    """Check a whole file. Returns its header and how many rows it has.

    So a file that stops being a table half-way is refused before its first row is imported.
    Raises NotATable.
    """
    _check_encoding(source)
    records = _records(source)
    try:
        _, header = next(records)
    except StopIteration:
        raise NotATable("it is empty; its first line must name the columns") from None
    header = [value_of(name) for name in header]
    if unknown := [name for name in header if not _is_column(name)]:
        raise NotATable(_about_unknown(unknown, header))
    if missing := [name for name in _REQUIRED if name not in header]:
        raise NotATable(f"its first line does not name {' and '.join(missing)}")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise NotATable(f"its first line names twice: {', '.join(twice)}")
    return header, sum(1 for _ in records)


def lines(source: Source, header: Sequence[str]) -> Iterator[Line]:
    """Read the customers of a file that was checked, one after another."""
    for number, cells in rows(source):
        yield _line(number, header, cells)


def rows(source: Source) -> Iterator[tuple[int, list[str]]]:
    """Read the cells below the header, with the numbers of the lines on which they start."""
    records = _records(source)
    next(records)
    yield from records


def cells_of(customer: Customer, header: Sequence[str]) -> list[str]:
    """Write a customer as a row."""
    return [cell_of(_value_in(customer, name)) for name in header]


def value_of(cell: str) -> str:
    """Read a cell: without the apostrophes that keep a spreadsheet from running it."""
    return _ESCAPED.sub(r"\1", cell).strip()


def cell_of(value: str | None) -> str:
    """Write a value so that no spreadsheet runs a part of it, whatever it takes for separators."""
    return _FORMULA.sub(r"\1'", value or "")


def _value_in(customer: Customer, column: str) -> str | None:
    if column.startswith(METADATA):
        return customer.metadata.get(column.removeprefix(METADATA))
    if column in ADDRESS:
        return cell_of_address(customer.address, column)
    value: str | None = getattr(customer, column)
    return value


def _is_column(name: str) -> bool:
    return (
        name in PLAIN
        or name in ADDRESS
        or name in REPORTED
        or (name.startswith(METADATA) and len(name) > len(METADATA))
    )


def _about_unknown(unknown: Sequence[str], header: Sequence[str]) -> str:
    if any("@" in name for name in unknown):
        # A person's data, which is not to be shown.
        return "its first line must name the columns; it looks like a customer"
    text = "unknown columns: " if len(unknown) > 1 else "unknown column: "
    text += ", ".join(_shown(name) for name in unknown[:_SHOWN_COLUMNS])
    if len(unknown) > _SHOWN_COLUMNS:
        text += f" and {len(unknown) - _SHOWN_COLUMNS} more"
    for separator, name in _OTHER_SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            return f"{text}. The file is separated by {name}; save it with commas"
    return f"{text}. Known are {', '.join((*PLAIN, *ADDRESS, f'{METADATA}<key>'))}"


def _shown(name: str) -> str:
    """Quote a column's name so that it can be printed: it may be long, or hold anything."""
    return repr(name[:_SHOWN_CHARACTERS])


def _check_encoding(source: Source) -> None:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    with _open(source) as file:
        while True:
            some = file.read(_BYTES_AT_ONCE)
            try:
                decoder.decode(some, final=not some)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise NotATable(f"line {line} is not UTF-8") from None
            if not some:
                return
            line += some.count(b"\n")


def _open(source: Source) -> BinaryIO:
    if isinstance(source, Path):
        return source.open("rb")
    file = os.fdopen(os.dup(source.fileno()), "rb")
    file.seek(0)
    return file


def _records(source: Source) -> Iterator[tuple[int, list[str]]]:
    with io.TextIOWrapper(_open(source), encoding="utf-8-sig", newline="") as file:
        records = csv.reader(_bounded(file), strict=True)
        number = 1
        try:
            for cells in records:
                if cells:  # a blank line is no row
                    yield number, cells
                number = records.line_num + 1
        except csv.Error as error:
            raise NotATable(f"line {number} is not CSV: {error}") from None


def _bounded(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            raise csv.Error(f"it is longer than {_LONGEST_LINE} characters")
        yield line


def _line(number: int, header: Sequence[str], cells: Sequence[str]) -> Line:
    if len(cells) != len(header):
        fault = Fault("all", f"{len(cells)} cells where the header has {len(header)}")
        return Line(number, cells, None, [fault])
    values: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    address: dict[str, str] = {}
    for name, cell in zip(header, cells, strict=True):
        value = value_of(cell)
        if name.startswith(METADATA):
            if value:
                metadata[name.removeprefix(METADATA)] = value
        elif name in ADDRESS:
            if value:
                address[name] = value
        elif name in REPORTED:
            continue
        elif value or name in _REQUIRED:
            values[name] = value
    try:
        customer = CustomerNew.model_validate(
            {**values, "metadata": metadata, "address": address_of(address)}
        )
    except ValidationError as error:
        faults = [_fault(one, address) for one in error.errors(include_input=False)]
        return Line(number, cells, None, faults)
    return Line(number, cells, customer)


def _fault(error: Any, address: Mapping[str, str]) -> Fault:
    first, *rest = [str(part) for part in error["loc"]]
    if first == "address":
        return Fault(column_at_fault(rest, address), _reason(error))
    if first == "metadata":
        return Fault(METADATA + rest[0] if rest else first, _reason(error))
    # email-validator quotes the rejected part.
    is_address = first == "email"
    return Fault(first, "is no e-mail address" if is_address else _reason(error))


def _reason(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
