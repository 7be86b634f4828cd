"""What a whole copy of Inventory's database must agree on: its books."""

from collections.abc import Iterator

from sqlalchemy import Connection

from inventory_api.books import service as books
from inventory_api.tables import metadata
from service_kit.database.copies import Contents


def _faults(db: Connection) -> Iterator[str]:
    for one in books.verify(db).differences:
        yield f"the books differ: {one.sku} {one.kind} is {one.level}, not {one.should_be}"


CONTENTS = Contents(metadata, check=_faults)
