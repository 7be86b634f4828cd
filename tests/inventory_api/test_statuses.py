"""What each route answers to those who may ask.

tests/test_access.py asks every route as every role, and as nobody.
"""

from typing import Any

import httpx
import pytest

from tests.inventory_api.conftest import BATCH, LIST, new_customer, request_package
from tests.inventory_api.stock import new_sku

# Ask on one engine: other tests look at what comes of it.
pytestmark = pytest.mark.engine("sqlite")


def a_package() -> dict[str, Any]:
    return {"customer_id": new_customer()}


ROUTES: list[tuple[str, int, Any]] = [
    (f"POST {LIST}", 201, a_package),
    (f"POST {BATCH}", 200, lambda: [a_package()]),
    (f"GET {LIST}", 200, None),
    (f"GET {LIST}/{{request_id}}", 200, None),
    (f"POST {LIST}/{{request_id}}/cancel", 200, None),
    (f"POST {LIST}/erasures", 200, lambda: {"customer_ids": [new_customer()]}),
    ("GET /pick-list", 200, None),
    ("GET /items", 200, None),
    ("POST /items", 201, lambda: {"sku": new_sku(), "name": "Thing"}),
    ("GET /items/MUG-BLUE", 200, None),
    ("PATCH /items/MUG-BLUE", 200, lambda: {"name": "Mug"}),
    ("GET /items/MUG-BLUE/movements", 200, None),
    ("POST /items/MUG-BLUE/movements", 201, lambda: {"quantity": 1, "reason": "delivery"}),
    ("GET /kits", 200, None),
    ("PUT /kits/empty", 201, lambda: {"lines": []}),
    ("PUT /kits/empty", 200, lambda: {"lines": []}),
    ("GET /verify", 200, None),
    ("POST /verify/repair", 200, None),
    ("GET /stats", 200, None),
    ("GET /me", 200, None),
    ("GET /audit", 200, None),
]


async def test_who_may_is_answered(shared_inventory: httpx.AsyncClient) -> None:
    request_id = (await request_package(shared_inventory))["request_id"]
    for route, status, body in ROUTES:
        method, path = route.format(request_id=request_id).split()
        more = {"json": body()} if body else {}

        answer = await shared_inventory.request(method, path, **more)

        assert answer.status_code == status, f"{route}: {answer.text}"
