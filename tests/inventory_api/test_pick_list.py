"""The pick list: what to take from the shelf, and which boxes to empty."""

import httpx

from tests.inventory_api.conftest import LIST, change_database, request_package
from tests.inventory_api.stock import add_item, put_kit, request_many, take

PICK_LIST = "/pick-list"


async def test_it_sums_up_what_pending_packages_need(inventory: httpx.AsyncClient) -> None:
    mug = await add_item(inventory, 100, sku="MUG", name="Mug")
    hat = await add_item(inventory, 1, sku="HAT", name="Hat")
    card = await add_item(inventory, tracked=False, sku="CARD", name="Card")
    large, small = await put_kit(inventory, {mug: 2, card: 1}), await put_kit(inventory, {mug: 1})
    await request_many(inventory, large, 3)
    await request_many(inventory, small, 2)
    packed = await request_package(inventory, package_type=small)
    await take(inventory, packed["request_id"], "pack")
    waits = await request_many(inventory, await put_kit(inventory, {hat: 1}), 2)
    assert waits == {"pending": 1, "backordered": 1}

    assert (await inventory.get(PICK_LIST)).json() == {
        "packages": 6,
        "items": [
            {"sku": "CARD", "name": "Card", "quantity": 3},
            {"sku": "HAT", "name": "Hat", "quantity": 1},
            {"sku": "MUG", "name": "Mug", "quantity": 8},
        ],
        "to_unpack": [],
    }


async def test_it_names_the_oldest_500_boxes(inventory: httpx.AsyncClient) -> None:
    for number in (500, 1):
        await request_many(inventory, "empty_package", number)
    await change_database(
        inventory, "UPDATE package_requests SET status = 'cancelled', to_unpack = true"
    )
    oldest = (await inventory.get(LIST, params={"limit": 500})).json()

    boxes = (await inventory.get(PICK_LIST)).json()["to_unpack"]

    assert [box["request_id"] for box in boxes] == [one["request_id"] for one in oldest]
    assert len(boxes) == 500
