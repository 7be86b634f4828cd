"""Inventory's audit: who has moved which package, changed which item, and read whose data."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.settings import Settings
from tests.conftest import bearer, running
from tests.inventory_api.conftest import BATCH, LIST, keeps_its_word, request_package

# Requests in order, and what each leaves: an action, and its subject.
Acts = Sequence[tuple[str, str, Any, Sequence[tuple[str, str]]]]
STOCK: Acts = [
    ("POST", "/items", {"sku": "PEN", "name": "Pen"}, [("item.created", "PEN")]),
    ("PATCH", "/items/PEN", {"name": "Blue pen"}, [("item.updated", "PEN")]),
    ("PATCH", "/items/PEN", {"name": "Blue pen"}, []),
    ("POST", "/items/PEN/movements", {"quantity": 5, "reason": "delivery"}, []),
    (
        *("PUT", "/kits/gift", {"lines": [{"sku": "PEN", "quantity": 1}]}),
        [("kit.changed", "gift")],
    ),
    ("PUT", "/kits/gift", {"lines": [{"sku": "PEN", "quantity": 1}]}, []),
    ("POST", "/verify/repair", None, [("books.repaired", "0 items")]),
]


async def entries(inventory: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    return list((await inventory.get("/audit", params=query)).json())


async def test_each_change_leaves_an_entry(inventory: httpx.AsyncClient) -> None:
    for method, path, body, left in STOCK:
        before = len(await entries(inventory))
        answer = await inventory.request(method, path, json=body)
        assert answer.is_success, answer.text
        new = (await entries(inventory))[before:]
        assert [(one["action"], one["subject"]) for one in new] == list(left)
        assert {one["request_id"] for one in new} <= {answer.headers["x-request-id"]}
        assert {(one["actor"], one["role"]) for one in new} <= {("admin", "admin")}


async def test_each_step_of_a_package_leaves_an_entry(inventory: httpx.AsyncClient) -> None:
    request_id = (await request_package(inventory))["request_id"]
    for step in ("pack", "ship", "deliver", "return", "return"):
        await inventory.post(f"{LIST}/{request_id}/{step}", headers=bearer("clerk123"))
    refused = await inventory.post(f"{LIST}/{request_id}/cancel")
    other = (await request_package(inventory))["request_id"]
    for step in ("pack", "cancel", "unpack"):
        await inventory.post(f"{LIST}/{other}/{step}")

    steps = ["requested", "packed", "shipped", "delivered", "returned"]
    assert refused.status_code == 409
    assert [one["action"] for one in await entries(inventory, subject=request_id)] == [
        f"package.{step}" for step in steps
    ]
    assert {one["actor"] for one in await entries(inventory, subject=request_id)} == {
        "admin",
        "clerk",
    }
    steps = ["requested", "packed", "cancelled", "unpacked"]
    assert [one["action"] for one in await entries(inventory, subject=other)] == [
        f"package.{step}" for step in steps
    ]


async def test_what_the_integration_requests_stands_in_its_deliveries(
    inventory: httpx.AsyncClient,
) -> None:
    batch = [{"customer_id": "a"}, {"customer_id": "b"}]
    for role in ("integration", "clerk"):
        for item in batch:
            item["package_type"] = role
        assert (await inventory.post(BATCH, json=batch, headers=bearer(f"{role}123"))).is_success

    found = await entries(inventory, action="package.requested")
    assert [one["actor"] for one in found] == ["clerk", "clerk"]


async def test_an_erasure_leaves_an_entry_once(inventory: httpx.AsyncClient) -> None:
    await request_package(inventory, customer_id="jane")
    erasure = {"customer_ids": ["jane", "nobody-yet"]}
    for body in (erasure | {"dry_run": True}, erasure, erasure):
        await inventory.post(f"{LIST}/erasures", json=body, headers=bearer("integration123"))
    found = await entries(inventory, actor="integration")

    assert [(one["action"], one["subject"]) for one in found] == [
        ("customer.erased", "jane"),
        ("customer.erased", "nobody-yet"),
    ]


@pytest.mark.parametrize("audit_reads", [True, False])
async def test_reads_are_audited_where_that_is_asked_for(
    settings: Settings, *, audit_reads: bool
) -> None:
    app = create_app(settings.model_copy(update={"audit_reads": audit_reads}))
    async with running(app, token="admin123") as inventory:
        keeps_its_word(inventory)
        request_id = (await request_package(inventory))["request_id"]
        for path in (f"{LIST}/{request_id}", LIST, f"{LIST}?customer_id=nobody"):
            await inventory.get(path, headers=bearer("viewer123"))
        found = await entries(inventory, actor="viewer")

    expected = [
        ("package.read", request_id),
        ("packages.listed", "1 to 1"),
        ("packages.listed", "none"),
    ]
    assert [(one["action"], one["subject"]) for one in found] == expected * audit_reads
