"""What happens to the feed's positions and readers when its oldest events are deleted."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import Connection

from crm_api.feed import service
from tests.crm_api.conftest import (
    app_of,
    change_from_outside,
    covered,
    interrupted,
    read_feed,
    refusal,
    register,
    sequences,
)

LATER = timedelta(days=1)


async def prune(crm: httpx.AsyncClient, before: datetime | None = None) -> int:
    """Delete events older than an instant; by default, all that are numbered."""
    database = app_of(crm).state.database
    return (await service.prune(database, before or datetime.now(UTC) + LATER)).deleted


async def test_who_has_not_read_what_was_pruned_is_told_so(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    cursors = [(await read_feed(crm, limit=limit))["next_cursor"] for limit in (1, 2, 3)]
    cutoff = datetime.now(UTC)
    await register(crm, 4, 5)
    await read_feed(crm)

    assert await prune(crm, cutoff) == 3

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
    assert await prune(crm) == 3

    empty = await read_feed(crm, after=cursor)
    await register(crm, 4)

    assert covered(empty) == (4, 3, 3, False)
    for after in (cursor, empty["next_cursor"]):
        assert sequences(await read_feed(crm, after=after)) == [4]


async def test_a_snapshot_leads_on_after_everything_was_pruned(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    await read_feed(crm)
    await prune(crm)

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

    assert await prune(crm) == 5
    assert await prune(crm) == 0
    assert covered(await read_feed(crm, after=cursor)) == (6, 5, 5, False)


async def test_pruning_leaves_what_is_young(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    before = await read_feed(crm)

    assert await prune(crm, datetime.now(UTC) - LATER) == 0
    assert await read_feed(crm) == before


async def test_an_event_of_the_very_instant_is_not_older_than_it(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    times = [datetime.fromisoformat(one["time"]) for one in (await read_feed(crm))["events"]]

    assert await prune(crm, times[1]) == 1
    assert await prune(crm, times[1] + timedelta.resolution) == 1


async def test_a_feed_that_nobody_reads_is_pruned_too(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)

    assert await prune(crm) == 2
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
