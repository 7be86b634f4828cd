"""Packing: what is to pack, and moves of many packages with what came of each."""

import json
from typing import Any

import httpx
import pytest
import respx

from tests.console.conftest import INVENTORY, send, sign_in, text_of

pytestmark = pytest.mark.engine("sqlite")

WHEN = "2026-01-05T12:00:00Z"
HOME = {
    "lines": ["12 Harbour Road"],
    "postal_code": "T12 X8N6",
    "city": "Cork",
    "region": None,
    "country": "IE",
}
CARD = {"sku": "WELCOME-CARD", "quantity": 1}


def package(request_id: str, name: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "customer_id": f"of-{request_id}",
        "package_type": "welcome_package",
        "occurrence": 1,
        "customer_name": name,
        "note": None,
        "ship_to": None,
        "status": "pending",
        "to_unpack": False,
        "lines": [CARD],
        "created_at": WHEN,
        "updated_at": WHEN,
        **changes,
    }


@pytest.fixture
def warehouse(services: respx.MockRouter) -> respx.MockRouter:
    box = {
        "request_id": "box-1",
        "package_type": "gift_package",
        "lines": [CARD],
        "updated_at": WHEN,
    }
    picked = [{**CARD, "name": "Welcome card", "quantity": 38}]
    picked.append({"sku": "MUG-BLUE", "name": "Blue mug", "quantity": 4})
    services.get(f"{INVENTORY}/pick-list").respond(
        json={"packages": 38, "items": picked, "to_unpack": [box]}
    )
    counts = {"package_requests": {"pending": 38, "backordered": 12, "packed": 2}, "low_stock": []}
    services.get(f"{INVENTORY}/stats").respond(json=counts)
    low = {"sku": "MUG-BLUE", "available": 6}
    services.get(f"{INVENTORY}/items").respond(json=[low])
    services.get(f"{INVENTORY}/package-requests", params={"status": "pending"}).respond(
        json=[package("p-1", "Jane Doe", ship_to=HOME), package("p-2", "Li Wei")],
        headers={"X-Next-Cursor": "abc"},
    )
    services.get(f"{INVENTORY}/package-requests", params={"status": "packed"}).respond(
        json=[package("p-3", "Ada", status="packed")]
    )
    services.get(f"{INVENTORY}/package-requests", params={"status": "backordered"}).respond(json=[])
    return services


def moves(services: respx.MockRouter, *answers: dict[str, Any]) -> respx.Route:
    return services.post(f"{INVENTORY}/package-requests/moves").respond(json=list(answers))


