"""What is taken as it is, is what email-validator would have made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import EmailStr, TypeAdapter, ValidationError, networks

from crm_api.customers.addresses import LONGEST, Address, is_plain

OURS, THEIRS = TypeAdapter(Address), TypeAdapter(EmailStr)
PIECES = ["a", "Z", "0", "-", "_", "+", ".", "@", "com", "test", "xn--", "info", "ä", " ", "<"]
LABELS = st.text("ab0-", min_size=1, max_size=65)


def outcome(adapter: TypeAdapter[str], value: object) -> object:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        return error.errors(include_url=False)


@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
    | st.builds(
        "{}@{}.{}".format,
        st.text("ab0.-_+", min_size=1, max_size=65),
        st.lists(LABELS, min_size=1, max_size=5).map(".".join),
        st.sampled_from(["com", "c", "co1", "test", "arpa", "local", "localhost", "example"]),
    )
)
def test_every_address_comes_to_the_same(value: str) -> None:
    assert outcome(OURS, value) == outcome(THEIRS, value)


@pytest.mark.parametrize("value", [None, 1, b"a@b.com", ["a@b.com"]])
def test_what_is_no_text_is_refused_alike(value: object) -> None:
    assert outcome(OURS, value) == outcome(THEIRS, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("jane@example.com", True),
        ("jane.doe+news@mail.example-shop.co.uk", True),
        ("Jane@example.com", False),
        ("jane@Example.com", False),
        ("jane@example.test", False),
        ("jane@xn--exmple-cua.com", False),
        ("jane@example.com\n", False),
        (f"jane@{'a' * 60}.com", False),
    ],
)
def test_which_addresses_are_plain(value: str, expected: bool) -> None:
    assert is_plain(value) is expected


def test_what_is_too_long_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "validate_email", None)

    for length in (LONGEST + 1, 100_000):
        with pytest.raises(ValidationError, match=f"at most {LONGEST} characters"):
            OURS.validate_python("n" * (length - len("@example.com")) + "@example.com")
