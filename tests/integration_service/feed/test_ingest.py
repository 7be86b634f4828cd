"""Reading the feed: everybody is found once, whatever the CRM answers; nobody is passed over."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from integration_service.feed import high_mark, ingest, store
from integration_service.feed.models import Newest
from integration_service.targets import http
from tests.integration_service.conftest import FakeClock, Integration, Log, Start
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    answers,
    created,
    erased,
    raises,
    refuses,
)


async def read_all(integration: Integration) -> None:
    while await integration.poll() == 0:
        pass


async def owed(integration: Integration) -> list[str]:
    return list(await integration.rows())


async def test_everybody_is_found_once_in_the_order_of_the_feed(
    start: Start, crm: CrmDouble
) -> None:
    integration = await start(batch_size=3)
    uids = [f"c{n}" for n in range(8)]
    crm.register(*uids)

    waits = [await integration.poll() for _ in range(3)]

    # More is read at once, and the end is looked at again when it is time.
    assert waits == [0, 0, 10]
    assert await owed(integration) == uids
    assert [look.get("after") for look in crm.looks] == [None, "a-3", "a-6"]
    assert {look["limit"] for look in crm.looks} == {"3"}
    assert all("customer.created" in look["types"].split(",") for look in crm.looks)
    status = await integration.status()
    assert (status.feed.position, status.feed.head_position, status.feed.lag_events) == (8, 8, 0)
    assert status.last_poll_at == integration.clock()
    assert [row.sequence for row in (await integration.rows()).values()] == list(range(1, 9))


async def test_who_is_told_of_twice_is_owed_once(integration: Integration, crm: CrmDouble) -> None:
    crm.register("ada", "bob", "ada")
    await read_all(integration)
    crm.register("bob", "cid", "cid")
    await read_all(integration)

    assert await owed(integration) == ["ada", "bob", "cid"]


async def test_who_has_a_package_is_not_owed_another(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada")
    await integration.work()
    crm.register("ada")
    await integration.work()

    assert await integration.states() == {"ada": "delivered"}
    assert inventory.batches == [["ada"]]


async def test_a_page_that_is_answered_again_changes_nothing(
    integration: Integration, crm: CrmDouble, log: Log
) -> None:
    crm.register("ada", "bob")
    await read_all(integration)
    first = crm.page(0, 2)
    crm.fault = lambda *_: httpx.Response(200, json={**first, "from_position": 3})

    await integration.poll()

    assert await owed(integration) == ["ada", "bob"]
    assert len([line for line in log.infos if line.startswith("Found new customer")]) == 2


def event(**changes: Any) -> dict[str, Any]:
    return created("odd", sequence=2) | changes


MALFORMED: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 1,
    "a text": "customer.created",
    "a list": ["customer.created"],
    "nothing": {},
    "no type": {name: value for name, value in event().items() if name != "type"},
    "no subject": {name: value for name, value in event().items() if name != "subject"},
    "no sequence": {name: value for name, value in event().items() if name != "sequence"},
    "no data": {name: value for name, value in event().items() if name != "data"},
    "type null": event(type=None),
    "data null": event(data=None),
    "data a list": event(data=["name"]),
    "data a text": event(data="name"),
    "subject null": event(subject=None),
    "subject a number": event(subject=7),
    "subject a list": event(subject=["odd"]),
    "subject empty": event(subject=""),
    "subject blank": event(subject=" \t"),
    "subject with spaces around": event(subject=" odd "),
    "subject too long": event(subject="x" * 65),
    "subject with NUL": event(subject="o\0d"),
    "subject with a surrogate": event(subject="o\ud800d"),
    "subject with a line break": event(subject="odd\nINFO: forged"),
    "sequence null": event(sequence=None),
    "sequence a text": event(sequence="2"),
    "sequence a fraction": event(sequence=2.0),
    "sequence true": event(sequence=True),
    "sequence nought": event(sequence=0),
    "sequence negative": event(sequence=-2),
    "sequence beyond the page": event(sequence=4),
    "sequence beyond all bounds": event(sequence=10**300),
}


@pytest.mark.parametrize("odd", MALFORMED.values(), ids=MALFORMED)
async def test_an_event_that_nobody_understands_is_kept_as_dead_and_holds_up_nobody(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
    odd: Any,
) -> None:
    crm.publish(created("ada", sequence=1))
    crm.publish(odd)
    crm.publish(created("cid", sequence=3))
    # As the bytes that come: httpx itself would refuse to write some of these.
    crm.faults.append(lambda *_: httpx.Response(200, content=json.dumps(crm.page(0, 3))))

    await integration.work()

    assert (await integration.status()).feed.position == 3
    assert inventory.owners == ["ada", "cid"]
    states = await integration.states()
    [uid] = states.keys() - {"ada", "cid"}
    dead = await integration.delivery(uid)
    assert (dead.state, dead.error_class) == ("dead", "unreadable")
    assert dead.error
    # A NUL is the one character that can't be kept as it came.
    assert dead.raw == json.dumps(odd).replace("\\u0000", "\\ufffd")
    assert dead.attempts == []
    assert dead.next_attempt_at is None
    assert len(log.errors) == 1
    assert uid in log.errors[0]
    dead.model_dump_json()

    crm.register("dan")
    await integration.work()
    assert inventory.owners == ["ada", "cid", "dan"]


async def test_who_is_to_have_no_package_is_written_down_as_skipped(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    # Anything but a plain false asks for nothing.
    for uid, welcome in (("ada", False), ("bob", True), ("cid", None), ("dan", 0), ("eve", "no")):
        told = created(uid)
        told["data"]["welcome"] = welcome
        crm.publish(told)

    await integration.work()

    assert inventory.owners == ["bob", "cid", "dan", "eve"]
    skipped = await integration.delivery("ada")
    assert (skipped.state, skipped.next_attempt_at, skipped.attempts) == ("skipped", None, [])
    assert (await integration.status()).deliveries["skipped"] == 1


NAMES: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "a list": ["Ada"],
    "empty": "",
    "blank": "  ",
    "too long": "x" * 201,
    "NUL": "A\0da",
    "a surrogate": "A\ud800da",
    "a line break": "Ada\nINFO: forged",
    "a bell": "Ada\x07",
    "a separator, which Python strips": "Ada\x1f",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_a_customer_whose_name_makes_no_sense_gets_a_package_without_it(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, name: Any
) -> None:
    crm.publish(created("ada", name=name))
    crm.faults.append(lambda *_: httpx.Response(200, content=json.dumps(crm.page(0, 1))))

    await integration.work()

    assert await integration.states() == {"ada": "delivered"}
    assert "customer_name" not in json.loads(inventory.requests[0].content)[0]


async def test_a_name_is_any_text_in_one_line(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    names = ["Zoë 🎉", "\u0645\u200c\u0647", "x" * 200, "O'Hara; --", "null"]
    for number, name in enumerate(names, 1):
        crm.publish(created(f"c{number}", sequence=number, name=name))

    await integration.work()

    sent = json.loads(inventory.requests[0].content)
    assert [item["customer_name"] for item in sent] == names


@pytest.mark.parametrize("kind", ["customer.updated", "ticket.created", "", "CUSTOMER.CREATED"])
async def test_an_event_of_another_type_makes_no_package_for_whom_it_names(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log, kind: str
) -> None:
    crm.register("ada")
    crm.publish(created("no-customer", sequence=2) | {"type": kind})
    # A CRM that answers more than it was asked for.
    crm.faults.append(lambda *_: httpx.Response(200, json=crm.page(0, 2)))

    await integration.work()

    assert inventory.owners == ["ada"]
    assert await integration.states() == {"ada": "delivered"}
    assert (await integration.status()).feed.position == 2
    assert log.errors == []


BAD_PAGES: dict[str, Any] = {
    "null": None,
    "a list": [],
    "a text": "page",
    "nothing": {},
    **{
        f"no {name}": {key: value for key, value in CrmDouble().page(1, 1).items() if key != name}
        for name in CrmDouble().page(1, 1)
    },
}
BAD_FIELDS: list[tuple[str, Any]] = [
    ("events", None),
    ("events", {}),
    ("events", [created("bob", sequence=2)] * 501),
    ("from_position", None),
    ("from_position", 0),
    ("from_position", -1),
    ("from_position", "2"),
    ("from_position", 2.0),
    ("from_position", True),
    ("from_position", 2**63),
    ("through_position", -1),
    ("through_position", 0),
    ("through_position", "2"),
    ("through_position", 2**63),
    ("through_position", 10**400),
    ("head_position", -1),
    ("head_position", 1),
    ("head_position", 2**63),
    ("next_cursor", None),
    ("next_cursor", ""),
    ("next_cursor", 7),
    ("next_cursor", "x" * 201),
    ("next_cursor", "a\0"),
    ("next_cursor", "a\ud800"),
    ("next_cursor", "a b"),
    ("next_cursor", "a\n"),
    ("next_cursor", "ä"),
    ("has_more", None),
    ("has_more", "no"),
    ("has_more", 1),
]


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(
    "page",
    [
        *BAD_PAGES.values(),
        *({**CrmDouble().page(1, 2, head_position=2), name: value} for name, value in BAD_FIELDS),
        CrmDouble().page(1, 1, head_position=2, has_more=True),
    ],
    ids=[
        *BAD_PAGES,
        *(f"{name} {ascii(value)[:20]}" for name, value in BAD_FIELDS),
        "more, but nothing read",
    ],
)
async def test_a_malformed_page_moves_nothing(
    integration: Integration, crm: CrmDouble, clock: FakeClock, log: Log, page: Any
) -> None:
    crm.register("ada")
    await read_all(integration)
    crm.register("bob")
    crm.fault = lambda *_: httpx.Response(200, content=json.dumps(page))

    for _ in range(2):
        assert 0 < await integration.poll() <= 10

    status = await integration.status()
    assert (status.feed.position, status.feed.state) == (1, "running")
    assert status.circuits["crm"].error_class == "transient"
    assert "malformed" in str(status.last_error) or "impossible" in str(status.last_error)
    assert await owed(integration) == ["ada"]
    assert log.errors == []

    crm.fault = None
    await read_all(integration)
    assert await owed(integration) == ["ada", "bob"]


BROKEN = {
    "a gap": (
        lambda crm, _: httpx.Response(200, json=crm.page(1, 3, from_position=3)),
        "diverged",
        "the page after position 1 starts at 3",
    ),
    "a step back": (
        lambda crm, _: httpx.Response(200, json=crm.page(0, 3)),
        "diverged",
        "the page after position 1 starts at 1",
    ),
    "409": (
        refuses(409, "feed-diverged", "The cursor does not belong to this feed."),
        "diverged",
        "it answered 409: The cursor does not belong to this feed.",
    ),
    "410": (
        refuses(410, "cursor-expired", "Events up to position 7 are deleted."),
        "expired",
        "it answered 410: Events up to position 7 are deleted.",
    ),
}


@pytest.mark.parametrize(("fault", "state", "said"), BROKEN.values(), ids=BROKEN)
async def test_after_a_feed_that_can_not_be_gone_on_with_all_customers_are_read_once_a_minute(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    fault: Any,
    state: str,
    said: str,
) -> None:
    crm.register("ada")
    await read_all(integration)
    crm.register("bob", "cid")
    crm.fault = fault

    assert await integration.poll() == 0
    status = await integration.status()
    assert status.feed.state == "recovering"
    assert status.feed.recovery is not None
    assert status.feed.recovery.reason == state
    assert said in str(status.last_error)
    assert status.circuits["crm"].state == "closed"
    [warning] = log.warnings
    assert warning.startswith(f"The CRM's feed is {state}: ")
    assert said in warning

    assert await integration.poll() == 0
    assert await owed(integration) == ["ada", "bob", "cid"]
    assert (await integration.status()).feed.recovery is None

    # It is no better afterwards: a pause, of which an operator is told, and once more.
    crm.fault = refuses(409, "feed-diverged")
    assert await integration.poll() == 10
    assert await integration.poll() == 10
    assert (await integration.status()).feed.state == "diverged"
    assert len(log.errors) == 1
    clock.advance(minutes=1)
    assert await integration.poll() == 0

    crm.fault = None
    crm.register("dan")
    await integration.work()
    assert inventory.owners == ["ada", "bob", "cid", "dan"]
    feed = (await integration.status()).feed
    assert (feed.state, feed.position, feed.recoveries) == ("running", 4, 2)


async def test_what_is_wrong_with_a_feed_that_was_well_meanwhile_is_told_again(
    integration: Integration, crm: CrmDouble, log: Log
) -> None:
    crm.register("ada")
    await read_all(integration)
    for told in (1, 2):
        crm.fault = refuses(410, "cursor-expired")
        for _ in range(4):  # the first begins to read all customers, the second does
            await integration.poll()
        assert len(log.errors) == told
        crm.fault = None
        await integration.poll()


async def test_a_crm_that_comes_back_with_another_feed_is_not_shown_as_down(
    integration: Integration, crm: CrmDouble
) -> None:
    crm.fault = raises(httpx.ConnectError("refused"))
    await integration.poll()
    assert (await integration.status()).circuits["crm"].state == "open"

    crm.fault = refuses(409, "feed-diverged")
    await integration.poll()

    status = await integration.status()
    assert (status.circuits["crm"].state, status.feed.state) == ("closed", "recovering")


async def test_it_may_start_with_the_customers_of_the_future(
    start: Start, crm: CrmDouble, inventory: InventoryDouble, log: Log
) -> None:
    crm.register("old", "older")
    integration = await start(start_from="now")

    await integration.work()
    assert await owed(integration) == []
    assert crm.looks[0]["after"] == "a-2"

    crm.register("new")
    await integration.work()
    assert inventory.owners == ["new"]
    assert (await integration.status()).feed.start_from == "now"
    assert (await integration.status()).feed.position == 3
    assert "Reading the CRM's feed from: now" in log.infos


@pytest.mark.parametrize(("first", "later"), [("now", "beginning"), ("beginning", "now")])
async def test_where_to_start_is_decided_once_for_ever(
    start: Start, crm: CrmDouble, first: str, later: str
) -> None:
    crm.register("old")
    integration = await start(start_from=first)
    await read_all(integration)
    crm.register("new")

    restarted = await integration.restarted(start_from=later)
    await read_all(restarted)

    assert await owed(restarted) == (["new"] if first == "now" else ["old", "new"])
    assert (await restarted.status()).feed.start_from == first
    await restarted.die()


async def test_of_two_who_decide_where_to_start_the_first_is_right(
    integration: Integration, crm: CrmDouble
) -> None:
    await integration.poll()

    await integration.database.write(
        store.begin, integration.lease, integration.clock(), Newest("a-9", None)
    )

    feed = (await integration.status()).feed
    assert (feed.start_from, feed.position) == ("beginning", 0)


async def test_a_start_decided_but_not_read_from_is_still_decided(
    start: Start, crm: CrmDouble
) -> None:
    crm.register("old")
    integration = await start(start_from="now")
    crm.fault = answers(503)
    await integration.poll()
    crm.register("new")
    crm.fault = None

    restarted = await integration.restarted()
    await read_all(restarted)

    assert await owed(restarted) == ["new"]
    await restarted.die()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503),
        httpx.Response(401),
        httpx.Response(200, json=[]),
        httpx.Response(200, json=[], headers={"X-Feed-Cursor": ""}),
        httpx.Response(200, json=[], headers={"X-Feed-Cursor": "x" * 201}),
        httpx.Response(200, json=[], headers={"X-Feed-Cursor": "a b"}),
    ],
    ids=["503", "401", "none", "empty", "endless", "blank"],
)
async def test_without_knowing_where_now_is_nothing_is_decided(
    start: Start, crm: CrmDouble, far_sides: Any, answer: httpx.Response
) -> None:
    integration = await start(start_from="now")
    customers = far_sides.get("http://crm/api/customers")
    customers.mock(return_value=answer)
    crm.register("old")

    assert 0 < await integration.poll() <= 10
    assert (await integration.status()).feed.start_from is None
    assert (await integration.status()).circuits["crm"].state == "open"

    customers.mock(side_effect=crm.list)
    await read_all(integration)
    crm.register("new")
    await read_all(integration)
    assert await owed(integration) == ["new"]


async def test_reading_pauses_above_the_high_mark_and_goes_on_at_half_of_it(
    start: Start,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(high_mark, "HIGH_MARK", 6)
    integration = await start(batch_size=2)
    crm.register(*(f"c{n}" for n in range(20)))
    delivered: set[str] = set()
    inventory.fault = lambda double, request: httpx.Response(
        200,
        json=[
            double.make(item) if item["customer_id"] in delivered else {"status": 503}
            for item in json.loads(request.content)
        ],
    )

    await read_all(integration)
    looks = len(crm.looks)
    assert await owed(integration) == [f"c{n}" for n in range(8)]
    assert any("reading the feed for it pauses" in line for line in log.infos)

    # Four are left: not yet half of the mark.
    delivered |= {f"c{n}" for n in range(4)}
    await integration.send()
    assert 0 < await integration.poll() < 1
    assert len(crm.looks) == looks

    delivered |= {f"c{n}" for n in range(5)}
    clock.advance(minutes=6)
    await integration.send()
    await read_all(integration)
    assert await owed(integration) == [f"c{n}" for n in range(12)]
    assert any("reading the feed for it goes on" in line for line in log.infos)


async def test_a_page_too_large_to_be_read_is_asked_for_in_smaller_ones(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "LARGEST_ANSWER", 40_000)
    for number in range(1, 301):
        crm.publish(created(f"c{number}", sequence=number, company="x" * 100))

    for _ in range(30):
        if await integration.poll() == 10:
            break

    limits = [int(look["limit"]) for look in crm.looks]
    assert limits[:3] == [500, 250, 125]
    assert min(limits) >= 62
    assert len(await owed(integration)) == 300
    assert (await integration.status()).circuits["crm"].state == "closed"
    # It does not stay as careful for ever.
    await integration.poll()
    await integration.poll()
    assert int(crm.looks[-1]["limit"]) > min(limits)


@pytest.mark.parametrize("interval", [0.5, 10, 60])
async def test_a_crm_that_is_down_is_looked_for_at_growing_intervals_up_to_the_polling_interval(
    start: Start, crm: CrmDouble, clock: FakeClock, interval: float
) -> None:
    integration = await start(polling_interval_seconds=interval)
    crm.fault = raises(httpx.ConnectError("refused"))

    waits = []
    for _ in range(10):
        waits.append(await integration.poll())
        clock.advance(seconds=waits[-1])

    for number, wait in enumerate(waits):
        assert min(0.9 * 2**number, 0.9 * interval) <= wait <= min(2**number, interval)
    crm.fault = None
    assert await integration.poll() == interval


async def test_a_crm_that_says_when_to_come_back_is_left_alone_for_so_long(
    integration: Integration, crm: CrmDouble
) -> None:
    crm.faults.append(answers(429, {"Retry-After": "100"}))

    assert await integration.poll() == 100  # and looks every ten seconds otherwise


async def test_what_a_look_finds_wakes_those_who_act_on_it(
    integration: Integration, crm: CrmDouble
) -> None:
    ingest = integration.poller.ingest
    crm.register("ada")
    await integration.poll()
    assert (ingest.work_ready.is_set(), ingest.erased.is_set()) == (True, False)
    ingest.work_ready.clear()

    crm.publish(erased("ada", 2))
    await integration.poll()
    assert (ingest.work_ready.is_set(), ingest.erased.is_set()) == (False, True)


@pytest.mark.parametrize(
    ("registered", "wait", "expected"),
    [
        (0, 0, 10),  # no long poll: the next look is in an interval
        (1, 0, 10),
        (5, 0, 0),  # a page of two, and more behind it
        (1, 5, 0),  # news: look on at once
        (5, 5, 0),
    ],
)
async def test_the_next_look_comes_when_it_makes_sense(
    start: Start, crm: CrmDouble, registered: int, wait: float, expected: float
) -> None:
    integration = await start(batch_size=2)
    crm.register(*(f"c{n}" for n in range(registered)))

    assert await integration.poll(wait) == expected
    assert crm.looks[-1].get("wait") == ("5" if wait else None)


async def test_a_long_poll_that_brought_nothing_is_followed_by_the_next(
    integration: Integration, crm: CrmDouble
) -> None:
    assert await integration.poll(wait=0.05) == 0


async def test_a_crm_that_does_not_know_how_to_wait_is_not_asked_without_a_pause(
    integration: Integration, crm: CrmDouble
) -> None:
    crm.is_patient = False

    assert await integration.poll(wait=10) == ingest.EARLY_ANSWER_PAUSE_SECONDS


async def test_news_ends_a_long_poll(integration: Integration, crm: CrmDouble) -> None:
    asyncio.get_running_loop().call_later(0.02, crm.register, "ada")

    async with asyncio.timeout(15):
        assert await integration.poll(wait=25) == 0

    assert await owed(integration) == ["ada"]


async def test_a_long_poll_may_take_longer_than_a_call(
    integration: Integration, crm: CrmDouble
) -> None:
    integration.poller.crm.link._call_seconds = 0.5

    assert await integration.poll(wait=0.6) == 0

    assert (await integration.status()).circuits["crm"].state == "closed"
    assert crm.requests[-1].extensions["timeout"]["read"] == pytest.approx(1.1)