async def test_it_sums_up_what_to_take_and_lists_the_oldest_first(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    await sign_in(platform)

    page = await platform.get("/console/packing")

    text = text_of(page)
    for part in (
        "38 \u00d7 Welcome card",
        "4 \u00d7 Blue mug 6 more left",
        "To pack 38",
        "Waiting for stock 12",
        "Packed 2",
        "To unpack 1",
        "12 Harbour Road, T12 X8N6 Cork, IE",
        "no address: ask the customer",
        "1 \u00d7 WELCOME-CARD",
    ):
        assert part in text
    assert text.index("Jane Doe") < text.index("Li Wei")
    assert "/console/packing?tab=pending&amp;cursor=abc" in page.text
    assert "checked" not in page.text
    everything = await platform.get("/console/packing?all=yes")
    assert everything.text.count(" checked") == 2
    assert "All 2 on this page are chosen." in text_of(everything)
    assert "<button autofocus>Pack chosen" in everything.text


@pytest.mark.parametrize(
    ("tab", "shown", "act"),
    [
        ("packed", "Ada", "Ship chosen"),
        ("unpack", "box-1", "Mark chosen as unpacked"),
        ("backordered", "None.", None),
        ("nonsense", "Jane Doe", "Pack chosen"),
    ],
)
async def test_each_state_is_a_tab_with_its_next_step(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter, tab: str, shown: str, act: str | None
) -> None:
    await sign_in(platform)

    text = text_of(await platform.get(f"/console/packing?tab={tab}"))

    assert shown in text
    acts = [one for one in ("Pack chosen", "Ship chosen", "Mark chosen as unpacked") if one in text]
    assert acts == ([act] if act else [])


@pytest.mark.parametrize(
    ("tab", "move", "word"), [("pending", "pack", "packed"), ("packed", "ship", "shipped")]
)
async def test_many_are_moved_and_each_says_what_came_of_it(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter, tab: str, move: str, word: str
) -> None:
    refused = {"title": "Conflict", "detail": "A cancelled package request can't become packed."}
    moved = moves(
        warehouse,
        {"status": 200, "package_request": package("p-1", "Jane Doe")},
        {"status": 409, "problem": refused},
    )
    await sign_in(platform)

    page = await send(
        platform, "/console/packing/move", {"tab": tab, "chosen": ["p-1", "p-2"], "move": "cancel"}
    )

    assert json.loads(moved.calls.last.request.content) == {
        "move": move,
        "request_ids": ["p-1", "p-2"],
    }
    text = text_of(page)
    assert f"1 {word}, 1 not" in text
    assert text.index("can't become packed") < text.index("Jane Doe")


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (httpx.Response(409, json={"detail": "Another has moved them."}), 409, "Another has moved"),
        (httpx.Response(503), 503, "Inventory does not answer."),
    ],
)
async def test_what_was_chosen_stays_chosen_when_nothing_was_moved(
    platform: httpx.AsyncClient,
    warehouse: respx.MockRouter,
    answer: httpx.Response,
    status: int,
    told: str,
) -> None:
    warehouse.post(f"{INVENTORY}/package-requests/moves").return_value = answer
    await sign_in(platform)

    page = await send(platform, "/console/packing/move", {"tab": "pending", "chosen": "p-2"})

    assert page.status_code == status
    assert told in text_of(page)
    if status == 409:
        assert 'value="p-2" checked' in page.text
        assert 'value="p-1" checked' not in page.text


async def test_nothing_chosen_moves_nothing(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    moved = moves(warehouse)
    await sign_in(platform)

    for form in ({"tab": "pending"}, {"tab": "backordered", "chosen": "p-1"}):
        page = await send(platform, "/console/packing/move", form)
        assert page.status_code == 422
        assert "Choose packages first." in text_of(page)
    assert not moved.called


async def test_a_stopped_inventory_leaves_grey_cards(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    await sign_in(platform)
    warehouse.get(f"{INVENTORY}/pick-list").respond(503)
    warehouse.get(f"{INVENTORY}/package-requests").respond(503)

    page = await platform.get("/console/packing?tab=backordered")

    assert page.status_code == 200
    assert page.text.count('class="card off"') >= 1
    assert "Inventory does not answer" in text_of(page)


async def test_names_made_of_markup_are_only_text(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    name = "\u202e<script>alert(1)</script>"
    listed = package(
        "p-3", name, status="packed", note='"><img src=x>', ship_to={**HOME, "city": name}
    )
    warehouse.get(f"{INVENTORY}/package-requests", params={"status": "packed"}).respond(
        json=[listed]
    )
    moves(warehouse, {"status": 200, "package_request": listed})
    await sign_in(platform)

    for page in (
        await platform.get("/console/packing?tab=packed"),
        await send(platform, "/console/packing/move", {"tab": "packed", "chosen": "p-3"}),
    ):
        assert "<script>" not in page.text
        assert "<img" not in page.text
        assert "<bdi>\u202e&lt;script&gt;" in page.text


async def test_who_only_reads_packages_moves_none(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    me = {"name": "agent", "role": "agent", "scopes": ["packages:read"], "expires_at": None}
    warehouse.get(f"{INVENTORY}/me").respond(json=me)
    await sign_in(platform, "agent")

    page = await platform.get("/console/packing")

    assert "Jane Doe" in text_of(page)
    assert "checkbox" not in page.text
    assert ">Packing</a>" not in page.text
    answer = await send(platform, "/console/packing/move", {"tab": "pending", "chosen": "p-1"})
    assert answer.status_code == 403
