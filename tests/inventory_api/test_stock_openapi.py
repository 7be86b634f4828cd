"""OpenAPI: complete, and true: each example works when sent, each answer is as described."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.package_requests.schemas import Move
from inventory_api.settings import Settings
from tests.conftest import running
from tests.inventory_api.conftest import LIST, keeps_its_word, request_package

# Something must be there before it is looked up, and be looked up before it is changed.
METHODS = ["put", "post", "get", "patch"]
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
DOCUMENT: dict[str, Any] = create_app(Settings(database_url="sqlite:///nowhere")).openapi()
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
IN_ORDER = sorted(OPERATIONS, key=lambda name: METHODS.index(name.split()[0].lower()))
# What a caller of each can be refused for, beside what its token, its body or our database can do.
CREATES = {"still-running", "idempotency-key-reused"}
REFUSALS: dict[str, set[str]] = {
    f"POST {LIST}": {"package-request-conflict", *CREATES},
    f"POST {LIST}/batch": CREATES,
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
    *("database-unavailable", "body-too-large", "unsupported-media-type"),
    "too-many-requests",
}

KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@pytest.fixture
async def demo(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Inventory as it is for somebody who tries it: with its demo data."""
    told = settings.model_copy(update={"seed_demo_data": True})
    async with running(create_app(told), token="admin123") as client:
        yield keeps_its_word(client)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Any = DOCUMENT
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return resolved(found)


def examples_of(schema: dict[str, Any]) -> list[Any]:
    """Find the examples of a schema, or of the one of its choices that has some."""
    choices = [resolved(schema), *map(resolved, schema.get("anyOf", []))]
    return [example for choice in choices for example in choice.get("examples", [])]


def body_of(operation: dict[str, Any]) -> dict[str, Any] | None:
    if "requestBody" not in operation:
        return None
    return resolved(operation["requestBody"]["content"]["application/json"]["schema"])


def successes(operation: dict[str, Any]) -> set[str]:
    return {status for status in operation["responses"] if status.startswith("2")}


def slugs_of(operation: dict[str, Any]) -> set[str]:
    errors = [
        response["description"]
        for status, response in operation["responses"].items()
        if int(status) >= 400
    ]
    return {slug for description in errors for slug in re.findall("`([a-z-]+)`", description)}


def requests_of(name: str, **known: Any) -> Iterator[dict[str, Any]]:
    """Build a request from each example of an operation's parameters and of its body.

    `known` has what no example can: the id of a package request, which is made at random.
    """
    method, path = name.split()
    operation = OPERATIONS[name]
    in_path, in_query = dict(known), []
    for parameter in operation.get("parameters", []):
        examples = examples_of(parameter["schema"])
        if parameter["in"] == "path" and examples:
            in_path[parameter["name"]] = examples[0]
        elif parameter["in"] == "query":
            in_query += [{parameter["name"]: example} for example in examples]
    plain: dict[str, Any] = {"method": method, "url": path.format(**in_path)}
    body = body_of(operation)
    if body is not None:
        yield from ({**plain, "json": example} for example in examples_of(body))
    else:
        yield plain
    yield from ({**plain, "params": query} for query in in_query)


async def answers(demo: httpx.AsyncClient) -> list[tuple[str, httpx.Response]]:
    """Send every example. Returns what each operation answered."""
    made = await request_package(demo)
    found: list[tuple[str, httpx.Response]] = []
    for name in IN_ORDER:
        requests = requests_of(name, request_id=made["request_id"], move="pack")
        found += [(name, await demo.request(**request)) for request in requests]
    return found


def faults(schema: dict[str, Any], value: Any, place: str = "") -> Iterator[str]:
    """Compare a value with its description as far as shapes go."""
    schema = resolved(schema)
    if "anyOf" in schema:
        yield from min((list(faults(one, value, place)) for one in schema["anyOf"]), key=len)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is none of {schema['enum']}"
    kind = schema.get("type", [])
    allowed = tuple(KINDS[one] for one in ([kind] if isinstance(kind, str) else kind))
    if allowed and not isinstance(value, allowed):
        yield f"{place}: {value!r} is no {kind}"
    elif isinstance(value, list):
        for one in value:
            yield from faults(schema.get("items", {}), one, f"{place}[]")
    elif isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        missing = set(schema.get("required", [])) - value.keys()
        yield from (f"{place}.{name} is missing" for name in sorted(missing))
        yield from (f"{place}.{name} is not described" for name in sorted(value.keys() - known))
        for name in value.keys() & known.keys():
            yield from faults(known[name], value[name], f"{place}.{name}")


