"""What the integration counts on from the CRM, tried with the service and with its double."""

import asyncio
from typing import Any

import httpx
import pytest

from integration_service.feed.client import TYPES
from tests.contracts.conftest import Crm

pytestmark = pytest.mark.engine("double", "sqlite", "postgresql")

FEED, LIST = "/api/events", "/api/customers"
READER = "/api/feed-readers/integration"


async def feed(crm: Crm, **query: Any) -> dict[str, Any]:
    answer = await crm.http.get(FEED, params={"types": TYPES, "limit": 500, **query})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def customers(crm: Crm, **query: Any) -> httpx.Response:
    return await crm.http.get(LIST, params={"welcome": "true", "limit": 500, **query})


def subjects(page: dict[str, Any]) -> list[str]:
    return [event["subject"] for event in page["events"]]


def uids(answer: httpx.Response) -> list[str]:
    return [one["uid"] for one in answer.json()]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:problem:")


async def test_pages_of_the_feed_follow_each_other_without_a_hole(crm: Crm) -> None:
    there = [await crm.register() for _ in range(5)]

    pages, after = [], {}
    while not pages or pages[-1]["has_more"]:
        pages.append(await feed(crm, limit=2, **after))
        after = {"after": pages[-1]["next_cursor"]}

    assert [subjects(page) for page in pages] == [there[:2], there[2:4], there[4:]]
    covered = [(page["from_position"], page["through_position"]) for page in pages]
    assert covered == [(1, 2), (3, 4), (5, 5)]
    assert [event["sequence"] for page in pages for event in page["events"]] == [1, 2, 3, 4, 5]
    assert {page["head_position"] for page in pages} == {5}
    end = await feed(crm, **after)
    assert (end["events"], end["from_position"], end["through_position"]) == ([], 6, 5)


async def test_an_event_tells_who_it_is(crm: Crm) -> None:
    uid = await crm.register()
    unwelcome = await crm.register(welcome=False)
    await crm.erase(uid)

    first, second, third = (await feed(crm))["events"]

    assert (first["type"], first["subject"], first["data"]["uid"]) == ("customer.created", uid, uid)
    assert "welcome" not in first["data"]
    assert (second["subject"], second["data"]["welcome"]) == (unwelcome, False)
    assert (third["type"], third["subject"]) == ("customer.erased", uid)


async def test_what_is_committed_later_is_in_the_feed_behind_what_was_read(crm: Crm) -> None:
    first = await crm.register()
    page = await feed(crm)
    later = [await crm.register(), await crm.register()]

    assert subjects(page) == [first]
    assert subjects(await feed(crm, after=page["next_cursor"])) == later


async def test_types_that_were_not_asked_for_are_passed_over_and_covered(crm: Crm) -> None:
    uid = await crm.register()
    await crm.erase(uid)

    page = await feed(crm, types="customer.erased")

    assert [event["sequence"] for event in page["events"]] == [2]
    assert (page["from_position"], page["through_position"]) == (1, 2)


async def test_who_waits_is_answered_when_somebody_comes(crm: Crm) -> None:
    cursor = (await feed(crm))["next_cursor"]

    waiting = asyncio.create_task(feed(crm, after=cursor, wait=20))
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()
    uid = await crm.register()

    assert subjects(await asyncio.wait_for(waiting, 10)) == [uid]


@pytest.mark.parametrize("place", ["feed", "list"])
async def test_a_place_of_no_such_feed_is_refused(crm: Crm, place: str) -> None:
    path, name = {"feed": (FEED, "after"), "list": (LIST, "since")}[place]
    await crm.register()
    cursor = (await feed(crm))["next_cursor"]

    async def ask(text: str) -> tuple[int, str]:
        query = {"types": TYPES} if place == "feed" else {"welcome": "true"}
        return refusal(await crm.http.get(path, params={**query, "limit": 5, name: text}))

    assert await ask("nonsense") == (400, "cursor-malformed")
    # One that differs from its own in the epoch.
    other = ("B" if cursor[0] == "A" else "A" if cursor[0] != "a" else "b") + cursor[1:]
    assert await ask(other) == (409, "feed-diverged")


async def test_a_place_whose_events_are_deleted_is_refused_and_the_start_as_well(crm: Crm) -> None:
    await crm.register()
    cursor = (await feed(crm))["next_cursor"]
    await crm.register()
    await crm.prune()

    for after in ({"after": cursor}, {}):
        answer = await crm.http.get(FEED, params={"types": TYPES, "limit": 5, **after})
        assert refusal(answer) == (410, "cursor-expired")


async def test_the_list_has_everybody_once_in_pages_and_the_feeds_place_on_the_first(
    crm: Crm,
) -> None:
    there = [await crm.register() for _ in range(5)]
    await crm.register(welcome=False)

    first = await customers(crm, limit=2)
    second = await customers(crm, limit=2, cursor=first.headers["x-next-cursor"])
    third = await customers(crm, limit=2, cursor=second.headers["x-next-cursor"])

    assert uids(first) + uids(second) + uids(third) == there
    assert "x-next-cursor" not in third.headers
    assert "x-feed-cursor" in first.headers
    assert "x-feed-cursor" not in second.headers
    newest = await customers(crm, limit=1, sort="-id")
    assert uids(newest) == there[-1:]
    assert {"uid", "name", "email", "created_at", "updated_at"} <= set(first.json()[0])


async def test_whoever_is_committed_stands_before_the_place_on_the_first_page(crm: Crm) -> None:
    """Also when nobody has read the feed yet."""
    await crm.register()
    await crm.register()

    place = (await customers(crm, limit=1)).headers["x-feed-cursor"]

    assert (await feed(crm, after=place))["events"] == []
    uid = await crm.register()
    assert subjects(await feed(crm, after=place)) == [uid]


