"""What an event leads to: the built-in route, and what any route asks for and leaves out."""

from dataclasses import replace
from typing import Any

import pytest

from crm_api import event_types
from integration_service.feed.client import TYPES
from integration_service.routes.definitions import (
    DEFAULT,
    EVENT_TYPES,
    WELCOME,
    Condition,
    Present,
    WebhookRoute,
)


def test_the_built_in_route_asks_the_feed_for_what_it_acts_on_and_what_undoes_it() -> None:
    assert DEFAULT == (WELCOME,)
    assert TYPES == "customer.created,customer.updated,customer.erased"


@pytest.mark.parametrize(
    ("data", "is_unwanted"),
    [
        ({"welcome": False}, True),
        ({"welcome": True}, False),
        ({"welcome": None}, False),
        ({"welcome": 0}, False),
        ({"welcome": ""}, False),
        ({}, False),
        (None, False),
        ([False], False),
    ],
)
def test_only_a_false_that_says_so_means_that_no_package_is_wanted(
    data: Any, is_unwanted: bool
) -> None:
    assert WELCOME.is_unwanted({"type": "customer.created", "data": data}) is is_unwanted


def test_an_event_without_data_is_not_unwanted() -> None:
    assert not WELCOME.is_unwanted({})


def test_the_feed_tells_these_types_and_no_others() -> None:
    assert set(EVENT_TYPES) == event_types.EVENT_TYPES


def webhook(**changes: Any) -> WebhookRoute:
    route = WebhookRoute(name="shop", on=("customer.*",), url="http://shop", secrets=("SHOP",))
    return replace(route, **changes)


@pytest.mark.parametrize(
    ("on", "asked"),
    [
        (("customer.*",), ("customer.created", "customer.updated", "customer.erased")),
        (("ticket.*",), tuple(one for one in EVENT_TYPES if one.startswith("ticket."))),
        (("ticket.*", "customer.*"), EVENT_TYPES),
        (("customer.erased", "customer.*"), EVENT_TYPES[:3]),
        (("ticket.deleted", "customer.erased"), ("customer.erased", "ticket.deleted")),
    ],
)
def test_a_wildcard_stands_for_each_of_its_types_once(
    on: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    assert webhook(on=on).event_types == asked


EVENT = {
    "type": "ticket.created",
    "subject": "0198",
    "data": {"n": 1, "flag": True, "no": False, "none": None, "deep": {"a": "b"}, "tags": ["x"]},
}


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        ({"type": "ticket.created"}, True),
        ({"type": ("ticket.deleted", "ticket.created")}, True),
        ({"type": ("ticket.deleted",)}, False),
        ({"data.n": 1}, True),
        ({"data.n": 1.0}, True),
        ({"data.n": True}, False),
        ({"data.n": "1"}, False),
        ({"data.n": (0, "1")}, False),
        ({"data.flag": True}, True),
        ({"data.flag": 1}, False),
        ({"data.no": 0}, False),
        ({"data.deep.a": "b"}, True),
        ({"data.deep.a.c": "b"}, False),
        ({"data.tags": "x"}, False),
        ({"data.n": Present(True)}, True),
        ({"data.n": Present(False)}, False),
        ({"data.no": Present(True)}, True),
        ({"data.none": Present(True)}, False),
        ({"data.none": Present(False)}, True),
        ({"data.other": Present(False)}, True),
        ({"data.none": ""}, False),
    ],
)
def test_a_condition_is_on_a_value_on_several_or_on_there_being_one(
    condition: dict[str, Condition], is_met: bool
) -> None:
    assert webhook(when=condition).is_unwanted(EVENT) is not is_met
    assert webhook(unless=condition).is_unwanted(EVENT) is is_met


@pytest.mark.parametrize(
    "conditions",
    [{"when": {"data.company": Present(True)}}, {"unless": {"data.company": Present(False)}}],
)
def test_no_condition_holds_an_erasure_back(conditions: Any) -> None:
    event = {"type": "customer.erased", "data": {"uid": "0198"}}

    assert not webhook(**conditions).is_unwanted(event)
    assert webhook(**conditions).is_unwanted(event | {"type": "customer.updated"})


@pytest.mark.parametrize(
    ("when", "unless", "is_unwanted"),
    [
        ({}, {}, False),
        ({"data.n": 1, "data.flag": True}, {}, False),
        ({"data.n": 1, "data.flag": False}, {}, True),
        ({}, {"data.n": 1, "data.flag": False}, True),
        ({}, {"data.n": 2, "data.flag": False}, False),
        ({"data.n": 1}, {"data.flag": True}, True),
    ],
)
def test_an_event_needs_all_of_one_kind_and_none_of_the_other(
    when: dict[str, Condition], unless: dict[str, Condition], is_unwanted: bool
) -> None:
    assert webhook(when=when, unless=unless).is_unwanted(EVENT) is is_unwanted
