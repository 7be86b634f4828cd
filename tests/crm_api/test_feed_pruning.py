"""What happens to the feed's positions and readers when its oldest events are deleted."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import Connection

from crm_api.feed import readers, service
from crm_api.feed.schemas import FeedReaderPut
from crm_api.feed.service import Pruned
from service_kit.database import open_database
from service_kit.process.clock import rfc3339
from tests.crm_api.conftest import (
    announced,
    app_of,
    change_from_outside,
    covered,
    cursor_at,
    fall_silent,
    interrupted,
    prune,
    read_feed,
    refusal,
    register,
    sequences,
    take_positions_back,
)
from tests.statements import before_each_statement

LATER = timedelta(days=1)


async def pruned(crm: httpx.AsyncClient, before: datetime | None = None) -> int:
    """Delete events that no reader needs. Returns how many."""
    return (await prune(crm, before)).deleted


async def test_who_has_not_read_what_was_pruned_is_told_so(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    cursors = [(await read_feed(crm, limit=limit))["next_cursor"] for limit in (1, 2, 3)]
    cutoff = datetime.now(UTC)
    await register(crm, 4, 5)
    await read_feed(crm)

    assert await pruned(crm, cutoff) == 3

    assert await refusal(crm) == (410, "cursor-expired")
    assert await refusal(crm, wait=25) == (410, "cursor-expired")
    assert await refusal(crm, after=cursors[0]) == (410, "cursor-expired")
    assert await refusal(crm, after=cursors[1]) == (410, "cursor-expired")
    page = await read_feed(crm, after=cursors[2])
    assert sequences(page) == [4, 5]
    assert covered(page) == (4, 5, 5, False)


async def test_positions_go_on_when_nothing_is_left(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    cursor = (await read_feed(crm))["next_cursor"]
    assert await pruned(crm) == 3

    empty = await read_feed(crm, after=cursor)
    await register(crm, 4)

    assert covered(empty) == (4, 3, 3, False)
    for after in (cursor, empty["next_cursor"]):
        assert sequences(await read_feed(crm, after=after)) == [4]


async def test_a_snapshot_leads_on_after_everything_was_pruned(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    await read_feed(crm)
    await pruned(crm)

    snapshot = await crm.get("/api/customers")
    await register(crm, 3)

    page = await read_feed(crm, after=snapshot.headers["x-feed-cursor"])
    assert len(snapshot.json()) == 2
    assert sequences(page) == [3]


async def test_pruning_goes_on_until_all_that_is_old_is_gone(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PRUNED_AT_ONCE", 2)
    await register(crm, 1, 2, 3, 4, 5)
    cursor = (await read_feed(crm))["next_cursor"]

    assert await pruned(crm) == 5
    assert await pruned(crm) == 0
    assert covered(await read_feed(crm, after=cursor)) == (6, 5, 5, False)


async def test_pruning_leaves_what_is_young(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    before = await read_feed(crm)

    assert await pruned(crm, datetime.now(UTC) - LATER) == 0
    assert await read_feed(crm) == before


async def test_an_event_of_the_very_instant_is_not_older_than_it(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    times = [datetime.fromisoformat(one["time"]) for one in (await read_feed(crm))["events"]]

    assert await pruned(crm, times[1]) == 1
    assert await pruned(crm, times[1] + timedelta.resolution) == 1


async def test_a_feed_that_nobody_reads_is_pruned_too(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    take_positions_back(crm)

    assert await pruned(crm) == 2
    assert await refusal(crm) == (410, "cursor-expired")


@pytest.mark.parametrize("types", ["", "customer.created"])
@pytest.mark.parametrize("step", range(3))
async def test_a_page_is_whole_or_refused_when_its_start_is_pruned_meanwhile(
    crm: httpx.AsyncClient, step: int, types: str
) -> None:
    await register(crm, 1, 2, 3, 4)
    await read_feed(crm)
    database = app_of(crm).state.database
    url = app_of(crm).state.settings.database_url
    pruned = (
        "DELETE FROM events WHERE position <= 2",
        "UPDATE feed_head SET pruned_position = 2",
    )

    def look(db: Connection) -> service.Page:
        wanted = [part for part in types.split(",") if part]
        with interrupted(db, step, lambda: change_from_outside(url, *pruned)):
            return service.page(db, None, wanted, 50)

    try:
        page = await database.read(look)
    except service.CursorExpired:
        return
    assert page.from_position == 1
    assert [row.position for row in page.rows] == [1, 2, 3, 4]


async def test_pruning_stops_at_the_slowest_reader_and_names_it(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3, 4, 5)
    await announced(crm, "fast", 4)
    cursor = await cursor_at(crm, 2)
    slow = await announced(crm, "slow", 2)

    done = await prune(crm)

    assert (done.deleted, done.kept) == (2, 3)
    assert done.kept_for is not None
    assert (done.kept_for.name, done.kept_for.position) == ("slow", 2)
    assert rfc3339(done.kept_for.expires_at) == slow["expires_at"]
    assert sequences(await read_feed(crm, after=cursor)) == [3, 4, 5]
    again = await prune(crm)
    assert (again.deleted, again.kept, again.kept_for) == (0, 3, done.kept_for)


async def test_of_readers_at_one_place_the_one_is_named_that_is_believed_longest(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1)
    for name in ("a", "b", "c"):
        await announced(crm, name, 0)
    await fall_silent(crm, "a", timedelta(days=3))
    await fall_silent(crm, "b", timedelta(days=2))
    await fall_silent(crm, "c", timedelta(days=4))

    kept_for = (await prune(crm)).kept_for

    assert kept_for is not None
    assert kept_for.name == "b"


async def test_who_is_slow_and_needs_only_young_events_holds_nothing(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2)
    await announced(crm, "one", 2)
    cutoff = datetime.now(UTC)
    await register(crm, 3, 4)

    assert await prune(crm, cutoff) == Pruned(deleted=2)
    assert await prune(crm, cutoff) == Pruned(deleted=0)


async def test_only_old_events_are_counted_as_kept(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    cutoff = datetime.now(UTC)
    await register(crm, 4, 5)
    await announced(crm, "one", 1)

    done = await prune(crm, cutoff)

    assert (done.deleted, done.kept) == (1, 2)


@pytest.mark.parametrize(("silence", "deleted"), [(6, 0), (7, 2), (70, 2)])
async def test_a_reader_that_says_nothing_for_seven_days_holds_nothing(
    crm: httpx.AsyncClient, silence: int, deleted: int
) -> None:
    await register(crm, 1, 2)
    await announced(crm, "silent", 0)
    await fall_silent(crm, "silent", timedelta(days=silence))

    assert (await prune(crm)).deleted == deleted


async def test_who_says_force_deletes_what_readers_need(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    await announced(crm, "slow", 1)
    cursor = await cursor_at(crm, 1)

    assert await prune(crm, force=True) == Pruned(deleted=3)
    assert await refusal(crm, after=cursor) == (410, "cursor-expired")


async def test_a_hold_is_found_again_after_each_small_transaction(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PRUNED_AT_ONCE", 2)
    await register(crm, 1, 2, 3, 4, 5, 6, 7)
    await announced(crm, "slow", 5)

    done = await prune(crm)

    assert (done.deleted, done.kept) == (5, 2)


async def test_who_announces_itself_while_events_are_deleted(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2, 3)
    await read_feed(crm)
    url = app_of(crm).state.settings.database_url
    answers: list[object] = []
    other = threading.Thread(target=lambda: answers.append(announce_from_outside(url)))

    def come_between(statement: str) -> None:
        if statement.startswith("DELETE FROM events") and not other.is_alive() and not answers:
            other.start()
            other.join(0.5)  # which it waits for the lock, where there is one

    with before_each_statement(come_between):
        done = await prune(crm)
        await asyncio.to_thread(other.join)

    assert done.deleted == 3
    assert answers == ["cursor-expired"]


def announce_from_outside(url: str) -> str:
    """Announce a reader at the start, as another process does. Returns what became of it."""

    async def work() -> str:
        database = open_database(url)
        await database.open()
        try:
            await database.write(readers.announce, "outside", FeedReaderPut(position=0))
        except service.CursorExpired as refused:
            return refused.slug
        finally:
            await database.close()
        return "accepted"

    return asyncio.run(work())
