"""OpenAPI says all of it, for all services: what a route lacks is told by the test that fails."""

import json
import re

import pytest

from tests.conftest import SERVICES
from tests.described import description, faults, slugs
from tools.api_examples import PROBLEM, Operation, examples, examples_of, linked, operations

EVERY = [(service, one) for service in SERVICES for one in operations(description(service))]
every_operation = pytest.mark.parametrize(
    ("service", "operation"), EVERY, ids=[f"{service}-{one.id}" for service, one in EVERY]
)
every_service = pytest.mark.parametrize("service", SERVICES)


@every_operation
def test_an_operation_says_what_it_does(service: str, operation: Operation) -> None:
    said = operation.said

    assert said["summary"], "give the route a summary="
    assert said.get("description"), "give the handler a docstring"
    assert operation.successes(), "an operation can succeed"
    assert len(said["tags"]) == 1, "one tag, by resource: the router's tags="


@every_operation
def test_an_operation_names_each_error_with_an_example(service: str, operation: Operation) -> None:
    for status, response in operation.said["responses"].items():
        if int(status) < 400 or (operation.path, status) == ("/health/ready", "503"):
            continue
        assert list(response["content"]) == [PROBLEM], f"{status}: use documented(…)"
        for slug, example in response["content"][PROBLEM]["examples"].items():
            assert f"`{slug}`: " in response["description"]
            assert example["value"]["type"] == f"urn:problem:{slug}"
            assert str(example["value"]["status"]) == status
            assert example["value"]["instance"] == operation.path
            assert example["summary"].endswith("."), f"give the class of {slug} a docstring"
            schema = {"$ref": "#/components/schemas/Problem"}
            strange = faults(description(service), schema, example["value"])
            assert not [fault for fault in strange if "is not described" not in fault]


@every_operation
def test_a_guarded_operation_names_its_scope_and_what_guards_it(
    service: str, operation: Operation
) -> None:
    assert operation.is_guarded != ("operations" in operation.said["tags"])
    guards = {"not-authenticated", "identity-unavailable", "database-unavailable", "database-busy"}
    assert (guards <= slugs(operation)) == operation.is_guarded
    if operation.is_guarded:
        [scopes] = [need["bearer"] for need in operation.said["security"]]
        assert all(re.fullmatch("[a-z]+:[a-z]+", scope) for scope in scopes)
        assert ("scope-missing" in slugs(operation)) == bool(scopes)
        assert len(scopes) == (operation.path != "/me")


@every_operation
def test_what_an_operation_takes_it_explains_and_can_refuse(
    service: str, operation: Operation
) -> None:
    document, body = description(service), operation.any_body()
    given = linked(document).get(operation.id, set())

    assert body is None or body["examples"], "give the body's schema an example"
    assert "invalid-request" in slugs(operation), "a query parameter that it does not know"
    assert ({"body-too-large", "unsupported-media-type"} <= slugs(operation)) == bool(body)
    for parameter in operation.said.get("parameters", []):
        name = parameter["name"]
        assert parameter.get("description"), f"give {name} a description="
        if parameter["in"] == "path" and name not in given:
            assert examples_of(document, parameter["schema"]), f"give {name} examples="


@every_operation
def test_an_example_of_a_path_is_of_its_type(service: str, operation: Operation) -> None:
    document = description(service)
    for parameter in operation.said.get("parameters", []):
        for example in examples_of(document, parameter["schema"]):
            assert faults(document, parameter["schema"], example) == [], parameter["name"]


@every_operation
def test_an_example_of_a_body_is_of_its_schema(service: str, operation: Operation) -> None:
    document, body = description(service), operation.any_body()
    for example in [] if body is None else body["examples"].values():
        assert example["summary"]
        assert faults(document, body["schema"], example["value"]) == []


