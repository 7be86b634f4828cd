"""Stock: what there is, its ledger, what came in and what was counted."""

import json
from typing import Any

import httpx
import pytest
import respx

from console.pages.stock import _plot
from console.site import DONE
from tests.console.conftest import INVENTORY, hidden, send, sign_in, text_of

pytestmark = pytest.mark.engine("sqlite")

WHEN = "2026-01-05T12:00:00Z"
MUG = {
    "sku": "MUG-BLUE",
    "name": "Blue mug",
    "tracked": True,
    "on_hand": 20,
    "reserved": 14,
    "available": 6,
    "reorder_level": 10,
    "created_at": WHEN,
    "updated_at": WHEN,
}
CARD = {**MUG, "sku": "CARD", "name": "Welcome card", "tracked": False}
PEN = {**MUG, "sku": "PEN", "name": "Pen", "reserved": 0, "available": 20}
PLACE = "/console/stock/items/MUG-BLUE"


def movement(number: int, on_hand: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "on_hand_delta": on_hand,
        "reserved_delta": 0,
        "reason": "delivery 4711",
        "reference": None,
        "actor": "clerk",
        "at": WHEN,
        **changes,
    }


@pytest.fixture
def warehouse(services: respx.MockRouter) -> respx.MockRouter:
    scopes = ["packages:read", "stock:read", "stock:write"]
    me = {"name": "admin", "role": "admin", "scopes": scopes, "expires_at": None}
    services.get(f"{INVENTORY}/me").respond(json=me)
    services.get(f"{INVENTORY}/items", params={"below_reorder_level": "true"}).respond(json=[MUG])
    services.get(f"{INVENTORY}/items").respond(
        json=[CARD, PEN, MUG], headers={"X-Next-Cursor": "abc"}
    )
    services.get(f"{INVENTORY}/items/MUG-BLUE").respond(json=MUG, headers={"ETag": '"3"'})
    rows = [movement(3, -30, reserved_delta=-1), movement(2, 0, reserved_delta=4), movement(1, 50)]
    services.get(f"{INVENTORY}/items/MUG-BLUE/movements", params={"sort": "-id"}).respond(json=rows)
    return services


def moved(services: respx.MockRouter, status: int = 201, **body: Any) -> respx.Route:
    route = services.post(f"{INVENTORY}/items/MUG-BLUE/movements")
    return route.respond(status, json=body or movement(4, 1))


