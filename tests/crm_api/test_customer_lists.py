"""Lists: filters, orders, pages; every customer once, whatever the size of a page."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from crm_api.customers import service, store
from crm_api.customers.store import Filter
from crm_api.feed import service as feed
from crm_api.feed import store as feed_store
from service_kit.database import DatabaseUnavailable
from tests.crm_api.conftest import (
    app_of,
    change_database,
    interrupted,
    numbered,
    read_feed,
    register,
    register_from_outside,
    take_positions_back,
)

LIST = "/api/customers"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


async def ids(crm: httpx.AsyncClient, **query: Any) -> list[int]:
    answer = await crm.get(LIST, params=query)
    assert answer.status_code == 200, answer.text
    return [customer["id"] for customer in answer.json()]


async def walk(crm: httpx.AsyncClient, address: str) -> list[list[int]]:
    """Follow the Link headers from an address. Returns the ids on each page."""
    pages = []
    while address:
        answer = await crm.get(address)
        assert answer.status_code == 200
        pages.append([customer["id"] for customer in answer.json()])
        address = str(answer.links.get("next", {}).get("url", ""))
        assert bool(address) == ("x-next-cursor" in answer.headers)
        if address:
            assert httpx.URL(address).params["cursor"] == answer.headers["x-next-cursor"]
    return pages


async def test_a_list_is_an_array_newest_last(crm: httpx.AsyncClient) -> None:
    customers = await register(crm, 2, 1, 3)

    answer = await crm.get(LIST)

    assert answer.json() == customers
    assert "link" not in answer.headers
    assert "x-next-cursor" not in answer.headers


async def test_an_empty_list_is_an_empty_array(crm: httpx.AsyncClient) -> None:
    assert (await crm.get(LIST)).json() == []


async def test_minus_id_is_newest_first(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)

    assert await ids(crm, sort="-id") == [3, 2, 1]
    assert await ids(crm, sort="id") == [1, 2, 3]


@pytest.mark.parametrize(
    ("registered", "asked"),
    [
        ("info@xn--bcher-kva.example.com", "INFO@xn--bcher-kva.example.com"),
        ("info@xn--bcher-kva.example.com", "info@bücher.example.com"),
        ("info@bücher.example.com", "info@xn--bcher-kva.example.com"),
        ("ju\u0308rgen@example.com", "ju\u0308rgen@example.com"),
        ("ju\u0308rgen@example.com", "jürgen@example.com"),
        ("jürgen@EXAMPLE.com", "JU\u0308RGEN@example.com"),
        ("jane@example.com", "  Jane@Example.com "),
    ],
)
async def test_an_address_is_found_by_what_was_sent(
    crm: httpx.AsyncClient, registered: str, asked: str
) -> None:
    await register(crm, 1)
    made = await crm.post(LIST, json={"name": "A", "email": registered})

    assert made.status_code == 201
    assert await ids(crm, email=registered) == await ids(crm, email=asked) == [2]
    assert await ids(crm, email=made.json()["email"]) == [2]


async def test_fifty_are_shown_unless_a_limit_is_given(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers/batch", json=[numbered(number) for number in range(60)])

    assert await ids(crm) == list(range(1, 51))
    assert await ids(crm, limit=1) == [1]
    assert await ids(crm, limit=500) == list(range(1, 61))


@pytest.mark.parametrize("limit", ["0", "501", "-1", str(2**63), "9" * 5000, "many", "1.5", ""])
async def test_a_limit_out_of_bounds_is_refused(shared_crm: httpx.AsyncClient, limit: str) -> None:
    answer = await shared_crm.get(LIST, params={"limit": limit})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "limit"]


@pytest.mark.parametrize(
    ("sort", "expected"), [("id", [[1, 2], [3, 4], [5]]), ("-id", [[5, 4], [3, 2], [1]])]
)
async def test_next_links_lead_through_all_pages(
    crm: httpx.AsyncClient, sort: str, expected: list[list[int]]
) -> None:
    await register(crm, 1, 2, 3, 4, 5)

    assert await walk(crm, f"/customers?limit=2&sort={sort}") == expected


async def test_a_page_that_ends_the_list_exactly_has_no_next(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3, 4)

    assert await walk(crm, f"{LIST}?limit=2") == [[1, 2], [3, 4]]


async def test_a_next_link_keeps_the_filters(crm: httpx.AsyncClient) -> None:
    for number in range(1, 7):
        company = "Ä & 100% Ltd" if number % 2 else "Other"
        await crm.post(LIST, json=numbered(number, company=company))

    first = httpx.URL(LIST, params={"q": "ä & 100%".upper(), "limit": "1"})

    assert await walk(crm, str(first)) == [[1], [3], [5]]


async def test_customers_that_come_while_paging_are_on_a_later_page(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2, 3)
    first = await crm.get(LIST, params={"limit": 2})
    await register(crm, 4)

    assert await walk(crm, first.links["next"]["url"]) == [[3, 4]]


async def test_the_first_page_alone_says_where_the_feed_stands(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    await read_feed(crm)

    first = await crm.get(LIST, params={"limit": 2})
    second = await crm.get(first.links["next"]["url"])

    assert "x-feed-cursor" not in second.headers
    await register(crm, 4)
    page = await read_feed(crm, after=first.headers["x-feed-cursor"])
    assert [event["sequence"] for event in page["events"]] == [4]


@pytest.mark.parametrize("query", [{"q": "customer"}, {"sort": "-id"}, {"email": "x@example.com"}])
async def test_a_first_page_says_where_the_feed_stands_whatever_it_filters(
    crm: httpx.AsyncClient, query: dict[str, str]
) -> None:
    await register(crm, 1)
    expected = (await read_feed(crm))["next_cursor"]

    answer = await crm.get(LIST, params=query)

    assert answer.headers["x-feed-cursor"] == expected


@pytest.mark.parametrize("numbered_at_once", [2, 1000])
async def test_whoever_was_committed_before_the_first_page_stands_before_its_cursor(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, numbered_at_once: int
) -> None:
    """Also while nobody has read the feed, and so nobody has numbered it."""
    monkeypatch.setattr(feed_store, "ASSIGNED_AT_ONCE", numbered_at_once)
    await register(crm, 1, 2, 3, 4, 5)
    take_positions_back(crm)

    snapshot = await crm.get(LIST)

    page = await read_feed(crm, after=snapshot.headers["x-feed-cursor"])
    assert (len(snapshot.json()), page["events"]) == (5, [])


@pytest.mark.engine("postgresql")
async def test_the_first_page_waits_for_whoever_numbers_the_feed(crm: httpx.AsyncClient) -> None:
    """One that has begun to number does not see what is committed afterwards."""
    await register(crm, 1)
    take_positions_back(crm)
    other = await asyncpg.connect(app_of(crm).state.settings.database_url)
    numbering = other.transaction()
    await numbering.start()
    await other.execute(f"SELECT pg_advisory_xact_lock({feed_store.LOCK})")

    asking = asyncio.create_task(crm.get(LIST))
    while not await other.fetchval("SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1"):
        assert not asking.done()
        await asyncio.wait([asking], timeout=0.02)
    await numbering.rollback()
    await other.close()
    snapshot = await asking

    page = await read_feed(crm, after=snapshot.headers["x-feed-cursor"])
    assert (len(snapshot.json()), page["events"]) == (1, [])


async def test_a_full_disk_keeps_nobody_from_reading_customers(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(crm, 1)
    take_positions_back(crm)

    async def refuse(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable("The disk is full.")

    monkeypatch.setattr(app_of(crm).state.database, "write", refuse)
    snapshot = await crm.get(LIST)

    assert (snapshot.status_code, len(snapshot.json())) == (200, 1)
    assert "x-feed-cursor" not in snapshot.headers


async def names_since(crm: httpx.AsyncClient, cursor: str) -> list[str]:
    """List, in pages of two, who was registered behind a place in the feed."""
    names: list[str] = []
    query = {"since": cursor, "limit": "2"}
    while True:
        answer = await crm.get(LIST, params=query)
        assert answer.status_code == 200, answer.text
        names += [one["name"] for one in answer.json()]
        if "x-next-cursor" not in answer.headers:
            return names
        query["cursor"] = answer.headers["x-next-cursor"]


async def test_the_list_since_a_place_in_the_feed_goes_by_positions(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2)
    cursor = (await crm.get(LIST)).headers["x-feed-cursor"]
    await register(crm, 3, 4, 5)
    # Neither clocks nor later changes have a part in it.
    await change_database(crm, "UPDATE customers SET created_at = '2000-01-01 00:00:00'")
    await crm.patch(f"{LIST}/1", json={"company": "Acme"})

    expected = [numbered(n)["name"] for n in (3, 4, 5)]
    assert await names_since(crm, cursor) == expected
    await read_feed(crm)
    assert await names_since(crm, cursor) == expected

    await feed.prune(app_of(crm).state.database, datetime.now(UTC) + timedelta(days=1))
    await register(crm, 6)
    assert await names_since(crm, cursor) == [*expected, numbered(6)["name"]]
    latest = (await crm.get(LIST)).headers["x-feed-cursor"]
    assert await names_since(crm, latest) == []


async def test_whoever_comes_while_paging_since_a_place_is_on_a_later_page(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1)
    cursor = (await crm.get(LIST)).headers["x-feed-cursor"]
    await register(crm, 2, 3, 4)

    first = await crm.get(LIST, params={"since": cursor, "limit": 2})
    await register(crm, 5)  # no later page numbers its event
    take_positions_back(crm, behind=4)
    second = await crm.get(first.links["next"]["url"])

    assert [one["id"] for one in first.json() + second.json()] == [2, 3, 4, 5]


async def test_a_place_that_tells_nothing_is_refused(crm: httpx.AsyncClient) -> None:
    start = (await crm.get(LIST)).headers["x-feed-cursor"]
    await register(crm, 1)
    cursor = (await crm.get(LIST)).headers["x-feed-cursor"]

    async def refusal(since: str) -> tuple[int, str]:
        answer = await crm.get(LIST, params={"since": since})
        return answer.status_code, answer.json()["type"].removeprefix("urn:problem:")

    assert await refusal("x") == (400, "cursor-malformed")
    # A version before this one has pruned it.
    await change_database(crm, "UPDATE feed_head SET traced_from = 1")
    assert await refusal(start) == (410, "cursor-expired")
    assert await names_since(crm, cursor) == []
    await change_database(crm, "UPDATE feed_head SET epoch = '0123456789abcdef'")
    assert await refusal(cursor) == (409, "feed-diverged")


@pytest.mark.parametrize(
    ("wanted", "is_long"),
    [
        ({}, False),
        ({"email": "jane@example.com"}, False),
        ({"q": "jane"}, True),
        ({"since": "MDE5YTVkM2M6NDE"}, True),
    ],
    ids=str,
)
def test_what_costs_more_in_a_long_table_is_read_where_nobody_is_kept_waiting(
    wanted: dict[str, Any], is_long: bool
) -> None:
    assert Filter(**wanted).is_long is is_long


@pytest.mark.parametrize("step", range(2))
@pytest.mark.parametrize("ascending", [True, False])
async def test_whoever_comes_while_the_first_page_is_read_is_on_it_or_behind_its_cursor(
    crm: httpx.AsyncClient, step: int, ascending: bool
) -> None:
    await register(crm, 1, 2)
    await read_feed(crm)
    url = app_of(crm).state.settings.database_url

    def look(db: Connection) -> Any:
        with interrupted(db, step, lambda: register_from_outside(url, 3)):
            return service.first_page(db, Filter(ascending=ascending), 50)

    cursor, page, _ = await app_of(crm).state.database.read(look)

    fed = await read_feed(crm, after=cursor)
    shown = [json.loads(row.json) for row in page.rows]
    names = {one["name"] for one in shown} | {event["data"]["name"] for event in fed["events"]}
    assert names >= {one["name"] for one in (await crm.get(LIST)).json()}


@pytest.mark.parametrize(
    "cursor", ["", "x", "%%%", "é", "aWQ6", "aWQ6LTE", "aWQ6MS41", "LWlkOjE", "aWQ6" + "OTk5" * 9]
)
async def test_a_cursor_of_no_such_page_is_refused(
    shared_crm: httpx.AsyncClient, cursor: str
) -> None:
    answer = await shared_crm.get(LIST, params={"cursor": cursor})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]


async def test_a_cursor_of_one_order_is_refused_by_the_other(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    cursor = (await crm.get(LIST, params={"limit": 1})).headers["x-next-cursor"]

    answer = await crm.get(LIST, params={"cursor": cursor, "sort": "-id"})

    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "100%"}, [1]),
        ({"q": "%"}, [1]),
        ({"q": "_"}, [2]),
        ({"q": "a_b"}, [2]),
        ({"q": "/"}, [3]),
        ({"q": "\\"}, [4]),
        ({"q": "'"}, [5]),
        ({"q": "DOE"}, [1, 5]),
        ({"q": "B@EXAMPLE"}, [2, 4]),
        ({"q": "  slash "}, [3, 4]),
        ({"q": "ÄRGER"}, [6]),
        ({"q": "nobody"}, []),
        ({"email": "a_b@EXAMPLE.com"}, [2]),
        ({"email": "%@example.com"}, []),
        ({"email": "a%b@example.com"}, []),
        ({"email": "b@example.com"}, []),
        ({"email": "back.b@example.com", "q": "slash"}, [4]),
        ({"email": "back.b@example.com", "q": "doe"}, []),
    ],
    ids=str,
)
async def test_a_filter_takes_every_character_for_itself(
    searchable: httpx.AsyncClient, query: dict[str, str], expected: list[int]
) -> None:
    assert await ids(searchable, **query) == expected


@pytest.fixture
async def searchable(crm: httpx.AsyncClient) -> httpx.AsyncClient:
    for name, email, company in (
        ("Jane Doe", "jane@example.com", "100% Ltd"),
        ("John", "a_b@example.com", None),
        ("And/or", "c@example.com", "Slash"),
        ("Back\\", "back.b@example.com", "slashes"),
        ("O'Doe", "o@example.com", None),
        ("Jürgen Ärger", "j@example.com", None),
    ):
        body = {"name": name, "email": email, "company": company}
        assert (await crm.post(LIST, json=body)).status_code == 201
    return crm


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"created_after": "2026-01-05T12:00:00Z"}, [2, 3]),
        ({"created_after": "2026-01-05T11:59:59.999999Z"}, [1, 2, 3]),
        ({"created_before": "2026-01-05T12:00:01Z"}, [1]),
        ({"created_after": "2026-01-05T13:00:00+01:00"}, [2, 3]),
        ({"created_before": "2026-01-05T07:00:01-05:00"}, [1]),
        (
            {"created_after": "2026-01-05T12:00:00Z", "created_before": "2026-01-05T12:00:02Z"},
            [2],
        ),
        ({"created_after": "2026-01-06T00:00:00Z", "created_before": "2026-01-05T00:00:00Z"}, []),
        ({"created_after": "0001-01-01T00:00:00Z"}, [1, 2, 3]),
        ({"created_before": "9999-12-31T23:59:59.999999Z"}, [1, 2, 3]),
    ],
    ids=str,
)
async def test_both_ends_of_a_time_span_are_outside_it(
    crm: httpx.AsyncClient, query: dict[str, str], expected: list[int]
) -> None:
    await register(crm, 1, 2, 3)
    await change_database(
        crm, *(created(number, NOON + timedelta(seconds=number - 1)) for number in (1, 2, 3))
    )

    assert await ids(crm, **query) == expected


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-01-05", "2026-01-05T12:00:00", "nan", "1e400", "9" * 30, "\0"]
)
async def test_what_is_no_instant_is_refused(
    shared_crm: httpx.AsyncClient, name: str, value: str
) -> None:
    assert (await shared_crm.get(LIST, params={name: value})).status_code == 422


def created(number: int, at: datetime) -> str:
    text = at.strftime("%Y-%m-%d %H:%M:%S.%f")
    return f"UPDATE customers SET created_at = '{text}' WHERE id = {number}"  # noqa: S608


@dataclass(frozen=True)
class Stored:
    """What the law below needs to know of the customer with this id."""

    id: int
    company: str
    created_at: datetime


STORED = [Stored(n, "Odd" if n % 2 else "Even", NOON + timedelta(hours=n)) for n in range(1, 13)]


@pytest.fixture
async def twelve(crm: httpx.AsyncClient) -> httpx.AsyncClient:
    for one in STORED:
        await crm.post(LIST, json=numbered(one.id, company=one.company))
    await change_database(crm, *(created(one.id, one.created_at) for one in STORED))
    return crm


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    limit=st.integers(1, 14),
    newest_first=st.booleans(),
    q=st.sampled_from([None, "odd", "EVEN", "d"]),
    after=st.none() | st.integers(0, 13),
    before=st.none() | st.integers(0, 13),
)
async def test_pages_hold_just_what_the_filters_name_each_once_and_in_order(
    twelve: httpx.AsyncClient,
    limit: int,
    newest_first: bool,
    q: str | None,
    after: int | None,
    before: int | None,
) -> None:
    query = {"limit": str(limit), "sort": "-id" if newest_first else "id"}
    wanted = STORED[::-1] if newest_first else STORED
    if q is not None:
        query["q"] = q
        wanted = [one for one in wanted if q.lower() in f"{one.company} customer".lower()]
    if after is not None:
        query["created_after"] = (NOON + timedelta(hours=after)).isoformat()
        wanted = [one for one in wanted if one.id > after]
    if before is not None:
        query["created_before"] = (NOON + timedelta(hours=before)).isoformat()
        wanted = [one for one in wanted if one.id < before]

    pages = await walk(twelve, str(httpx.URL(LIST, params=query)))

    assert [number for page in pages for number in page] == [one.id for one in wanted]
    assert all(len(page) == limit for page in pages[:-1])


async def test_a_list_shows_a_customer_as_a_look_up_does(crm: httpx.AsyncClient) -> None:
    """The database writes the one and Python the other."""
    odd = 'Ä "quoted" \\ \U0001f600 it\'s / <b>'
    full = numbered(1, name=odd, company=odd, phone="+1", external_ref="r", metadata={odd: odd})
    for new in (full, numbered(2)):
        assert (await crm.post(LIST, json=new)).status_code == 201
    # One that was added at a full second, which is written without a fraction.
    full_second = datetime(2026, 1, 5, 12, tzinfo=UTC)
    await app_of(crm).state.database.write(store.change, 2, {"updated_at": full_second})

    listed = await crm.get(LIST)

    alone = [await crm.get(f"{LIST}/{number}") for number in (1, 2)]
    assert listed.json() == [one.json() for one in alone]
    assert listed.json()[1]["updated_at"] == "2026-01-05T12:00:00Z"
    assert list(listed.json()[0]) == list(alone[0].json())
    assert listed.headers["content-type"] == alone[0].headers["content-type"]
