"""The change feed: what an event looks like, and what a page covers."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from opentelemetry.trace import SpanKind
from sqlalchemy import Connection

from crm_api.feed import service, store
from crm_api.feed.schemas import Event, FeedPage
from service_kit.process import tracing
from tests.crm_api.conftest import (
    announced,
    app_of,
    change_from_outside,
    covered,
    interrupted,
    numbered,
    prune,
    read_feed,
    register,
    sequences,
    take_positions_back,
)
from tests.statements import statements

FEED = "/api/events"


async def test_an_event_is_a_cloud_event(crm: httpx.AsyncClient) -> None:
    sent = numbered(1, company="Example Ltd", metadata={"plan": "日本語"}, external_ref="shop-1")
    customer = (await crm.post("/api/customers", json=sent)).json()

    answer = await crm.get(FEED)

    [event] = answer.json()["events"]
    assert answer.headers["content-type"] == "application/json"
    assert UUID(event.pop("id")).version == 7
    age = datetime.now(UTC) - datetime.fromisoformat(event["time"])
    assert event.pop("time").endswith("Z")
    assert timedelta(0) <= age < timedelta(seconds=10)
    assert event == {
        "specversion": "1.0",
        "source": "/crm",
        "type": "customer.created",
        "subject": customer["uid"],
        "sequence": 1,
        "datacontenttype": "application/json",
        "data": customer,
    }


async def test_an_event_names_the_span_it_came_about_in(crm: httpx.AsyncClient) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with tracing.span("test", SpanKind.SERVER, [parent]):
        await register(crm, 1)
    await register(crm, 2)

    traced, other = (await read_feed(crm))["events"]

    assert traced["traceparent"] == parent
    assert "traceparent" not in other


async def test_a_page_is_written_as_its_models_write_it(crm: httpx.AsyncClient) -> None:
    odd = {
        "name": 'Zoë "\\" <&> \U0001f600',
        "email": "zoe@example.com",
        "metadata": {"a": "\U0001f600"},
    }
    assert (await crm.post("/api/customers", json=odd)).status_code == 201
    with tracing.span("test", SpanKind.SERVER, [f"00-{'a' * 32}-{'b' * 16}-01"]):
        await register(crm, 1)

    for path in (FEED, f"{FEED}?limit=1", f"{FEED}?types=ticket.created"):
        written = (await crm.get(path)).content
        assert written == FeedPage.model_validate_json(written).model_dump_json().encode()


async def test_a_page_has_the_fields_of_the_contract(crm: httpx.AsyncClient) -> None:
    page = await read_feed(crm)

    assert set(page) == {
        "events",
        "from_position",
        "through_position",
        "head_position",
        "next_cursor",
        "has_more",
    }


async def test_each_change_is_told_as_it_was_and_keeps_its_place(crm: httpx.AsyncClient) -> None:
    first, _ = await register(crm, 1, 2)
    changed = (await crm.patch("/api/customers/1", json={"name": "New"})).json()

    page = await read_feed(crm)

    assert [(event["type"], event["data"]["name"]) for event in page["events"]] == [
        ("customer.created", "Customer 1"),
        ("customer.created", "Customer 2"),
        ("customer.updated", "New"),
    ]
    assert [event["data"] for event in page["events"] if event["subject"] == first["uid"]] == [
        first,
        changed,
    ]
    assert len({event["id"] for event in page["events"]}) == 3
    assert await read_feed(crm) == page


async def test_a_customer_who_comes_alone_is_numbered_in_the_same_commit(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2)

    with statements() as sent:
        page = await read_feed(crm)

    assert sequences(page) == [1, 2]
    assert not [one for one in sent if one.lstrip().startswith("UPDATE")]


async def test_what_was_left_without_a_position_comes_before_what_is_new(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2)
    take_positions_back(crm, behind=1)
    await register(crm, 3)
    await crm.patch("/api/customers/2", json={"name": "Renamed"})

    events = (await read_feed(crm))["events"]

    assert [event["sequence"] for event in events] == [1, 2, 3, 4]
    assert [(event["type"].rpartition(".")[2], event["data"]["id"]) for event in events] == [
        ("created", 1),
        ("created", 2),
        ("created", 3),
        ("updated", 2),
    ]


async def test_who_is_refused_takes_no_position(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)
    assert (await crm.post("/api/customers", json=numbered(1))).status_code == 409
    await register(crm, 2)

    assert sequences(await read_feed(crm)) == [1, 2]


async def test_an_empty_feed_covers_nothing(crm: httpx.AsyncClient) -> None:
    page = await read_feed(crm)

    assert page["events"] == []
    assert covered(page) == (1, 0, 0, False)
    assert covered(await read_feed(crm, after=page["next_cursor"])) == (1, 0, 0, False)


async def test_pages_follow_each_other_without_a_hole(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers/batch", json=[numbered(number) for number in range(7)])
    after: dict[str, Any] = {}
    seen = []

    for expected in ((1, 3, 7, True), (4, 6, 7, True), (7, 7, 7, False), (8, 7, 7, False)):
        page = await read_feed(crm, limit=3, **after)
        assert covered(page) == expected
        after = {"after": page["next_cursor"]}
        seen += sequences(page)

    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_a_page_that_is_full_at_the_head_says_whether_there_is_more(
    crm: httpx.AsyncClient,
) -> None:
    """More may be committed than is numbered: a reader that stops at the end must get it too."""
    await register(crm, 1, 2, 3)
    assert (await read_feed(crm, limit=3))["has_more"] is False
    await register(crm, 4, 5)

    page = await read_feed(crm, limit=3)

    assert sequences(page) == [1, 2, 3]
    assert page["has_more"] is True


async def test_who_reads_until_there_is_no_more_reads_all_that_was_committed(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ASSIGNED_AT_ONCE", 3)
    for count in range(1, 9):
        await crm.post("/api/customers/batch", json=[numbered(count * 10 + n) for n in range(4)])
        page = await read_feed(crm, limit=count)
        seen = sequences(page)
        while page["has_more"]:
            page = await read_feed(crm, limit=count, after=page["next_cursor"])
            seen += sequences(page)
        assert seen == list(range(1, 4 * count + 1))


async def test_five_hundred_events_fit_a_page(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers/batch", json=[numbered(number) for number in range(500)])
    await register(crm, 500)

    assert covered(await read_feed(crm, limit=500)) == (1, 500, 501, True)
    assert len((await read_feed(crm))["events"]) == 50


@pytest.fixture
async def mixed(crm: httpx.AsyncClient) -> httpx.AsyncClient:
    """Give a feed of created, updated, updated, created, updated."""
    await register(crm, 1)
    for name in ("A", "B"):
        await crm.patch("/api/customers/1", json={"name": name})
    await register(crm, 2)
    await crm.patch("/api/customers/1", json={"name": "C"})
    return crm


@pytest.mark.parametrize(
    ("types", "limit", "events", "through", "has_more"),
    [
        ("customer.created", 50, [1, 4], 5, False),
        ("customer.updated", 50, [2, 3, 5], 5, False),
        ("customer.updated,customer.created", 50, [1, 2, 3, 4, 5], 5, False),
        (" customer.created , customer.erased ", 50, [1, 4], 5, False),
        ("customer.erased", 50, [], 5, False),
        ("ticket.created", 1, [], 5, False),
        ("customer.created", 1, [1], 1, True),
        ("customer.created", 2, [1, 4], 4, True),
        ("customer.updated", 2, [2, 3], 3, True),
        ("customer.updated", 3, [2, 3, 5], 5, False),
        ("", 50, [1, 2, 3, 4, 5], 5, False),
    ],
)
async def test_types_pass_over_positions_and_still_cover_them(
    mixed: httpx.AsyncClient,
    types: str,
    limit: int,
    events: list[int],
    through: int,
    has_more: bool,
) -> None:
    page = await read_feed(mixed, types=types, limit=limit)

    assert sequences(page) == events
    assert covered(page) == (1, through, 5, has_more)


async def test_a_cursor_serves_whatever_types_are_asked_for(mixed: httpx.AsyncClient) -> None:
    """It may stand at a position whose event the page passed over."""
    none = await read_feed(mixed, types="customer.erased")
    await register(mixed, 3)

    page = await read_feed(mixed, after=none["next_cursor"])

    assert sequences(page) == [6]
    assert covered(page) == (6, 6, 6, False)


async def test_a_cursor_behind_events_of_other_types_leads_on(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    await crm.patch("/api/customers/1", json={"company": "Example Ltd"})

    page = await read_feed(crm, types="customer.created")
    following = await read_feed(crm, after=page["next_cursor"])

    assert sequences(page) == [1, 2]
    assert covered(following) == (4, 3, 3, False)


async def test_a_search_for_a_rare_type_goes_a_window_at_a_time(
    mixed: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WINDOW", 2)

    first = await read_feed(mixed, types="customer.erased", wait=25)
    second = await read_feed(mixed, types="customer.erased", wait=25, after=first["next_cursor"])
    third = await read_feed(mixed, types="customer.erased", after=second["next_cursor"])

    assert [covered(page) for page in (first, second, third)] == [
        (1, 2, 5, True),
        (3, 4, 5, True),
        (5, 5, 5, False),
    ]


async def test_one_event_is_looked_up_as_the_feed_shows_it(crm: httpx.AsyncClient) -> None:
    with tracing.span("test", SpanKind.SERVER, [f"00-{'a' * 32}-{'b' * 16}-01"]):
        await register(crm, 1)
    await register(crm, 2)
    await crm.post("/api/tickets", json={"customer_id": 1, "subject": "?", "description": "日本"})
    shown = (await read_feed(crm))["events"]

    for event in shown:
        answer = await crm.get(f"{FEED}/{event['sequence']}")
        assert answer.status_code == 200
        assert answer.json() == event
        assert answer.headers["content-type"] == "application/json"
        assert (
            answer.content == Event.model_validate_json(answer.content).model_dump_json().encode()
        )


async def test_an_event_of_somebody_who_was_erased_is_looked_up_blanked(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1)
    await read_feed(crm)
    before = (await crm.get(f"{FEED}/1")).json()
    await crm.delete("/api/customers/1")

    after = (await crm.get(f"{FEED}/1")).json()

    assert before["data"]["name"] == "Customer 1"
    assert (after["data"]["name"], after["data"]["email"]) == ("", "")
    assert after == before | {"data": after["data"]}
    assert after == (await read_feed(crm))["events"][0]


async def test_an_event_that_is_not_there_yet_is_told_from_one_that_is_pruned(
    crm: httpx.AsyncClient,
) -> None:
    async def look_up(sequence: object) -> tuple[int, str]:
        answer = await crm.get(f"{FEED}/{sequence}")
        return answer.status_code, answer.json()["type"].removeprefix("urn:problem:")

    assert await look_up(1) == (404, "event-not-found")
    await register(crm, 1, 2)
    take_positions_back(crm)
    assert (await crm.get(f"{FEED}/2")).status_code == 200
    assert await look_up(3) == (404, "event-not-found")
    assert await look_up(2**63 - 1) == (404, "event-not-found")
    for strange in (0, -1, 2**63, "x"):
        assert await look_up(strange) == (422, "invalid-request")

    await announced(crm, "one", 1)
    await prune(crm)

    assert await look_up(1) == (410, "cursor-expired")
    assert (await crm.get(f"{FEED}/2")).status_code == 200
    assert await look_up(3) == (404, "event-not-found")


async def test_an_event_is_found_though_nobody_has_read_that_far(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    take_positions_back(crm)

    first = (await crm.get(f"{FEED}/1")).json()

    assert [first["sequence"], first["data"]["name"]] == [1, "Customer 1"]
    assert first == (await read_feed(crm))["events"][0]


@pytest.mark.parametrize("step", range(2))
async def test_an_event_that_is_pruned_while_it_is_looked_up_is_found_or_pruned(
    crm: httpx.AsyncClient, step: int
) -> None:
    await register(crm, 1, 2)
    await read_feed(crm)
    url = app_of(crm).state.settings.database_url
    pruned = (
        "DELETE FROM events WHERE position <= 1",
        "UPDATE feed_head SET pruned_position = 1",
    )

    def look(db: Connection) -> store.ShownEvent:
        with interrupted(db, step, lambda: change_from_outside(url, *pruned)):
            return service.get(db, 1)[0]

    try:
        found = await app_of(crm).state.database.read(look)
    except service.EventPruned:
        return
    assert found.position == 1
