"""The budget of a request's body: what is too much is refused early, and in few words."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from service_kit.problems import Problem
from service_kit.web import body
from service_kit.web.body import (
    ITEMS_AT_ONCE,
    LARGEST_BATCH,
    MAX_BODY_BYTES,
    MAX_DIGITS,
    MAX_ENTRIES,
    MAX_VALUES,
    read_items,
)
from tests.service_kit.conftest import BoxNew

JSON = {"content-type": "application/json"}


def full_of(element: bytes) -> bytes:
    """Make a list of this element, as long as a body may be."""
    return b"[" + b",".join([element] * ((MAX_BODY_BYTES - 1) // (len(element) + 1))) + b"]"


def names(count: int) -> bytes:
    return b"{" + b",".join(b'"%d":0' % number for number in range(count)) + b"}"


OVER_THE_BUDGET = {
    "numbers": full_of(b"1"),
    "fractions": full_of(b"1.5"),
    "texts": full_of(b'""'),
    "texts that look like more": full_of(rb'"\",[{"'),
    "lists": full_of(b"[]"),
    "objects": full_of(b"{}"),
    "objects in objects": full_of(b'{"a":{}}'),
    "lists in lists": full_of(b"[" * 60 + b"]" * 60),
    "names": names(88_000),
    "one name": b"{" + b",".join([b'"a":0'] * 88_000) + b"}",
}
WITHIN_THE_BUDGET = {
    "values": (b"[" + b"1," * (MAX_VALUES - 2) + b"1]", b"[" + b"1," * (MAX_VALUES - 1) + b"1]"),
    "entries": (names(MAX_ENTRIES), names(MAX_ENTRIES + 1)),
    "digits": (b"[%b]" % (b"9" * MAX_DIGITS), b"[%b]" % (b"9" * (MAX_DIGITS + 1))),
    "entries within": (b"[%b]" % names(MAX_ENTRIES), b"[%b]" % names(MAX_ENTRIES + 1)),
}
LOOKS_LIKE_MORE = {
    "commas": b'["' + b"," * 100_000 + b'"]',
    "brackets": b'["' + b"[{" * 50_000 + b'"]',
    "colons": b'{"a:": ":", "b": "::"}',
    "quotes": b'["' + rb"\"," * 30_000 + b'"]',
    "backslashes": b'["' + rb"\\" * 30_000 + b'", "' + rb"\\\"," * 30_000 + b'"]',
}


async def send(anyone: httpx.AsyncClient, content: bytes) -> httpx.Response:
    assert len(content) <= MAX_BODY_BYTES
    return await anyone.post("/echo", content=content, headers=JSON)


@pytest.mark.parametrize("content", OVER_THE_BUDGET.values(), ids=OVER_THE_BUDGET)
async def test_too_many_values_are_refused_before_one_is_made(
    anyone: httpx.AsyncClient, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "_DECODER", None)

    answer = await send(anyone, content)

    assert answer.status_code == 422
    assert f"more than {MAX_VALUES} values" in answer.text
    assert len(answer.content) < 500


@pytest.mark.parametrize(("most", "more"), WITHIN_THE_BUDGET.values(), ids=WITHIN_THE_BUDGET)
async def test_the_budget_may_be_used_up(
    anyone: httpx.AsyncClient, most: bytes, more: bytes
) -> None:
    taken, refused = await send(anyone, most), await send(anyone, more)

    assert (taken.status_code, refused.status_code) == (200, 422)
    assert len(refused.content) < 500


@pytest.mark.parametrize("content", LOOKS_LIKE_MORE.values(), ids=LOOKS_LIKE_MORE)
async def test_what_stands_in_a_text_is_not_counted(
    anyone: httpx.AsyncClient, content: bytes
) -> None:
    answer = await send(anyone, content)

    assert answer.status_code == 200
    assert answer.json() == json.loads(content)


async def test_a_body_is_read_once(
    anyone: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    class Decoder(json.JSONDecoder):
        def decode(self, s: str, *args: Any) -> Any:
            read.append(s)
            return super().decode(s)

    monkeypatch.setattr(body, "_DECODER", Decoder())

    await send(anyone, b'{"a": 1.5e300, "b": {"c": ":"}}')

    assert len(read) == 1


async def test_of_many_errors_the_first_are_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/boxes", json={f"unknown-{number}": 1 for number in range(60)})

    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    assert answer.json()["detail"].endswith(" 61 errors were found; the first 20 are listed.")


async def test_others_have_their_turn_while_a_batch_is_read() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    items = [{f"unknown-{number}": 1 for number in range(38)}] * LARGEST_BATCH
    read = await read_items(BoxNew, items)
    other.cancel()

    assert len(read) == LARGEST_BATCH
    assert all(isinstance(one, Problem) for one in read)
    assert turns >= LARGEST_BATCH // ITEMS_AT_ONCE - 1
