"""A name or reason of invisible characters alone is none, in Inventory as in the CRM."""

import httpx
import pytest

ITEM = {"sku": "SHOWS-NOTHING", "name": "Blue mug"}


@pytest.mark.parametrize("text", ["\u200b", "\u202e\u202c", "\u3164"])
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/items", ITEM, "name"),
        ("/items/MUG-BLUE/movements", {"quantity": 1, "reason": "delivery"}, "reason"),
        ("/package-requests", {"customer_id": "c-1"}, "customer_id"),
        ("/package-requests", {"customer_id": "c-1"}, "customer_name"),
        ("/package-requests", {"customer_id": "c-1"}, "note"),
    ],
)
async def test_it_is_refused(
    shared_inventory: httpx.AsyncClient, path: str, body: dict[str, object], field: str, text: str
) -> None:
    answer = await shared_inventory.post(path, json={**body, field: text})

    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["body", field]]
