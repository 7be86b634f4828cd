"""Putting the pick list together."""

from sqlalchemy import Connection

from inventory_api.package_requests import service as package_requests
from inventory_api.pick_list import store
from inventory_api.pick_list.schemas import PickList, ToPick, ToUnpack


def pick_list(db: Connection) -> PickList:
    """Sum up what pending packages need, and list the boxes to empty."""
    boxes = package_requests.present(db, store.to_unpack(db))
    return PickList(
        packages=store.pending(db),
        items=[
            ToPick(sku=row.sku, name=row.name, quantity=row.quantity) for row in store.to_pick(db)
        ],
        to_unpack=[
            ToUnpack(
                request_id=box.request_id,
                package_type=box.package_type,
                lines=box.lines,
                updated_at=box.updated_at,
            )
            for box in boxes
        ],
    )
