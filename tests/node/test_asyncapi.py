"""The standard's own parser reads the AsyncAPI description, and would say what is wrong in it."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crm_api.event_types import EVENT_TYPES
from crm_api.published.asyncapi import asyncapi
from tests.node.conftest import answer_of

# An opinion of the parser's: 3.0 is what tools read.
OPINIONS = {"asyncapi-latest-version"}


class Parsed(NamedTuple):
    """What the parser has to say, and the messages that it found of each operation."""

    said: list[str]
    operations: dict[str, list[str]]


Parse = Callable[[dict[str, Any]], Parsed]


@pytest.fixture
def parse(node: Callable[[str], list[str]], tmp_path: Path) -> Parse:
    def parse(document: dict[str, Any]) -> Parsed:
        path = tmp_path / "asyncapi.json"
        path.write_text(json.dumps(document))
        answer = answer_of([*node("asyncapi.mjs"), str(path)], 100)
        said = [one["message"] for one in answer["said"] if one["code"] not in OPINIONS]
        return Parsed(said, answer["operations"])

    return parse


@pytest.mark.timeout(120)
def test_the_parser_finds_nothing_wrong_and_every_message(parse: Parse) -> None:
    parsed = parse(asyncapi())

    assert parsed.said == []
    assert parsed.operations.keys() == {"sendFeedPage", "sendWebhook"}
    assert parsed.operations["sendFeedPage"] == ["feedPage"]
    assert set(parsed.operations["sendWebhook"]) == EVENT_TYPES


@pytest.mark.timeout(120)
def test_the_parser_says_what_is_wrong(parse: Parse) -> None:
    nowhere, invented = copy.deepcopy(asyncapi()), copy.deepcopy(asyncapi())
    del nowhere["components"]["schemas"]["NewTicketData"]
    invented["operations"]["sendWebhook"]["action"] = "publish"

    assert any("NewTicketData" in message for message in parse(nowhere).said)
    assert any('"action"' in message for message in parse(invented).said)