@every_operation
def test_an_operation_says_what_it_does_and_how_it_can_fail(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert successes(operation)
    for status, response in operation["responses"].items():
        if int(status) >= 400 and "security" in operation:
            assert response["content"] == PROBLEM, status
            assert "`" in response["description"], "the slug of the problem"


@every_operation
def test_a_guarded_operation_names_its_scope_and_both_refusals(operation: dict[str, Any]) -> None:
    guarded = "security" in operation

    assert guarded != ("operations" in operation["tags"])
    assert ({"401", "403"} <= operation["responses"].keys()) == guarded
    if guarded:
        [[scope]] = [need["bearer"] for need in operation["security"]]
        assert scope.partition(":")[0] in {"packages", "stock"}


@every_operation
def test_what_an_operation_takes_it_explains_and_can_refuse(operation: dict[str, Any]) -> None:
    parameters, body = operation.get("parameters", []), body_of(operation)

    assert body is None or examples_of(body)
    assert ("422" in operation["responses"]) == bool(parameters or body)
    assert ({"413", "415"} <= operation["responses"].keys()) == (body is not None)
    for parameter in parameters:
        known = {"request_id", "move"}  # made at random; an enumeration
        if parameter["in"] == "path" and parameter["name"] not in known:
            assert examples_of(parameter["schema"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_names_every_refusal_of_its_own(name: str) -> None:
    named = slugs_of(OPERATIONS[name]) - GENERAL

    expected = REFUSALS.get(name, set())
    # service_kit.openapi leaves out of a 422 what it has not put there itself.
    assert expected - {"idempotency-key-reused"} <= named <= expected


def test_every_move_is_named() -> None:
    operation = OPERATIONS[f"POST {LIST}/{{request_id}}/{{move}}"]
    [move] = [one for one in operation["parameters"] if one["name"] == "move"]

    assert tuple(move["schema"]["enum"]) == get_args(Move)
    assert set(get_args(Move)) == {"pack", "ship", "deliver", "cancel", "return"}


def test_operations_have_ids_of_their_own_and_no_final_slash() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]

    assert len(set(ids)) == len(ids)
    assert not any(path.endswith("/") for path in DOCUMENT["paths"])


async def test_every_example_works_and_every_answer_is_as_described(
    demo: httpx.AsyncClient,
) -> None:
    sent = await answers(demo)

    assert {name for name, _ in sent} == set(OPERATIONS)
    for name, answer in sent:
        described = OPERATIONS[name]["responses"]
        assert str(answer.status_code) in successes(OPERATIONS[name]), f"{name}: {answer.text}"
        content = described[str(answer.status_code)].get("content", {})
        if "application/json" in content:
            schema = content["application/json"]["schema"]
            assert list(faults(schema, answer.json())) == [], name
    assert (await demo.get("/verify")).json()["balanced"]


async def test_the_examples_of_all_fields_work_together(demo: httpx.AsyncClient) -> None:
    for name, operation in OPERATIONS.items():
        body = body_of(operation)
        if body is None or "properties" not in body:
            continue
        for request in requests_of(name):
            fields = {
                field: examples_of(schema)[0]
                for field, schema in body["properties"].items()
                if examples_of(schema)
            }
            answer = await demo.request(**{**request, "json": request["json"] | fields})
            assert answer.status_code in {200, 201, 409}, f"{name}: {answer.text}"
            # A mug of that SKU is there already, as the field's own example says.
            assert (answer.status_code == 409) == (name == "POST /items")


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
        wrong = list(faults(described, answer.json()))
        assert [fault for fault in wrong if "is not described" not in fault] == []


async def test_a_wrong_description_would_be_noticed() -> None:
    item = DOCUMENT["components"]["schemas"]["ItemOut"]

    found = set(faults(item, {"sku": 1, "age": 7}))
    assert {".sku: 1 is no string", ".age is not described", ".name is missing"} <= found


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_pages_for_people_are_there(
    shared_inventory: httpx.AsyncClient, path: str
) -> None:
    answer = await shared_inventory.get(path)

    assert answer.status_code == 200
    assert "/openapi.json" in answer.text
    assert (await shared_inventory.get("/openapi.json")).json() == DOCUMENT
