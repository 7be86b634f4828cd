"""What an empty database starts with in development: a kit without stock to mind, and one with."""

from sqlalchemy import Connection

from inventory_api.items import service as items
from inventory_api.items import store as item_store
from inventory_api.items.schemas import ItemNew
from inventory_api.kits import service as kits
from inventory_api.kits.schemas import KitLine, KitNew
from service_kit.web.auth import Principal

SEEDER = Principal("demo-data", "admin", frozenset(), "demo-data")


def seed(db: Connection) -> None:
    """Add the demo data unless there are items already, or someone else is adding them."""
    if item_store.page(db, below_reorder_level=False, after=None, limit=1).rows:
        return
    card = ItemNew(sku="WELCOME-CARD", name="Welcome card", tracked=False)
    mug = ItemNew(sku="MUG-BLUE", name="Blue mug", on_hand=100, reorder_level=20)
    notebook = ItemNew(sku="NOTEBOOK-A5", name="Notebook, A5", on_hand=200, reorder_level=40)
    try:
        items.add(db, card, SEEDER)
    except items.SkuTaken:
        return
    items.add(db, mug, SEEDER)
    items.add(db, notebook, SEEDER)
    greeting = [KitLine(sku=card.sku, quantity=1)]
    kits.put(db, "welcome_package", KitNew(lines=greeting), SEEDER)
    gift = [KitLine(sku=mug.sku, quantity=1), KitLine(sku=notebook.sku, quantity=2)]
    kits.put(db, "gift_package", KitNew(lines=gift), SEEDER)