@every_operation
def test_headers_follow_from_what_an_operation_takes(service: str, operation: Operation) -> None:
    takes = {one["name"] for one in operation.said.get("parameters", [])}
    for status, response in operation.said["responses"].items():
        has = set(response["headers"])
        assert {"X-Request-ID", "Access-Control-Allow-Origin"} <= has
        if status.startswith("2"):
            assert ({"Link", "X-Next-Cursor"} <= has) == ("cursor" in takes)
            assert ("Idempotent-Replayed" in has) == ("Idempotency-Key" in takes)
        if status in {"401", "503"} and operation.is_guarded:
            assert {"RateLimit", "RateLimit-Policy"} <= has
            assert ("Retry-After" in has) == (status == "503")
            assert ("WWW-Authenticate" in has) == (status == "401")
    if operation.said.get("deprecated"):
        assert "Deprecation" in operation.said["responses"][operation.successes()[0]]["headers"]


@every_operation
def test_a_list_has_at_most_what_is_asked_for_or_sent(service: str, operation: Operation) -> None:
    sent = operation.body() or {"schema": {}}
    most = [
        one["schema"]["maximum"] for one in operation.parameters("query") if one["name"] == "limit"
    ]
    most += [sent["schema"]["maxItems"]] if "maxItems" in sent["schema"] else []
    answered = operation.said["responses"][operation.successes()[0]].get("content", {})
    schema = answered.get("application/json", {}).get("schema", {})
    if most and schema.get("type") == "array":
        assert schema["maxItems"] == most[0] == 500


@every_operation
def test_no_parameter_is_null(service: str, operation: Operation) -> None:
    """A query and a header are texts: what is optional is left out."""
    for parameter in operation.said.get("parameters", []):
        assert "null" not in json.dumps(parameter["schema"])


@every_operation
def test_every_operation_that_creates_is_safe_to_repeat(service: str, operation: Operation) -> None:
    if operation.method != "post" or "201" not in operation.said["responses"]:
        return
    takes = {one["name"] for one in operation.said["parameters"]}

    assert "Idempotency-Key" in takes, "a POST that creates takes Idempotent"
    assert {"idempotency-key-reused", "still-running"} <= slugs(operation)


@every_operation
def test_an_operation_that_takes_if_match_says_412_and_answers_the_new_etag(
    service: str, operation: Operation
) -> None:
    takes = {one["name"] for one in operation.said.get("parameters", [])}

    assert ("precondition-failed" in slugs(operation)) == ("If-Match" in takes)
    if "If-Match" in takes and "200" in operation.said["responses"]:
        assert "ETag" in operation.said["responses"]["200"]["headers"], "answering(200, ETAG)"


@every_service
def test_names_are_predictable(service: str) -> None:
    found = operations(description(service))
    ids = [one.id for one in found]

    assert len(set(ids)) == len(ids)
    for one in found:
        assert re.fullmatch("[a-z]+(_[a-z]+)*", one.id), "the handler's name"
        assert re.fullmatch(r"(/([a-z]+(-[a-z]+)*|\{[a-z]+(_[a-z]+)*\}))+", one.path)
        assert one.path.startswith(("/api/", "/health", "/me")) or service != "crm_api"


@every_service
def test_every_schema_is_explained(service: str) -> None:
    for name, schema in description(service)["components"]["schemas"].items():
        assert schema.get("description"), f"give {name} a docstring"


@every_service
def test_the_authorize_button_takes_a_bearer_token(service: str) -> None:
    assert description(service)["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer"}
    }


@every_service
def test_a_link_leads_to_an_operation_and_one_of_its_parameters(service: str) -> None:
    by_id = {one.id: one for one in operations(description(service))}
    for target, parameters in linked(description(service)).items():
        assert parameters <= {one["name"] for one in by_id[target].parameters("path")}


def test_an_id_in_a_path_comes_from_what_made_it_or_lists_it() -> None:
    assert linked(description("crm_api"))["get_ticket"] == {"ticket_id"}
    assert linked(description("inventory_api"))["move_package_request"] == {"request_id"}
    assert linked(description("integration_service"))["get_delivery"] == {"customer_uid"}


@every_service
def test_each_example_has_a_title_of_its_own(service: str) -> None:
    document = description(service)
    titles = [example.title for one in operations(document) for example in examples(document, one)]

    assert len(set(titles)) == len(titles), "two operations of one summary?"


def test_a_wrong_description_would_be_noticed() -> None:
    document = description("crm_api")
    customer = document["components"]["schemas"]["CustomerOut"]

    found = set(faults(document, customer, {"id": "1", "age": 7}))
    assert {".id: '1' is no integer", ".age is not described", ".name is missing"} <= found
