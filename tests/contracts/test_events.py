"""The check that a change of events breaks nobody who reads them: what it refuses, and what not."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tools import check_events
from tools.check_events import breaches, last_release

Json = dict[str, Any]
Change = Callable[[Json], Any]

RELEASED: Json = json.loads((check_events.RELEASES / "0.4.0.json").read_text())
FEWER = '"low", "normal", "high"'
PRIORITIES = f'{FEWER}, "urgent"'
CREATED, UPDATED, OPENED = "customer.created", "customer.updated", "ticket.created"


def event(document: Json, name: str) -> Json:
    found: Json = document["$defs"][name]
    return found


def data(document: Json, name: str) -> Json:
    """Return the schema of an event's data."""
    whole = event(document, name)
    part: Json = whole["$defs"][whole["properties"]["data"]["$ref"].removeprefix("#/$defs/")]
    return part


def field(document: Json, name: str, of: str) -> Json:
    found: Json = data(document, name)["properties"][of]
    return found


def nullable(document: Json, name: str, of: str) -> None:
    was = field(document, name, of).pop("type")
    field(document, name, of)["anyOf"] = [{"type": was}, {"type": "null"}]


def inline(document: Json) -> None:
    """Write the data where it is referred to, as another version of pydantic might."""
    event(document, OPENED)["properties"]["data"] = data(document, OPENED)
    del event(document, OPENED)["$defs"]


def as_list_of_types(document: Json) -> None:
    del field(document, OPENED, "assignee")["anyOf"]
    field(document, OPENED, "assignee")["type"] = ["null", "string"]


BREAKING: dict[str, tuple[Change, str]] = {
    "an event is gone": (
        lambda found: found["$defs"].pop(CREATED),
        "customer.created: there is no such event any more",
    ),
    "an event has another name": (
        lambda found: event(found, CREATED)["properties"]["type"].update(const="customer.new"),
        'customer.created: type may now be "customer.new", and was one of "customer.created"',
    ),
    "a field is gone": (
        lambda found: data(found, CREATED)["properties"].pop("phone"),
        "customer.created: data.phone is gone",
    ),
    "a field is left out at times": (
        lambda found: data(found, CREATED)["required"].remove("email"),
        "customer.created: data.email may now be left out",
    ),
    "a part of the envelope is left out at times": (
        lambda found: event(found, OPENED)["required"].remove("sequence"),
        "ticket.created: sequence may now be left out",
    ),
    "a field may be null": (
        lambda found: nullable(found, CREATED, "name"),
        "customer.created: data.name may now be null, and was a string",
    ),
    "a field has another type": (
        lambda found: field(found, CREATED, "id").update(type="string"),
        "customer.created: data.id may now be a string, and was an integer",
    ),
    "an integer may be a fraction": (
        lambda found: field(found, CREATED, "id").update(type="number"),
        "customer.created: data.id may now be a number, and was an integer",
    ),
    "a field may be anything": (
        lambda found: field(found, CREATED, "id").clear(),
        "customer.created: data.id may now be anything, and was an integer",
    ),
    "a value is new": (
        lambda found: field(found, OPENED, "priority")["enum"].append("blocker"),
        f'ticket.created: data.priority may now be "blocker", and was one of {PRIORITIES}',
    ),
    "values are no longer listed": (
        lambda found: field(found, OPENED, "priority").pop("enum"),
        f"ticket.created: data.priority may now be any value, and was one of {PRIORITIES}",
    ),
    "a list gets longer": (
        lambda found: field(found, OPENED, "tags").update(maxItems=21),
        "ticket.created: data.tags has the maxItems 21, and had 20",
    ),
    "a text has no end": (
        lambda found: event(found, OPENED)["properties"]["id"].pop("maxLength"),
        "ticket.created: id has no maxLength, and had 36",
    ),
    "an instant is written in another way": (
        lambda found: field(found, CREATED, "created_at").update(format="date"),
        "customer.created: data.created_at has the format date, and had date-time",
    ),
    "the items of a list have another type": (
        lambda found: field(found, OPENED, "tags").update(items={"type": "object"}),
        "ticket.created: data.tags[] may now be an object, and was a string",
    ),
    "the values of a map have another type": (
        lambda found: field(found, UPDATED, "metadata").update(
            additionalProperties={"type": "integer"}
        ),
        "customer.updated: data.metadata.* may now be an integer, and was a string",
    ),
    "a map has a field of another type": (
        lambda found: field(found, UPDATED, "metadata").update(
            properties={"score": {"type": "integer"}}
        ),
        "customer.updated: data.metadata.score may now be an integer, and was a string",
    ),
    "what can't be compared": (
        lambda found: field(found, CREATED, "name").update({"not": {"const": "x"}}),
        "customer.created: data.name has `not`, which can't be compared",
    ),
}
# The feed shows past events beside new ones.
UNTRUE_OF_PAST_EVENTS: dict[str, tuple[Change, str]] = {
    "a new field is always there": (
        lambda found: (
            data(found, CREATED)["properties"].update(tier={"type": "string"}),
            data(found, CREATED)["required"].append("tier"),
        ),
        "customer.created: data.tier is required now, and past events may lack it",
    ),
    "a field is always there": (
        lambda found: data(found, CREATED)["required"].append("welcome"),
        "customer.created: data.welcome is required now, and past events may lack it",
    ),
    "a field is never null": (
        lambda found: field(found, CREATED, "phone")["anyOf"].pop(),
        "customer.created: data.phone may be null in past events, and is now a string",
    ),
    "a value is no longer sent": (
        lambda found: field(found, OPENED, "priority")["enum"].remove("urgent"),
        f'ticket.created: data.priority may be "urgent" in past events, and is now one of {FEWER}',
    ),
    "a list gets shorter": (
        lambda found: field(found, OPENED, "tags").update(maxItems=19),
        "ticket.created: data.tags had the maxItems 20 in past events, and has 19",
    ),
    "a text gets an end": (
        lambda found: field(found, CREATED, "name").update(maxLength=200),
        "customer.created: data.name had no maxLength in past events, and has 200",
    ),
    "an object is closed": (
        lambda found: data(found, CREATED).update(additionalProperties=False),
        "customer.created: data.* may be there in past events, and is now not allowed",
    ),
}
HARMLESS: dict[str, Change] = {
    "an event is new": lambda found: found["$defs"].update({"order.placed": {"type": "object"}}),
    "a field is new": lambda found: data(found, CREATED)["properties"].update(tier={}),
    "other words": lambda found: event(found, CREATED).update(description="Hello!", examples=[]),
    "written without a reference": inline,
    "a list of types": as_list_of_types,
}


