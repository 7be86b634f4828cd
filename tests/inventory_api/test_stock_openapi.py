"""What Inventory's description promises is so: each example, and each refusal it names."""

from collections.abc import AsyncIterator
from typing import get_args

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.package_requests.schemas import Move
from inventory_api.settings import Settings
from tests.conftest import running
from tests.described import Sender, assert_kept, description, faults, keeps_its_word, slugs
from tests.inventory_api.conftest import LIST, request_package
from tools.api_examples import Operation, examples_of, operations, resolved

DOCUMENT = description("inventory_api")
OPERATIONS = {one.name: one for one in operations(DOCUMENT)}
# What a caller of each can be refused for, beside what its token, its body or our database can do.
CREATES = {"still-running", "idempotency-key-reused"}
REFUSALS: dict[str, set[str]] = {
    f"POST {LIST}": {"package-request-conflict", "customer-erased", "erased", *CREATES},
    f"POST {LIST}/batch": CREATES,
    f"POST {LIST}/moves": CREATES,
    f"GET {LIST}/{{request_id}}": {"package-request-not-found"},
    f"POST {LIST}/{{request_id}}/{{move}}": {
        *("package-request-not-found", "invalid-transition", "precondition-failed")
    },
    "POST /items": {"sku-taken", *CREATES},
    "GET /items/{sku}": {"item-not-found"},
    "PATCH /items/{sku}": {"item-not-found", "precondition-failed"},
    "GET /items/{sku}/movements": {"item-not-found"},
    "POST /items/{sku}/movements": {
        *("item-not-found", "item-untracked", "stock-below-reserved"),
        *CREATES,
    },
    "PUT /kits/{package_type}": {"kit-changed"},
}
GENERAL = {
    *("not-authenticated", "scope-missing", "internal-error", "invalid-request"),
    *("database-unavailable", "database-busy", "body-too-large", "unsupported-media-type"),
    *("too-many-requests", "overloaded", "took-too-long", "identity-unavailable"),
    "misdirected-request",
}


@pytest.fixture
async def demo(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Inventory as it is for somebody who tries it: with its demo data."""
    told = settings.model_copy(update={"seed_demo_data": True})
    async with running(create_app(told), token="admin123") as client:
        yield keeps_its_word(client)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_names_every_refusal_of_its_own(operation: Operation) -> None:
    assert slugs(operation) - GENERAL == REFUSALS.get(operation.name, set())


def test_every_move_is_named() -> None:
    [move] = [
        one
        for one in OPERATIONS[f"POST {LIST}/{{request_id}}/{{move}}"].parameters("path")
        if one["name"] == "move"
    ]

    assert tuple(move["schema"]["enum"]) == get_args(Move)
    assert set(get_args(Move)) == {"pack", "ship", "deliver", "cancel", "unpack", "return"}


async def test_every_example_works_and_every_answer_is_as_described(
    demo: httpx.AsyncClient,
) -> None:
    sent = await Sender(demo, DOCUMENT).send_all()

    assert {example.operation.name for example, _ in sent} == set(OPERATIONS)
    for example, answer in sent:
        assert_kept(DOCUMENT, example, answer)
    assert (await demo.get("/verify")).json()["balanced"]


async def test_the_examples_of_all_fields_work_together(demo: httpx.AsyncClient) -> None:
    sku = "MUG-BLUE"
    for path in (LIST, "/items", f"/items/{sku}/movements"):
        body = OPERATIONS[f"POST {path}".replace(sku, "{sku}")].body()
        assert body is not None
        fields = {
            name: found[0]
            for name, schema in resolved(DOCUMENT, body["schema"])["properties"].items()
            if (found := examples_of(DOCUMENT, schema))
        }
        [example] = body["examples"].values()
        answer = await demo.post(path, json=example["value"] | fields)
        # A mug of that SKU is there already, as the field's own example says.
        assert answer.status_code == (409 if path == "/items" else 201), answer.text


async def test_a_problem_is_as_it_is_described(demo: httpx.AsyncClient) -> None:
    made = await request_package(demo)
    refused = [
        await demo.get("/items/NONE"),
        await demo.post("/items", json={"sku": "MUG-BLUE", "name": "Mug"}),
        await demo.post("/items/MUG-BLUE/movements", json={"quantity": -999, "reason": "gone"}),
        await demo.post(f"{LIST}/{made['request_id']}/ship"),
        await demo.patch("/items/MUG-BLUE", json={"name": "Mug"}, headers={"If-Match": '"99"'}),
        await demo.put("/kits/x", json={"lines": [{"sku": "NONE", "quantity": 1}]}),
    ]

    assert [answer.status_code for answer in refused] == [404, 409, 409, 409, 412, 422]
    described = DOCUMENT["components"]["schemas"]["Problem"]
    for answer in refused:
        # An extension of a problem is as RFC 9457 allows; what is described must be there.
        wrong = faults(DOCUMENT, described, answer.json())
        assert [fault for fault in wrong if "is not described" not in fault] == []
