"""The CSV format of import and export: its header, its rows, its cells."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from crm_api.customers.schemas import CustomerNew
from crm_api.customers.store import CustomerRow

PLAIN = ("name", "email", "company", "phone", "external_ref")
METADATA = "metadata."
_REQUIRED = ("name", "email")
_BYTES_AT_ONCE = 1 << 16
# Far more than a customer has; a file without an end of a line is not read into memory.
_LONGEST_LINE = 1 << 18

# A spreadsheet would run such a cell as a formula. An apostrophe in front keeps it a text; one that
# is there already gets another, so that reading takes back just what writing has added.
_FORMULA = re.compile(r"'*[=+\-@]")
_ESCAPED = re.compile(r"'+[=+\-@]")


class NotATable(Exception):
    """The file can't be read as a table of customers at all."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line is refused. The value itself is nobody's business but the file's."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """One customer of a file, by the line on which it starts: read, or refused."""

    number: int
    customer: CustomerNew | None
    faults: Sequence[Fault] = ()


def check(path: Path) -> tuple[list[str], int]:
    """Read a whole file without believing it. Returns its header and how many rows it has.

    So that a file that breaks off being a table is refused before its first row is taken. Raises
    NotATable.
    """
    _check_encoding(path)
    rows = _records(path)
    try:
        _, header = next(rows)
    except StopIteration:
        raise NotATable(path, "it is empty; its first line must name the columns") from None
    header = [name.strip() for name in header]
    if unknown := [name for name in header if not _is_column(name)]:
        known = ", ".join((*PLAIN, f"{METADATA}<key>"))
        raise NotATable(path, f"{len(unknown)} of its columns are not known: there are {known}")
    if missing := [name for name in _REQUIRED if name not in header]:
        raise NotATable(path, f"its first line does not name {' and '.join(missing)}")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise NotATable(path, f"its first line names twice: {', '.join(twice)}")
    return header, sum(1 for _ in rows)


def lines(path: Path, header: Sequence[str]) -> Iterator[Line]:
    """Read the customers of a file that was checked, one after another."""
    rows = _records(path)
    next(rows)
    for number, cells in rows:
        yield _line(number, header, cells)


def cells_of(customer: CustomerRow, header: Sequence[str]) -> list[str]:
    """Write a customer as a row."""
    return [
        _as_text(
            customer.metadata.get(name.removeprefix(METADATA))
            if name.startswith(METADATA)
            else getattr(customer, name)
        )
        for name in header
    ]


def _as_text(value: str | None) -> str:
    text = value or ""
    return f"'{text}" if _FORMULA.match(text) else text


def _as_value(cell: str) -> str:
    return cell[1:] if _ESCAPED.match(cell) else cell


def _is_column(name: str) -> bool:
    return name in PLAIN or (name.startswith(METADATA) and len(name) > len(METADATA))


def _check_encoding(path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    with path.open("rb") as file:
        while True:
            some = file.read(_BYTES_AT_ONCE)
            try:
                decoder.decode(some, final=not some)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise NotATable(path, f"line {line} is not UTF-8") from None
            if not some:
                return
            line += some.count(b"\n")


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a file with the numbers of the lines on which they start."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(_bounded(file), strict=True)
        number = 1
        try:
            for cells in rows:
                if cells:  # a blank line is no row
                    yield number, cells
                number = rows.line_num + 1
        except csv.Error as error:
            raise NotATable(path, f"line {number} is not CSV: {error}") from None


def _bounded(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            raise csv.Error(f"it is longer than {_LONGEST_LINE} characters")
        yield line


def _line(number: int, header: Sequence[str], cells: Sequence[str]) -> Line:
    if len(cells) != len(header):
        fault = Fault("all", f"{len(cells)} cells where the header has {len(header)}")
        return Line(number, None, [fault])
    values: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for name, cell in zip(header, cells, strict=True):
        value = _as_value(cell)
        if name.startswith(METADATA):
            if value:
                metadata[name.removeprefix(METADATA)] = value
        elif value.strip() or name in _REQUIRED:
            values[name] = value
    try:
        customer = CustomerNew.model_validate({**values, "metadata": metadata})
    except ValidationError as error:
        return Line(number, None, [_fault(one) for one in error.errors(include_input=False)])
    return Line(number, customer)


def _fault(error: Any) -> Fault:
    first, *rest = [str(part) for part in error["loc"]]
    if first == "metadata":
        return Fault(METADATA + rest[0] if rest else first, _reason(error))
    # The checker of addresses quotes what it dislikes.
    is_address = first == "email"
    return Fault(first, "is no e-mail address" if is_address else _reason(error))


def _reason(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
