"""Asking whose token it is: what the form takes."""

import httpx
import pytest

from tests.conftest import bearer

INTROSPECT = "/api/tokens/introspect"
CALLER = bearer("integration123")


@pytest.mark.parametrize(
    "form",
    [
        {"token": "x" * 8_192},
        {"token": "crm_0", "token_type_hint": "x" * 100},
    ],
    ids=["token", "hint"],
)
async def test_a_token_that_is_none_of_ours_is_inactive_however_long(
    shared_crm: httpx.AsyncClient, form: dict[str, str]
) -> None:
    answer = await shared_crm.post(INTROSPECT, data=form, headers=CALLER)

    assert (answer.status_code, answer.json()) == (200, {"active": False})


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"token_type_hint": "access_token"}, "token"),
        ({"token": ["crm_0", "crm_1"]}, "token"),
        ({"token": "x" * 8_193}, "token"),
        ({"token": "crm_0", "token_type_hint": "x" * 101}, "token_type_hint"),
        ({"token": "crm_0", "token_type_hint": ["x", "x" * 101]}, "token_type_hint"),
    ],
    ids=["none", "two", "token", "hint", "second-hint"],
)
async def test_a_form_that_is_not_as_described_is_refused(
    shared_crm: httpx.AsyncClient, form: dict[str, str | list[str]], field: str
) -> None:
    answer = await shared_crm.post(INTROSPECT, data=form, headers=CALLER)

    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["body", field]]
    assert "xxx" not in answer.text
