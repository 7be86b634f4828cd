"""All customers into a CSV file that can be imported again, in constant memory."""

import csv
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TextIO

from crm_api.customers import store
from crm_api.customers.models import Customer
from crm_api.transfer.postal_columns import ADDRESS
from crm_api.transfer.table import METADATA, PLAIN, cell_of, cells_of
from service_kit.database import Database
from service_kit.web.auth import Principal

ROWS_AT_ONCE = 500
EXPORTER = Principal("export-customers", "admin", frozenset(), "command-line")


async def header(database: Database) -> tuple[list[str], int, int]:
    """Find the columns that all customers need. Returns them, how many rows, and the last id."""
    keys: set[str] = set()
    address: Sequence[str] = ()
    number, last = 0, 0
    async for customers in _pages(database):
        keys.update(key for customer in customers for key in customer.metadata)
        if any(customer.address is not None for customer in customers):
            address = ADDRESS
        number += len(customers)
        last = customers[-1].id
    return [*PLAIN, *address, *(METADATA + key for key in sorted(keys))], number, last


async def write(
    database: Database,
    columns: Sequence[str],
    last: int,
    file: TextIO,
    advance: Callable[[int], None],
) -> int:
    """Write all customers up to an id. Returns how many have something newer than the header."""
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(map(cell_of, columns))
    late = 0
    async for customers in _pages(database, last):
        rows.writerows(cells_of(customer, columns) for customer in customers)
        late += sum(_is_late(customer, columns) for customer in customers)
        advance(len(customers))
    return late


def _is_late(customer: Customer, columns: Sequence[str]) -> bool:
    """Tell whether a customer has something that had no column when the header was written."""
    return any(METADATA + key not in columns for key in customer.metadata) or (
        customer.address is not None and ADDRESS[0] not in columns
    )


async def _pages(database: Database, last: int | None = None) -> AsyncIterator[Sequence[Customer]]:
    after = 0
    while True:
        found = await database.scan(store.rows_page, after, ROWS_AT_ONCE)
        if not found or (last is not None and found[0].id > last):
            return
        after = found[-1].id
        wanted = [one for one in found if last is None or one.id <= last]
        if kept := [one for one in wanted if one.erased_at is None]:
            yield kept