def sent_to(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


async def test_what_is_low_comes_first(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    await sign_in(platform)

    page = await platform.get("/console/stock")

    text = text_of(page)
    assert text.index("Blue mug") < text.index("Welcome card") < text.index("Pen")
    assert text.count("Blue mug") == 1
    assert "low: below 10" in text
    assert "not counted" in text
    assert "6 of 20 available" in page.text
    assert "/console/stock?cursor=abc" in page.text


async def test_an_item_shows_its_ledger_and_its_levels(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    await sign_in(platform)

    page = await platform.get(PLACE)

    text = text_of(page)
    for part in ("20 on hand", "14 reserved", "6 available", "-30", "+50", "delivery 4711"):
        assert part in text
    assert "over the last 3 movements: between 20 and 50, now 20" in page.text
    assert "<polyline" in page.text


def test_a_plot_goes_in_steps_from_the_oldest_to_the_newest() -> None:
    plot = _plot([20, 50, 50], 10)

    assert plot is not None
    assert plot.points == "0.0,2.0 300.0,2.0 300.0,2.0 600.0,2.0 600.0,47.6"
    assert (plot.least, plot.most) == (20, 50)
    assert _plot([7], 0) is None
    assert _plot([0, 0], 0) is not None


async def test_what_came_in_is_recorded_once(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    route = moved(warehouse)
    await sign_in(platform)
    key = hidden(await platform.get(PLACE), "key")

    form = {"quantity": " 50 ", "reason": "delivery 4712", "key": key}
    answer = await send(platform, f"{PLACE}/receive", form)

    assert answer.headers["location"] == f"{PLACE}?done=received"
    assert sent_to(route) == {"quantity": 50, "reason": "delivery 4712"}
    assert route.calls.last.request.headers["idempotency-key"] == key
    assert DONE["received"] in text_of(await platform.get(answer.headers["location"]))


async def test_what_is_refused_stays_in_the_form(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    fault = {"loc": ["body", "quantity"], "msg": "Input should be a valid integer"}
    route = moved(warehouse, 422, errors=[fault])
    await sign_in(platform)

    form = {"quantity": 'ten"', "reason": "<b>"}
    page = await send(platform, f"{PLACE}/receive", form)

    assert page.status_code == 422
    assert sent_to(route)["quantity"] == 'ten"'
    assert "valid integer" in text_of(page)
    assert 'value="ten&#34;"' in page.text
    assert 'value="&lt;b&gt;"' in page.text


async def test_stock_does_not_go_below_what_is_reserved(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    moved(warehouse, 409, type="urn:problem:stock-below-reserved", detail="14 are reserved.")
    await sign_in(platform)

    page = await send(platform, f"{PLACE}/receive", {"quantity": "\u221210", "reason": "broken"})

    assert page.status_code == 409
    assert "14 are reserved." in text_of(page)


@pytest.mark.parametrize(
    ("counted", "why", "sent", "done"),
    [
        ("17", "", {"quantity": -3, "reason": "counted"}, "counted"),
        ("22", "found two", {"quantity": 2, "reason": "found two"}, "counted"),
        ("20", "", None, "agrees"),
    ],
)
async def test_a_count_is_recorded_as_the_difference(
    platform: httpx.AsyncClient,
    warehouse: respx.MockRouter,
    counted: str,
    why: str,
    sent: dict[str, Any] | None,
    done: str,
) -> None:
    route = moved(warehouse)
    await sign_in(platform)

    form = {"counted": counted, "why": why, "on_hand": "20"}
    answer = await send(platform, f"{PLACE}/count", form)

    assert answer.headers["location"] == f"{PLACE}?done={done}"
    assert (sent_to(route) if route.called else None) == sent


@pytest.mark.parametrize(
    ("form", "status", "told"),
    [
        ({"counted": "17", "on_hand": "25"}, 409, "there should be 20 now"),
        ({"counted": "-1", "on_hand": "20"}, 422, "must be a whole number"),
        ({"counted": "1.5", "on_hand": "20"}, 422, "must be a whole number"),
        ({"counted": "", "on_hand": "20"}, 422, "must be a whole number"),
    ],
)
async def test_a_count_that_can_not_be_right_is_not_recorded(
    platform: httpx.AsyncClient,
    warehouse: respx.MockRouter,
    form: dict[str, str],
    status: int,
    told: str,
) -> None:
    route = moved(warehouse)
    await sign_in(platform)

    page = await send(platform, f"{PLACE}/count", form)

    assert page.status_code == status
    assert told in text_of(page)
    assert f'name="counted" type="text" value="{form["counted"]}"' in page.text
    assert not route.called


async def test_two_who_change_one_item_learn_of_each_other(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    problem = {"type": "urn:problem:precondition-failed", "detail": "It was changed."}
    patched = warehouse.patch(f"{INVENTORY}/items/MUG-BLUE").respond(412, json=problem)
    await sign_in(platform)

    form = {"etag": '"2"', "name": "Navy mug", "reorder_level": "30"}
    page = await send(platform, f"{PLACE}/change", form)

    assert page.status_code == 412
    assert patched.calls.last.request.headers["if-match"] == '"2"'
    assert sent_to(patched) == {"name": "Navy mug", "reorder_level": 30}
    assert "Someone else changed it" in text_of(page)
    assert 'value="Navy mug"' in page.text
    assert hidden(page, "etag") == '"3"'

    patched.respond(json=MUG)
    again = await send(platform, f"{PLACE}/change", {**form, "etag": '"3"'})
    assert again.headers["location"] == f"{PLACE}?done=saved"


async def test_an_item_is_added(platform: httpx.AsyncClient, warehouse: respx.MockRouter) -> None:
    taken = {"type": "urn:problem:sku-taken", "detail": "There is an item with this SKU."}
    added = warehouse.post(f"{INVENTORY}/items").respond(409, json=taken)
    await sign_in(platform)
    form = {"sku": "MUG-BLUE", "name": "Blue mug", "tracked": "yes", "on_hand": "5"}

    refused = await send(platform, "/console/stock/new", form)
    assert refused.status_code == 409
    assert "There is an item with this SKU." in text_of(refused)
    assert 'value="MUG-BLUE"' in refused.text
    added.respond(201, json=MUG)
    done = await send(platform, "/console/stock/new", form)

    assert sent_to(added) == {**form, "tracked": True, "on_hand": 5, "reorder_level": 0}
    assert done.headers["location"] == f"{PLACE}?done=added"
    assert "Its stock is counted" in text_of(await platform.get("/console/stock/new"))


@pytest.mark.parametrize(
    ("differences", "told"),
    [
        ([], "Every number agrees."),
        ([{"kind": "on_hand", "sku": "MUG-BLUE", "level": 7, "should_be": 9}], "1 difference"),
    ],
)
async def test_the_books_are_verified(
    platform: httpx.AsyncClient,
    warehouse: respx.MockRouter,
    differences: list[dict[str, Any]],
    told: str,
) -> None:
    found = {"balanced": not differences, "items_checked": 3, "differences": differences}
    warehouse.get(f"{INVENTORY}/verify").respond(json=found)
    await sign_in(platform)

    assert told in text_of(await platform.get("/console/stock/verify"))


async def test_names_made_of_markup_are_only_text(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    name = "\u202e<script>alert(1)</script>"
    item = {**MUG, "name": name}
    rows = [movement(1, 1, reason=name, actor=name)]
    warehouse.get(f"{INVENTORY}/items", params={"below_reorder_level": "true"}).respond(json=[item])
    warehouse.get(f"{INVENTORY}/items/MUG-BLUE").respond(json=item, headers={"ETag": '"3"'})
    warehouse.get(f"{INVENTORY}/items/MUG-BLUE/movements").respond(json=rows)
    await sign_in(platform)

    for path in ("/console/stock", PLACE):
        page = await platform.get(path)
        assert "<script>" not in page.text
        assert "<bdi>\u202e&lt;script&gt;" in page.text


async def test_a_stopped_inventory_is_a_grey_card(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    await sign_in(platform)
    warehouse.get(f"{INVENTORY}/items", params={"below_reorder_level": "true"}).respond(503)
    warehouse.get(f"{INVENTORY}/items").respond(503)

    page = await platform.get("/console/stock")

    assert page.status_code == 200
    assert "Inventory does not answer" in text_of(page)


async def test_who_only_reads_stock_is_offered_no_change(
    platform: httpx.AsyncClient, warehouse: respx.MockRouter
) -> None:
    me = {"name": "viewer", "role": "viewer", "scopes": ["stock:read"], "expires_at": None}
    warehouse.get(f"{INVENTORY}/me").respond(json=me)
    await sign_in(platform, token="viewer123")

    page = await platform.get(PLACE)

    assert "20 on hand" in text_of(page)
    assert f'action="{PLACE}' not in page.text
    assert ">Stock</a>" in page.text
    assert (await send(platform, f"{PLACE}/receive", {"quantity": "1"})).status_code == 403
