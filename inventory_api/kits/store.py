"""The statements about kits."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select

from inventory_api.items.models import items
from inventory_api.kits.models import KitVersion, kit_lines, kits
from service_kit.database.rows import find_all, page_after
from service_kit.web.paging import Page, page_of


class Line(NamedTuple):
    """An item of a kit."""

    kit_id: int
    item_id: int
    sku: str
    quantity: int
    tracked: bool


@dataclass(frozen=True, slots=True)
class Kit:
    """One version of what goes into a package."""

    id: int
    package_type: str
    version: int
    created_at: datetime
    lines: Sequence[Line]


_FIRST = select(kits).where(kits.c.version == 1)
_NEWEST = (
    select(kits.c.package_type, func.max(kits.c.version).label("version"))
    .where(kits.c.package_type.in_(bindparam("package_types", expanding=True)))
    .group_by(kits.c.package_type)
    .subquery()
)
_OF_TYPES = select(kits).join(
    _NEWEST, (_NEWEST.c.package_type == kits.c.package_type) & (_NEWEST.c.version == kits.c.version)
)
_LINES = (
    select(kit_lines.c.kit_id, items.c.id.label("item_id"), items.c.sku, kit_lines.c.quantity)
    .add_columns(items.c.tracked)
    .join(items, items.c.id == kit_lines.c.item_id)
    .where(kit_lines.c.kit_id.in_(bindparam("ids", expanding=True)))
    .order_by(items.c.id)
)
_OF_IDS = select(kits).where(kits.c.id.in_(bindparam("ids", expanding=True)))


def first_versions(db: Connection, after: int | None, limit: int) -> Page[KitVersion]:
    """List the first version of each kit, in the order in which they were made."""
    rows = find_all(KitVersion, db, page_after(_FIRST, kits.c.id, after, limit + 1))
    return page_of(rows, limit, key="id")


def newest(db: Connection, package_types: Collection[str]) -> dict[str, Kit]:
    """Find the newest version for each of these types; by type."""
    rows = find_all(KitVersion, db, _OF_TYPES, {"package_types": list(package_types)})
    return {kit.package_type: kit for kit in _with_lines(db, rows)}


def by_id(db: Connection, ids: Collection[int]) -> dict[int, Kit]:
    if not ids:
        return {}
    rows = find_all(KitVersion, db, _OF_IDS, {"ids": list(ids)})
    return {kit.id: kit for kit in _with_lines(db, rows)}


def add(db: Connection, kit: Mapping[str, Any], quantities: Mapping[int, int]) -> int:
    """Insert a version and its lines. Returns its id."""
    kit_id: int = db.execute(insert(kits).returning(kits.c.id), dict(kit)).scalar_one()
    if quantities:
        db.execute(
            insert(kit_lines),
            [
                {"kit_id": kit_id, "item_id": item_id, "quantity": quantity}
                for item_id, quantity in sorted(quantities.items())
            ],
        )
    return kit_id


def _with_lines(db: Connection, rows: Sequence[KitVersion]) -> list[Kit]:
    lines: dict[int, list[Line]] = defaultdict(list)
    if rows:
        for line in find_all(Line, db, _LINES, {"ids": [row.id for row in rows]}):
            lines[line.kit_id].append(line)
    return [
        Kit(row.id, row.package_type, row.version, row.created_at, lines[row.id]) for row in rows
    ]
