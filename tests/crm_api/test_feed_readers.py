"""Readers of the feed say how far they are."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from crm_api.feed import readers
from service_kit.process import clock
from tests.conftest import bearer
from tests.crm_api.conftest import (
    READERS,
    announce,
    announced,
    cursor_at,
    fall_silent,
    prune,
    read_feed,
    refusal,
    register,
    sequences,
)

LATER = timedelta(days=1)
SEVEN_DAYS = timedelta(days=7)


async def listed(crm: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await crm.get(READERS, params=query)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()
    return found


def slug_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:problem:")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Stop the clock; a test sets it."""
    found = [datetime(2026, 1, 5, 12, tzinfo=UTC)]
    monkeypatch.setattr(clock, "now", lambda: found[0])
    return found


async def test_a_reader_says_how_far_it_is_and_is_believed_for_seven_days(
    crm: httpx.AsyncClient, now: list[datetime]
) -> None:
    await register(crm, 1, 2, 3)

    new = await announce(crm, "data-warehouse", 2, cursor=await cursor_at(crm, 2))

    assert new.status_code == 201
    assert new.json() == {
        "name": "data-warehouse",
        "position": 2,
        "announced_at": "2026-01-05T12:00:00Z",
        "expires_at": "2026-01-12T12:00:00Z",
    }
    now[0] += LATER
    again = await announce(crm, "data-warehouse", 3, cursor=await cursor_at(crm, 3))
    assert again.status_code == 200
    assert again.json() == {
        "name": "data-warehouse",
        "position": 3,
        "announced_at": "2026-01-06T12:00:00Z",
        "expires_at": "2026-01-13T12:00:00Z",
    }
    assert await listed(crm) == [again.json()]


async def test_a_reader_before_its_first_page_has_no_cursor(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)

    assert (await announced(crm, "new", 0))["position"] == 0
    assert (await prune(crm)).deleted == 0
    assert sequences(await read_feed(crm)) == [1]


async def test_a_reader_may_need_earlier_events_than_it_has_read(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    cursor = await cursor_at(crm, 3)

    assert (await announce(crm, "sender", 1, cursor=cursor)).json()["position"] == 1

    assert (await prune(crm)).deleted == 1
    assert (await crm.get("/api/events/2")).status_code == 200
    # What is gone keeps nobody from saying how far it is.
    assert (await announce(crm, "sender", 0, cursor=cursor)).status_code == 200


@pytest.mark.parametrize(("position", "read"), [(1, None), (3, 2), (2**63 - 1, 2)])
async def test_nobody_is_further_than_its_cursor(
    crm: httpx.AsyncClient, position: int, read: int | None
) -> None:
    await register(crm, 1, 2, 3)
    await read_feed(crm)
    cursor = {} if read is None else {"cursor": await cursor_at(crm, read)}

    answer = await announce(crm, "eager", position, **cursor)

    assert slug_of(answer) == (422, "invalid-request")
    assert answer.json()["errors"] == [
        {"loc": ["body", "position"], "msg": "must not be beyond the cursor"}
    ]
    assert await listed(crm) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"cursor": "x"},
        {"position": -1},
        {"position": 2**63},
        {"position": "0"},
        {"position": True},
        {"position": None},
        {"position": 0, "cursor": 1},
        {"position": 0, "cursor": "x" * 201},
        {"position": 0, "name": "other"},
    ],
)
async def test_a_body_that_says_no_position_is_refused(crm: httpx.AsyncClient, body: Any) -> None:
    assert slug_of(await crm.put(f"{READERS}/one", json=body)) == (422, "invalid-request")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("a", 201),
        ("0-9", 201),
        ("x" * 64, 201),
        ("x" * 65, 422),
        ("A", 422),
        ("a_b", 422),
        ("a%0a", 422),
        ("%20", 422),
    ],
)
async def test_a_name_is_of_small_letters_digits_and_hyphens(
    crm: httpx.AsyncClient, name: str, status: int
) -> None:
    assert (await announce(crm, name, 0)).status_code == status
    assert len(await listed(crm)) == (status == 201)


