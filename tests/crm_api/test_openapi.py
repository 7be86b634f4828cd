"""OpenAPI: complete, and true: each example works when sent, each answer is as described."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import running
from tests.crm_api.conftest import keeps_its_word

# Something must be there before it is looked up, and be looked up before it is changed.
METHODS = ["post", "put", "get", "patch", "delete"]
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
DOCUMENT: dict[str, Any] = create_app(Settings(database_url="sqlite:///nowhere")).openapi()
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
IN_ORDER = sorted(OPERATIONS, key=lambda name: METHODS.index(name.split()[0].lower()))

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@pytest.fixture
async def demo(settings: Settings) -> Any:
    """The CRM as it is for somebody who tries it: with its demo data."""
    app = create_app(settings.model_copy(update={"seed_demo_data": True}))
    async with running(app, token="admin123") as client:
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


def successes(operation: dict[str, Any]) -> list[int]:
    return [int(status) for status in operation["responses"] if status.startswith("2")]


def requests_of(name: str) -> Iterator[dict[str, Any]]:
    """Build a request from each example of an operation's parameters and of its body."""
    method, path = name.split()
    operation = OPERATIONS[name]
    in_path, in_query = {}, []
    for parameter in operation.get("parameters", []):
        examples = examples_of(parameter["schema"])
        if parameter["in"] == "path":
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


def faults(schema: dict[str, Any], value: Any, place: str = "") -> list[str]:
    """Compare a value with its description as far as shapes go. Returns each difference."""
    schema = resolved(schema)
    if "anyOf" in schema:
        found = [faults(choice, value, place) for choice in schema["anyOf"]]
        return min(found, key=len)
    if "enum" in schema or "const" in schema:
        choices = schema.get("enum", [schema.get("const")])
        return [] if value in choices else [f"{place}: {value!r} is none of {choices}"]
    kinds: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    kind = schema.get("type", [])
    allowed = [kinds[one] for one in ([kind] if isinstance(kind, str) else kind)]
    if allowed and not any(isinstance(value, one) for one in allowed):
        return [f"{place}: {value!r} is no {kind}"]
    if isinstance(value, list):
        items = schema.get("items", {})
        return [fault for one in value for fault in faults(items, one, f"{place}[]")]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        missing = [f"{place}.{name} is missing" for name in schema.get("required", [])]
        missing = [fault for fault in missing if fault.split()[0].split(".")[-1] not in value]
        strange = [f"{place}.{name} is not described" for name in value if name not in known]
        inner = [faults(known[key], value[key], f"{place}.{key}") for key in value if key in known]
        return [*missing, *strange, *(fault for part in inner for fault in part)]
    return []


@every_operation
def test_an_operation_says_what_it_does_and_how_it_can_fail(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert successes(operation)
    for status, response in operation["responses"].items():
        if int(status) >= 400 and status != "503":
            assert response["content"] == PROBLEM, status
            assert "`" in response["description"], "the slug of the problem"


@every_operation
def test_a_guarded_operation_names_its_scope_and_both_refusals(operation: dict[str, Any]) -> None:
    guarded = "security" in operation
    statuses = set(operation["responses"])

    assert guarded != ("operations" in operation["tags"])
    assert ({"401", "403"} <= statuses) == guarded
    if guarded:
        [[scope]] = [need["bearer"] for need in operation["security"]]
        assert ":" in scope


@every_operation
def test_an_operation_that_takes_input_has_an_example_and_can_refuse_it(
    operation: dict[str, Any],
) -> None:
    takes_body = "requestBody" in operation
    parameters = operation.get("parameters", [])
    body = body_of(operation)

    if body is not None:
        assert examples_of(body)
    elif parameters:
        assert any(examples_of(parameter["schema"]) for parameter in parameters)
    assert {"413", "415"} <= set(operation["responses"]) or not takes_body
    assert ("422" in operation["responses"]) == bool(takes_body or parameters)


def test_the_authorize_button_takes_a_bearer_token() -> None:
    assert DOCUMENT["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer"}
    }


def test_operations_have_ids_of_their_own_and_canonical_paths() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]

    assert len(set(ids)) == len(ids)
    assert all(
        path.startswith(("/api/", "/health", "/metrics")) and not path.endswith("/")
        for path in DOCUMENT["paths"]
    )


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_pages_for_people_are_there(shared_crm: httpx.AsyncClient, path: str) -> None:
    answer = await shared_crm.get(path)

    assert answer.status_code == 200
    assert "/openapi.json" in answer.text


async def test_the_document_is_served_as_it_is_built(shared_crm: httpx.AsyncClient) -> None:
    assert (await shared_crm.get("/openapi.json")).json() == DOCUMENT


async def test_every_example_works_when_it_is_sent(demo: httpx.AsyncClient) -> None:
    for name in IN_ORDER:
        for request in requests_of(name):
            answer = await demo.request(**request)
            assert answer.status_code in successes(OPERATIONS[name]), f"{request}: {answer.text}"


async def test_every_answer_is_as_it_is_described(demo: httpx.AsyncClient) -> None:
    for name in IN_ORDER:
        for request in requests_of(name):
            answer = await demo.request(**request)
            described = OPERATIONS[name]["responses"][str(answer.status_code)].get("content", {})
            if "application/json" in described:
                schema = described["application/json"]["schema"]
                assert faults(schema, answer.json()) == [], request


async def test_a_problem_is_as_it_is_described(demo: httpx.AsyncClient) -> None:
    schema = DOCUMENT["components"]["schemas"]["Problem"]
    plain = [
        await demo.get("/api/customers/999"),
        await demo.get("/api/events", params={"after": "x"}),
        await demo.get("/nowhere"),
        await demo.put("/api/customers"),
    ]
    invalid = await demo.post("/api/customers", json={"name": ""})

    assert [answer.status_code for answer in plain] == [404, 400, 404, 405]
    for answer in [*plain, invalid]:
        assert faults(schema, answer.json()) == []
    assert invalid.json()["errors"]


@pytest.mark.parametrize("name", [name for name in OPERATIONS if body_of(OPERATIONS[name])])
async def test_the_examples_of_all_fields_work_together(demo: httpx.AsyncClient, name: str) -> None:
    body = body_of(OPERATIONS[name])
    assert body is not None
    fields = {
        field: examples[0]
        for field, schema in body.get("properties", {}).items()
        if (examples := examples_of(schema))
    }
    for request in requests_of(name):
        if isinstance(request["json"], dict):
            request["json"] = {**request["json"], **fields}
        answer = await demo.request(**request)
        assert answer.status_code in successes(OPERATIONS[name]), answer.text


async def test_a_wrong_description_would_be_noticed() -> None:
    customer = DOCUMENT["components"]["schemas"]["CustomerOut"]

    assert faults(customer, {"id": "1", "age": 7})[:2] == [".uid is missing", ".name is missing"]
    assert {".id: '1' is no integer", ".age is not described"} <= set(
        faults(customer, {"id": "1", "age": 7})
    )
