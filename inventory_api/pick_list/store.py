"""What to pick and what to unpack."""

from sqlalchemy import Connection, func, select

from inventory_api.items.models import items
from inventory_api.kits.models import kit_lines
from inventory_api.package_requests import service as requests
from inventory_api.package_requests.models import PackageRequest, package_requests
from inventory_api.pick_list.schemas import MOST_TO_UNPACK, PickList, ToPick, ToUnpack
from service_kit.database.rows import find_all

_IS_PENDING = package_requests.c.status == "pending"
_PENDING = select(func.count()).select_from(package_requests).where(_IS_PENDING)
_BY_KIT = (
    select(package_requests.c.kit_id, func.count().label("packages"))
    .where(_IS_PENDING)
    .group_by(package_requests.c.kit_id)
    .subquery()
)
# What pending requests need of each item, tracked or not.
_TO_PICK = (
    select(
        items.c.sku,
        items.c.name,
        func.sum(kit_lines.c.quantity * _BY_KIT.c.packages).label("quantity"),
    )
    .join(kit_lines, kit_lines.c.item_id == items.c.id)
    .join(_BY_KIT, _BY_KIT.c.kit_id == kit_lines.c.kit_id)
    .group_by(items.c.id, items.c.sku, items.c.name)
    .order_by(items.c.sku)
)
_TO_UNPACK = (
    select(package_requests)
    .where(package_requests.c.to_unpack)
    .order_by(package_requests.c.id)
    .limit(MOST_TO_UNPACK)
)


def pick_list(db: Connection) -> PickList:
    """Sum up what pending packages need, and list the boxes to empty, the oldest first."""
    boxes = requests.present(db, find_all(PackageRequest, db, _TO_UNPACK))
    return PickList(
        packages=db.execute(_PENDING).scalar_one(),
        items=[ToPick.model_validate(row) for row in db.execute(_TO_PICK).mappings()],
        to_unpack=[ToUnpack.model_validate(requests.as_shown(box)) for box in boxes],
    )