async def test_a_cursor_is_refused_as_the_feed_refuses_it(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    cursor = await cursor_at(crm, 1)
    other = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    await prune(crm)

    for text, wanted in {
        "x": (400, "cursor-malformed"),
        "": (400, "cursor-malformed"),
        other: (409, "feed-diverged"),
        cursor: (410, "cursor-expired"),
    }.items():
        assert await refusal(crm, after=text) == wanted
        assert slug_of(await announce(crm, "late", 0, cursor=text)) == wanted
    assert await refusal(crm) == slug_of(await announce(crm, "late", 0)) == (410, "cursor-expired")
    assert await listed(crm) == []


async def test_a_refused_announcement_leaves_the_one_before(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    before = await announced(crm, "one", 1)

    await announce(crm, "one", 2, cursor="x")

    assert await listed(crm) == [before]


async def test_readers_are_listed_in_pages_the_newest_last(crm: httpx.AsyncClient) -> None:
    for name in ("c", "a", "b"):
        await announced(crm, name, 0)
    await announced(crm, "c", 0)

    first = await crm.get(READERS, params={"limit": 2})
    rest = await listed(crm, limit=2, cursor=first.headers["x-next-cursor"])

    assert [one["name"] for one in first.json() + rest] == ["c", "a", "b"]
    assert 'rel="next"' in first.headers["link"]


async def test_a_removed_reader_holds_nothing_and_is_named_in_the_log(
    crm: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await register(crm, 1)
    await announced(crm, "gone", 0)
    await announced(crm, "other", 0)
    caplog.set_level("INFO")

    assert (await crm.delete(f"{READERS}/gone")).status_code == 204

    assert "admin has removed the feed reader gone." in caplog.messages
    assert [one["name"] for one in await listed(crm)] == ["other"]
    again = await crm.delete(f"{READERS}/gone")
    assert slug_of(again) == (404, "feed-reader-not-found")
    await crm.delete(f"{READERS}/other")
    assert (await prune(crm)).deleted == 1


async def test_a_reader_that_says_nothing_for_seven_days_is_none(
    crm: httpx.AsyncClient, now: list[datetime]
) -> None:
    await announced(crm, "silent", 0)
    now[0] += SEVEN_DAYS - timedelta.resolution
    assert [one["name"] for one in await listed(crm)] == ["silent"]

    now[0] += timedelta.resolution

    assert await listed(crm) == []
    assert slug_of(await crm.delete(f"{READERS}/silent")) == (404, "feed-reader-not-found")
    assert (await announce(crm, "silent", 0)).status_code == 201


async def test_there_are_a_hundred_readers_at_most(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert readers.MOST_READERS == 100
    monkeypatch.setattr(readers, "MOST_READERS", 3)
    for name in ("a", "b", "c"):
        await announced(crm, name, 0)

    assert slug_of(await announce(crm, "d", 0)) == (409, "too-many-feed-readers")
    await announced(crm, "a", 0)
    await fall_silent(crm, "b", SEVEN_DAYS)
    await announced(crm, "d", 0)

    assert [one["name"] for one in await listed(crm)] == ["a", "c", "d"]


async def test_two_readers_that_come_at_once_are_both_there(crm: httpx.AsyncClient) -> None:
    await asyncio.gather(*(announced(crm, name, 0) for name in ("a", "b", "a", "b")))

    assert sorted(one["name"] for one in await listed(crm)) == ["a", "b"]


async def test_the_integration_and_who_is_issued_the_scope_may_announce(
    crm: httpx.AsyncClient,
) -> None:
    body = {"position": 0}
    wanted = {"integration123": 201, "admin123": 200, "agent123": 403, "viewer123": 403}
    for token, status in wanted.items():
        answer = await crm.put(f"{READERS}/one", json=body, headers=bearer(token))
        assert answer.status_code == status, token
