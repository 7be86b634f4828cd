"""The feed's cursors: one spelling, one database, and never a silent skip after a restore."""

from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from crm_api.app import create_app
from crm_api.commands import SERVICE
from crm_api.feed.cursor import FeedCursor, MalformedCursor
from crm_api.settings import Settings
from tests.conftest import NewDatabase, running
from tests.crm_api.conftest import (
    change_database,
    change_from_outside,
    read_feed,
    refusal,
    register,
    sequences,
)

FEED = "/api/events"


async def restore(crm: httpx.AsyncClient, head: int) -> None:
    """Make the database what a backup from the time of this position would have been."""
    await change_database(
        crm,
        f"DELETE FROM customers WHERE id > {head}",  # noqa: S608
        f"DELETE FROM events WHERE position > {head}",  # noqa: S608
        f"UPDATE feed_head SET last_position = {head}",  # noqa: S608
    )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
async def test_any_text_is_answered(shared_crm: httpx.AsyncClient, text: str) -> None:
    assert await refusal(shared_crm, after=text) == (400, "cursor-malformed")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(position=st.integers(0, 2**64 - 1), mark=st.binary(min_size=8, max_size=8))
@example(position=2**63 - 1, mark=bytes(8))
@example(position=2**63, mark=bytes(8))
@example(position=2**64 - 1, mark=bytes(8))
@example(position=0, mark=b"anything")
@example(position=1, mark=bytes(8))
async def test_a_forged_cursor_never_leads_anywhere_else(
    shared_crm: httpx.AsyncClient, position: int, mark: bytes
) -> None:
    now = FeedCursor.decode((await read_feed(shared_crm, limit=500))["next_cursor"])
    assume(position == 0 or mark != now.event_mark)
    forged = FeedCursor(now.epoch, position, mark).encode()

    answer = await shared_crm.get(FEED, params={"after": forged})

    expected = 200 if position == 0 else 400 if position >= 2**63 else 409
    assert answer.status_code == expected
    if position == 0:
        assert answer.json()["from_position"] == 1


@given(
    epoch=st.binary(min_size=8, max_size=8),
    position=st.integers(0, 2**63 - 1),
    mark=st.binary(min_size=8, max_size=8),
)
def test_a_cursor_comes_back_as_it_was_and_has_one_spelling(
    epoch: bytes, position: int, mark: bytes
) -> None:
    cursor = FeedCursor(epoch.hex(), position, mark)
    text = cursor.encode()

    assert FeedCursor.decode(text) == cursor
    assert text.isascii()
    assert "=" not in text
    for other in (f"{text} ", f"{text}A", text[:-1], f"{text[:5]}\n{text[5:]}", f" {text}"):
        with pytest.raises(MalformedCursor):
            FeedCursor.decode(other)


async def test_a_cursor_of_another_database_has_diverged(
    crm: httpx.AsyncClient, new_database: NewDatabase
) -> None:
    await register(crm, 1, 2)
    elsewhere = Settings(database_url=new_database("crm_api"), seed_demo_data=False)
    # A template is copied with its epoch; a database that was migrated for itself has its own.
    change_from_outside(elsewhere.database_url, "UPDATE feed_head SET epoch = '00112233aabbccdd'")
    async with running(create_app(elsewhere), token="admin123") as other:
        start = (await read_feed(other))["next_cursor"]
        await register(other, 1, 2)
        for limit in (1, 2):
            theirs = (await read_feed(other, limit=limit))["next_cursor"]
            assert await refusal(crm, after=theirs) == (409, "feed-diverged")
        snapshot = (await other.get("/api/customers")).headers["x-feed-cursor"]
    for theirs in (start, snapshot):
        assert await refusal(crm, after=theirs) == (409, "feed-diverged")


async def test_every_database_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    epochs = set()
    for name in ("one", "two"):
        url = f"sqlite:///{tmp_path / name}"
        SERVICE.migrations().upgrade(url)
        app = create_app(Settings(database_url=url, seed_demo_data=False))
        async with running(app, token="admin123") as crm:
            epochs.add(FeedCursor.decode((await read_feed(crm))["next_cursor"]).epoch)
    assert len(epochs) == 2


async def test_a_cursor_beyond_the_head_has_diverged(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    cursor = (await read_feed(crm))["next_cursor"]
    await restore(crm, head=2)

    assert await refusal(crm, after=cursor) == (409, "feed-diverged")
    assert await refusal(crm, after=cursor, wait=25) == (409, "feed-diverged")


async def test_a_cursor_at_an_event_that_is_another_now_has_diverged(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2, 3, 4)
    cursors = [(await read_feed(crm, limit=limit))["next_cursor"] for limit in (1, 2, 3, 4)]
    await restore(crm, head=2)
    await register(crm, 5, 6, 7)
    assert sequences(await read_feed(crm)) == [1, 2, 3, 4, 5]

    answers = [await refusal(crm, after=cursor) for cursor in cursors]

    assert answers == [(200, "")] * 2 + [(409, "feed-diverged")] * 2
    page = await read_feed(crm, after=cursors[1])
    assert [event["data"]["name"] for event in page["events"]] == [
        f"Customer {number}" for number in (5, 6, 7)
    ]


async def test_a_snapshots_cursor_diverges_too(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    await read_feed(crm)
    snapshot = (await crm.get("/api/customers")).headers["x-feed-cursor"]
    await restore(crm, head=1)
    await register(crm, 3)
    await read_feed(crm)

    assert await refusal(crm, after=snapshot) == (409, "feed-diverged")