@pytest.mark.parametrize(("change", "message"), BREAKING.values(), ids=BREAKING)
def test_what_breaks_a_reader_is_refused_in_words(change: Change, message: str) -> None:
    present = copy.deepcopy(RELEASED)
    change(present)

    assert [one for one in breaches(RELEASED, present) if "past events" not in one] == [message]


@pytest.mark.parametrize(
    ("change", "message"), UNTRUE_OF_PAST_EVENTS.values(), ids=UNTRUE_OF_PAST_EVENTS
)
def test_what_is_untrue_of_past_events_is_refused_in_words(change: Change, message: str) -> None:
    present = copy.deepcopy(RELEASED)
    change(present)

    assert breaches(RELEASED, present) == [message]


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_breaks_no_reader_is_let_through(change: Change) -> None:
    present = copy.deepcopy(RELEASED)
    change(present)

    assert present != RELEASED
    assert breaches(RELEASED, present) == []


def test_every_breach_is_named() -> None:
    present = copy.deepcopy(RELEASED)
    nullable(present, CREATED, "name")
    data(present, CREATED)["required"].remove("name")
    del present["$defs"][OPENED]

    assert breaches(RELEASED, present) == [
        "customer.created: data.name may now be left out",
        "customer.created: data.name may now be null, and was a string",
        "ticket.created: there is no such event any more",
    ]


def test_a_closed_object_stays_closed() -> None:
    released = {"$defs": {"x": {"type": "object", "additionalProperties": False}}}
    opened: Json = {"$defs": {"x": {"type": "object"}}}
    added = copy.deepcopy(released)
    added["$defs"]["x"]["properties"] = {"y": {}}

    assert breaches(released, released) == []
    assert breaches(released, opened) == ["x: * may now be there, and was not allowed"]
    assert breaches(released, added) == ["x: y may now be there, and was not allowed"]


def test_the_last_release_is_the_newest_one(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.4.12"):
        (tmp_path / f"{version}.json").touch()

    assert last_release(tmp_path).stem == "0.10.0"


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder of releases that a test may change."""
    monkeypatch.setattr(check_events, "RELEASES", tmp_path)
    monkeypatch.setattr(check_events, "last_release", lambda: last_release(tmp_path))
    (tmp_path / "0.4.0.json").write_text(json.dumps(RELEASED))
    return tmp_path


def test_the_command_says_what_breaks_and_stores_nothing(
    releases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    present = copy.deepcopy(RELEASED)
    del data(present, CREATED)["properties"]["phone"]
    monkeypatch.setattr(check_events, "events_schema", lambda: present)
    monkeypatch.setattr(check_events, "VERSION", "0.5.0")

    assert check_events.main(["--release"]) == 1
    assert "customer.created: data.phone is gone (as of 0.4.0)\n" in capsys.readouterr().out
    assert [path.name for path in releases.iterdir()] == ["0.4.0.json"]


def test_a_new_major_version_names_what_breaks_and_may(
    releases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    present = copy.deepcopy(RELEASED)
    del present["$defs"][OPENED]
    monkeypatch.setattr(check_events, "events_schema", lambda: present)
    monkeypatch.setattr(check_events, "VERSION", "1.0.0")

    assert check_events.main(["--release"]) == 0
    assert "ticket.created: there is no such event any more" in capsys.readouterr().out
    assert last_release(releases).stem == "1.0.0"


def test_a_release_stores_what_the_next_one_is_held_to(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = copy.deepcopy(RELEASED)
    data(present, CREATED)["properties"]["tier"] = {"type": "string"}
    monkeypatch.setattr(check_events, "events_schema", lambda: present)
    monkeypatch.setattr(check_events, "VERSION", "0.5.0")

    assert check_events.main([]) == 0
    assert last_release(releases).stem == "0.4.0", "only --release stores"
    assert check_events.main(["--release"]) == 0
    assert json.loads((releases / "0.5.0.json").read_text()) == present


def test_each_release_has_stored_its_events() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## ([\d.]+)\b(?!.*unreleased)", text, re.MULTILINE)
    stored = {path.stem for path in check_events.RELEASES.iterdir()}

    assert "0.3.0" in released
    missing = set(released) - stored - {"0.3.0"}  # which published none
    assert not missing, "run `python -m tools.check_events --release`"
