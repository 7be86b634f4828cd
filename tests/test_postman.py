"""The Postman collection is what the descriptions make of it, and whole."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.conftest import SERVICES
from tests.described import description
from tools.api_examples import operations
from tools.postman import COLLECTION, FORMAT, collection, written

DOCUMENTS = {service: description(service) for service in SERVICES}
MADE = collection(DOCUMENTS)


def requests_of(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "request" in item:
        yield item
    for one in item.get("item", []):
        yield from requests_of(one)


def test_the_collection_is_of_these_descriptions() -> None:
    assert COLLECTION.read_text() == written(MADE), "run make postman, and look at what changes"


def test_it_has_a_request_for_every_operation() -> None:
    for folder, document in zip(MADE["item"], DOCUMENTS.values(), strict=True):
        asked = {
            (item["request"]["method"], item["request"]["description"])
            for item in requests_of(folder)
        }
        for operation in operations(document):
            assert (operation.method.upper(), operation.said["description"]) in asked


def test_each_request_has_a_name_of_its_own_an_answer_and_a_test() -> None:
    for folder in MADE["item"]:
        items = list(requests_of(folder))
        assert len({item["name"] for item in items}) == len(items)
        for item in items:
            [answer], [event] = item["response"], item["event"]
            assert str(answer["code"]) in " ".join(event["script"]["exec"])


def test_each_variable_is_declared_and_needs_no_change_to_be_used() -> None:
    used = set(re.findall(r"\{\{(\w+)\}\}", json.dumps(MADE)))
    declared = {one["key"]: one["value"] for one in MADE["variable"]}

    assert used == set(declared)
    assert {value for key, value in declared.items() if key.endswith("_token")} == {"admin123"}
    assert MADE["info"]["schema"] == FORMAT


def test_a_refusal_is_held_to_its_slug() -> None:
    refused = [item for item in requests_of(MADE) if item["response"][0]["code"] >= 400]

    assert len(refused) > 20
    for item in refused:
        slug = json.loads(item["response"][0]["body"])["type"]
        assert slug in " ".join(item["event"][0]["script"]["exec"])
