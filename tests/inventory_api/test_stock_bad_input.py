"""Whatever is sent about stock: an answer that OpenAPI names, nothing repeated, never a 5xx."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inventory_api.stock import add_item, new_sku

MARK = "s3cr3t"
JSON = {"content-type": "application/json"}

# Each in one field of an otherwise good request. None fits.
BAD_TEXTS: list[Any] = [
    *("", " \t", f"{MARK}\0", f"{MARK}\nforged", f"{MARK}\x1b[31m", f"{MARK}\x85{MARK}"),
    *("\ud800", MARK * 20_000, None, 7, True, [MARK], {MARK: MARK}),
]
BAD_NUMBERS: list[Any] = [
    *(1.5, 1.0, "1", True, None, [1], {}, 2**31, 2**63, -(2**63), 10**400, MARK),
]
BAD_FIELDS: dict[tuple[str, str], list[Any]] = {
    ("item", "sku"): [*BAD_TEXTS, "a b", "a/b", "ä", "x" * 65, "%2e"],
    ("item", "name"): [*BAD_TEXTS, "x" * 201],
    ("item", "on_hand"): [*BAD_NUMBERS, -1, 1_000_000_001],
    ("item", "reorder_level"): [*BAD_NUMBERS, -1, 1_000_000_001],
    ("item", "tracked"): [None, 1, "true", [], 0],
    **{("item", field): [1, MARK] for field in ("reserved", "available", "id", "\0", "x" * 10_000)},
    ("change", "name"): [*BAD_TEXTS, "x" * 201],
    ("change", "reorder_level"): [*BAD_NUMBERS, -1],
    **{("change", field): [1] for field in ("sku", "on_hand", "reserved", "tracked", "version")},
    ("movement", "quantity"): [*BAD_NUMBERS, 0, 1_000_000_001, -1_000_000_001],
    ("movement", "reason"): [*BAD_TEXTS, "x" * 101],
    **{("movement", field): [MARK] for field in ("reference", "actor", "reserved_delta")},
    ("kit", "sku"): [*BAD_TEXTS, "a b", "x" * 65],
    ("kit", "quantity"): [*BAD_NUMBERS, 0, -1, 10_001],
    **{("kit", field): [MARK] for field in ("name", "version")},
}


async def send(
    inventory: httpx.AsyncClient, kind: str, field: str, value: Any
) -> tuple[httpx.Response, str]:
    """Send something that is good but for one field. Returns the answer and what it is about."""
    sku = new_sku() if kind == "item" else await add_item(inventory, 3)
    method, path, body = {
        "item": ("POST", "/items", {"sku": sku, "name": "Thing"}),
        "change": ("PATCH", f"/items/{sku}", {"name": "Other"}),
        "movement": ("POST", f"/items/{sku}/movements", {"quantity": 1, "reason": "delivery"}),
        "kit": ("PUT", f"/kits/{sku}", {"sku": sku, "quantity": 1}),
    }[kind]
    body = {**body, field: value}
    sent = json.dumps({"lines": [body]} if kind == "kit" else body)
    return await inventory.request(method, path, content=sent, headers=JSON), sku


@pytest.mark.parametrize(("kind", "field"), BAD_FIELDS, ids=lambda value: ascii(value)[:40])
async def test_a_bad_field_is_refused_and_not_repeated(
    shared_inventory: httpx.AsyncClient, kind: str, field: str
) -> None:
    for value in BAD_FIELDS[kind, field]:
        answer, sku = await send(shared_inventory, kind, field, value)

        assert answer.status_code == 422, f"{value!r:.100}"
        assert MARK not in answer.text
        assert len(answer.content) < 2_000
        found = await shared_inventory.get(f"/items/{sku}")
        if kind == "item":
            assert found.status_code == 404
        else:
            assert (found.json()["name"], found.json()["on_hand"]) == ("Thing", 3)


@pytest.mark.parametrize(
    "lines",
    [
        None,
        {},
        "x",
        [None],
        [[]],
        [{}],
        [{"sku": "MUG-BLUE"}],
        [{"quantity": 1}],
        [{"sku": "MUG-BLUE", "quantity": 1}, {"sku": "MUG-BLUE", "quantity": 2}],
        [{"sku": f"SKU-{number}", "quantity": 1} for number in range(51)],
    ],
    ids=lambda lines: ascii(lines)[:40],
)
async def test_a_kit_that_cannot_be_one_is_refused(
    shared_inventory: httpx.AsyncClient, lines: Any
) -> None:
    answer = await shared_inventory.put("/kits/refused", json={"lines": lines})

    assert answer.status_code == 422
    listed = (await shared_inventory.get("/kits", params={"limit": 500})).json()
    assert "refused" not in [kit["package_type"] for kit in listed]


async def test_of_a_list_the_first_wrong_item_is_told(shared_inventory: httpx.AsyncClient) -> None:
    kit = {"lines": [{"sku": "MUG", "quantity": 1}, *[{"sku": "", "quantity": 1}] * 9]}

    answer = await shared_inventory.put("/kits/welcome_package", json=kit)

    assert [error["loc"] for error in answer.json()["errors"]] == [["body", "lines", 1, "sku"]]


async def test_an_untracked_item_has_no_stock_to_begin_with(
    shared_inventory: httpx.AsyncClient,
) -> None:
    item = {"sku": new_sku(), "name": "Card", "tracked": False, "on_hand": 1}

    answer = await shared_inventory.post("/items", json=item)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "on_hand"]


BAD_PATHS = {
    "%00": 422,
    "A%00": 422,
    "a%0ab": 422,
    "%7f": 422,
    "%ff%fe": 404,
    "%ed%a0%80": 404,
    "%F0%9F%8E%89": 404,
    "%20": 404,
    "..%5c": 404,
    "';--": 404,
    str(2**63): 404,
    "x" * 64: 404,
    "x" * 65: 422,
}


@pytest.mark.parametrize(("sku", "status"), BAD_PATHS.items(), ids=lambda value: ascii(value)[:40])
async def test_a_sku_that_cannot_be_one_is_refused(
    shared_inventory: httpx.AsyncClient, sku: str, status: int
) -> None:
    moved = {"quantity": 1, "reason": "delivery"}

    answers = [
        await shared_inventory.get(f"/items/{sku}"),
        await shared_inventory.patch(f"/items/{sku}", json={"name": "Other"}),
        await shared_inventory.get(f"/items/{sku}/movements"),
        await shared_inventory.post(f"/items/{sku}/movements", json=moved),
    ]

    assert [answer.status_code for answer in answers] == [status] * 4


@pytest.mark.parametrize("package_type", ["%00", "a%20b", "a%0a", "%F0%9F%8E%89", "x" * 65, "%ff"])
async def test_a_type_of_kit_that_cannot_be_one_is_refused(
    shared_inventory: httpx.AsyncClient, package_type: str
) -> None:
    answer = await shared_inventory.put(f"/kits/{package_type}", json={"lines": []})

    assert answer.status_code == 422


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=501", "limit=-1", "limit=1.5", f"limit={2**63}", "limit=x"),
        *("cursor=", "cursor=%00", "cursor=x", "cursor=aWQ6LTE", "cursor=" + "x" * 201),
    ],
    ids=lambda query: query[:40],
)
@pytest.mark.parametrize("path", ["/items", "/kits", "/items/MUG-BLUE/movements"])
async def test_a_query_that_makes_no_sense_is_refused(
    shared_inventory: httpx.AsyncClient, path: str, query: str
) -> None:
    assert (await shared_inventory.get(f"{path}?{query}")).status_code == 422


async def test_an_answer_of_yes_or_no_is_read_as_such(shared_inventory: httpx.AsyncClient) -> None:
    answers = [
        (await shared_inventory.get(f"/items?below_reorder_level={value}")).status_code
        for value in ("true", "false", "1", "0", "", "maybe", "%00")
    ]

    assert answers == [200, 200, 200, 200, 422, 422, 422]


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=80)
    | st.sampled_from(["MUG-BLUE", "\0", "\ud800", "x" * 65, 1, 2**31, 2**63]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["sku", "name", "tracked", "on_hand", "reorder_level", "quantity", "reason", "lines"]
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent=st.dictionaries(FIELDS, ANY_JSON, max_size=5) | ANY_JSON)
async def test_no_json_at_all_is_a_bug_of_ours(
    shared_inventory: httpx.AsyncClient, sent: Any
) -> None:
    for method, path in (
        ("POST", "/items"),
        ("PATCH", "/items/MUG-BLUE"),
        ("POST", "/items/MUG-BLUE/movements"),
        ("PUT", "/kits/gift_package"),
    ):
        answer = await shared_inventory.request(
            method, path, content=json.dumps(sent), headers=JSON
        )
        assert answer.status_code in {200, 201, 409, 422}, f"{method} {path}"
