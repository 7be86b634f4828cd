"""The columns of a CSV file that hold a postal address.

The address of a row is one value: where a file has one of these columns, an update replaces all of
the customer's address.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from service_kit.web.postal import MOST_LINES, PostalAddressData

_PREFIX = "address."
_LINES = tuple(f"{_PREFIX}line_{number}" for number in range(1, MOST_LINES + 1))
_PARTS = ("postal_code", "city", "region", "country")
ADDRESS = (*_LINES, *(_PREFIX + part for part in _PARTS))


def cell_of_address(address: PostalAddressData | None, column: str) -> str | None:
    """Return what stands in one of these columns."""
    if address is None:
        return None
    if column in _LINES:
        place = _LINES.index(column)
        return address["lines"][place] if place < len(address["lines"]) else None
    parts: Mapping[str, Any] = address
    value: str | None = parts[column.removeprefix(_PREFIX)]
    return value


def address_of(cells: Mapping[str, str]) -> dict[str, Any] | None:
    """Put an address together from the cells that are filled; None where none is."""
    if not cells:
        return None
    parts: dict[str, Any] = {
        part: cells[_PREFIX + part] for part in _PARTS if _PREFIX + part in cells
    }
    if lines := [cells[column] for column in _LINES if column in cells]:
        parts["lines"] = lines
    return parts


def column_at_fault(place: Sequence[str], cells: Mapping[str, str]) -> str:
    """Name the column that a fault in an address is about."""
    if not place:
        return _PREFIX.rstrip(".")
    part, *rest = place
    if part != "lines":
        return _PREFIX + part
    filled = [column for column in _LINES if column in cells]
    return filled[int(rest[0])] if rest else _LINES[0]
