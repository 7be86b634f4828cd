"""What an event leads to: the built-in route."""

from typing import Any

import pytest

from integration_service.feed.client import TYPES
from integration_service.routes.definitions import ROUTES, WELCOME


def test_the_built_in_route_asks_the_feed_for_what_it_acts_on_and_what_undoes_it() -> None:
    assert {"welcome-package": WELCOME} == ROUTES
    assert TYPES == "customer.created,customer.erased"


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
