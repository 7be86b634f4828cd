"""Postal addresses: what is one, and what is none."""

from typing import Any

import pytest
from pydantic import ValidationError

from service_kit.web.postal import COUNTRIES, EXAMPLE, PostalAddress, PostalAddressOut

SHORTEST = {"lines": ["12 High Street"], "country": "GB"}


def test_a_whole_address_is_kept_as_it_was_sent() -> None:
    assert PostalAddress.model_validate(EXAMPLE).model_dump() == EXAMPLE


def test_what_is_not_sent_is_empty() -> None:
    found = PostalAddress.model_validate(SHORTEST).model_dump()

    assert found == {**SHORTEST, "postal_code": None, "city": None, "region": None}


def test_spaces_and_small_letters_are_set_right() -> None:
    sent = {"lines": [" 12 High Street "], "city": " London", "country": " gb "}

    found = PostalAddress.model_validate(sent)

    assert (found.lines, found.city, found.country) == (["12 High Street"], "London", "GB")


@pytest.mark.parametrize(
    "change",
    [
        {"lines": []},
        {"lines": ["a", "b", "c", "d", "e"]},
        {"lines": ["a", ""]},
        {"lines": ["a", "\u200b"]},
        {"lines": ["two\nlines"]},
        {"lines": ["x" * 201]},
        {"lines": "12 High Street"},
        {"lines": None},
        {"postal_code": "x" * 21},
        {"postal_code": 12345},
        {"city": "x" * 101},
        {"city": ""},
        {"region": "x" * 101},
        {"country": None},
        {"country": ""},
        {"country": "UK"},
        {"country": "GBR"},
        {"country": "ZZ"},
        {"country": "\u017fs"},
        {"street": "12 High Street"},
    ],
    ids=str,
)
def test_what_is_no_address_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PostalAddress.model_validate({**EXAMPLE, **change})


def test_there_are_as_many_countries_as_iso_3166_has_assigned() -> None:
    assert len(COUNTRIES) == 249
    assert {"GB", "DE", "XK"} & COUNTRIES == {"GB", "DE"}


def test_an_address_in_a_country_that_is_no_more_is_still_shown() -> None:
    stored = {**EXAMPLE, "country": "AN"}

    assert PostalAddressOut.model_validate(stored).country == "AN"