async def test_the_list_since_a_place_has_those_behind_it_also_when_pruned(crm: Crm) -> None:
    await crm.register()
    place = (await customers(crm)).headers["x-feed-cursor"]
    later = [await crm.register() for _ in range(3)]
    await crm.register(welcome=False)

    assert uids(await customers(crm, since=place)) == later
    await crm.prune()
    answer = await customers(crm, since=place, limit=2)
    assert uids(answer) == later[:2]
    cursor = answer.headers["x-next-cursor"]
    assert uids(await customers(crm, since=place, limit=2, cursor=cursor)) == later[2:]


async def test_one_is_found_by_its_uid_and_who_was_erased_is_there_without_a_name(
    crm: Crm,
) -> None:
    uid = await crm.register()
    found = await crm.http.get(f"{LIST}/{uid}")
    assert found.json()["uid"] == uid
    assert found.json()["updated_at"] == found.json()["created_at"]

    await crm.erase(uid)

    erased = (await crm.http.get(f"{LIST}/{uid}")).json()
    assert (erased["name"], erased["email"]) == ("", "")
    assert erased["updated_at"] > erased["created_at"]
    assert uids(await customers(crm)) == [uid]
    unknown = await crm.http.get(f"{LIST}/019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c")
    assert refusal(unknown) == (404, "customer-not-found")


async def look_up(crm: Crm, position: int) -> httpx.Response:
    return await crm.http.get(f"{FEED}/{position}")


async def announce(crm: Crm, position: int, **body: Any) -> httpx.Response:
    return await crm.http.put(READER, json={"position": position, **body})


async def test_one_event_is_looked_up_as_the_feed_shows_it(crm: Crm) -> None:
    uid = await crm.register()
    await crm.register()
    shown = (await feed(crm))["events"]

    assert [(await look_up(crm, n)).json() for n in (1, 2)] == shown
    await crm.erase(uid)
    erased = (await look_up(crm, 1)).json()
    assert (erased["subject"], erased["id"]) == (uid, shown[0]["id"])
    assert (erased["data"]["name"], erased["data"]["email"]) == ("", "")


async def test_an_event_that_is_not_there_yet_is_told_from_one_that_is_pruned(crm: Crm) -> None:
    await crm.register()
    await feed(crm)

    assert refusal(await look_up(crm, 2)) == (404, "event-not-found")
    await crm.prune()
    assert refusal(await look_up(crm, 1)) == (410, "cursor-expired")
    assert refusal(await look_up(crm, 2)) == (404, "event-not-found")


async def test_an_event_is_found_though_nobody_has_read_that_far(crm: Crm) -> None:
    for _ in range(2):
        await crm.register()

    found = await look_up(crm, 2)

    assert (found.status_code, found.json()["sequence"]) == (200, 2)


async def test_the_feed_goes_on_behind_any_event_that_is_looked_up(crm: Crm) -> None:
    for _ in range(3):
        await crm.register()
    await feed(crm)

    cursor = (await look_up(crm, 2)).headers["x-feed-cursor"]

    assert [one["sequence"] for one in (await feed(crm, after=cursor))["events"]] == [3]


async def test_a_reader_who_is_too_late_can_go_on_from_the_oldest_event_left(crm: Crm) -> None:
    for _ in range(3):
        await crm.register()
    cursor = (await feed(crm, limit=2))["next_cursor"]
    await announce(crm, 2, cursor=cursor)
    await crm.prune()

    refused = await crm.http.get(FEED, params={"types": TYPES, "limit": 500})

    oldest = refused.json()["oldest_cursor"]
    assert [one["sequence"] for one in (await feed(crm, after=oldest))["events"]] == [3]


async def test_what_a_reader_still_needs_is_not_pruned(crm: Crm) -> None:
    for _ in range(3):
        await crm.register()
    cursor = (await feed(crm, limit=2))["next_cursor"]

    new = await announce(crm, 1, cursor=cursor)
    await crm.prune()

    assert new.status_code == 201
    assert (new.json()["name"], new.json()["position"]) == ("integration", 1)
    assert new.json()["announced_at"] < new.json()["expires_at"]
    assert refusal(await look_up(crm, 1)) == (410, "cursor-expired")
    assert (await look_up(crm, 2)).status_code == 200
    page = await feed(crm, after=cursor)
    assert [event["sequence"] for event in page["events"]] == [3]
    again = await announce(crm, 3, cursor=page["next_cursor"])
    assert (again.status_code, again.json()["position"]) == (200, 3)
    await crm.prune()
    assert refusal(await look_up(crm, 3)) == (410, "cursor-expired")


async def test_a_reader_is_refused_as_the_feed_refuses_its_cursor(crm: Crm) -> None:
    await crm.register()
    cursor = (await feed(crm))["next_cursor"]
    await crm.register()
    other = ("B" if cursor[0] == "A" else "A" if cursor[0] != "a" else "b") + cursor[1:]

    assert refusal(await announce(crm, 1)) == (422, "invalid-request")
    assert refusal(await announce(crm, 2, cursor=cursor)) == (422, "invalid-request")
    assert refusal(await announce(crm, 0, cursor="nonsense")) == (400, "cursor-malformed")
    assert refusal(await announce(crm, 1, cursor=other)) == (409, "feed-diverged")
    await crm.prune()
    assert refusal(await announce(crm, 1, cursor=cursor)) == (410, "cursor-expired")
    assert refusal(await announce(crm, 0)) == (410, "cursor-expired")
