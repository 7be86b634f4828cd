"""What an empty database starts with in development: a kit without stock to mind, and one with."""

from sqlalchemy import Connection

from inventory_api.items import service as items
from inventory_api.items import store as item_store
from inventory_api.items.schemas import ItemNew
from inventory_api.kits import service as kits
from inventory_api.kits.schemas import KitLine, KitNew
from service_kit.auth import Principal

SEEDER = Principal("demo-data", "admin", frozenset())

CARD = ItemNew(sku="WELCOME-CARD", name="Welcome card", tracked=False)
MUG = ItemNew(sku="MUG-BLUE", name="Blue mug", on_hand=100, reorder_level=20)
NOTEBOOK = ItemNew(sku="NOTEBOOK-A5", name="Notebook, A5", on_hand=200, reorder_level=40)

KITS = {
    "welcome_package": [KitLine(sku=CARD.sku, quantity=1)],
    "gift_package": [KitLine(sku=MUG.sku, quantity=1), KitLine(sku=NOTEBOOK.sku, quantity=2)],
}


def seed(db: Connection) -> None:
    """Add the demo data unless there are items already, or someone else is adding them."""
    if item_store.page(db, below_reorder_level=False, after=None, limit=1):
        return
    try:
        items.add(db, CARD, SEEDER)
    except items.SkuTaken:
        return
    for new in (MUG, NOTEBOOK):
        items.add(db, new, SEEDER)
    for package_type, lines in KITS.items():
        kits.put(db, package_type, KitNew(lines=lines), SEEDER)
