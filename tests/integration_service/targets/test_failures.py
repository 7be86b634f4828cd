"""Every way in which a far side can fail: what is written down of it, and that nothing is lost."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
import respx

from integration_service.targets.failures import TooLarge
from integration_service.targets.http import Link
from tests.integration_service.conftest import FakeClock, Integration, Log
from tests.integration_service.doubles import (
    PROBLEM,
    CrmDouble,
    Fault,
    InventoryDouble,
    after_effect,
    answers,
    customers_in,
    raises,
    refused,
    refuses,
)

# What a failure means is decided before anything is written; test_ingest has both engines.
pytestmark = pytest.mark.engine("sqlite")

THREE = ["ada", "bob", "cid"]


@dataclass(frozen=True)
class Case:
    """A failure of a whole call, and what is to be known of it afterwards."""

    fault: Fault
    status: int | None
    said: str
    # It is tried again at once when it is likely to be gone in a moment.
    tries: int = 1


JSON = {"content-type": "application/json; charset=utf-8"}
LOST = httpx.RemoteProtocolError("Server disconnected without sending a response.")
TRANSIENT = {
    "refused connection": Case(raises(httpx.ConnectError("All failed")), None, "ConnectError", 3),
    "no connection in time": Case(raises(httpx.ConnectTimeout("")), None, "ConnectTimeout"),
    "time-out before the effect": Case(raises(httpx.ReadTimeout("")), None, "ReadTimeout"),
    "time-out after the effect": Case(
        after_effect(raises(httpx.ReadTimeout(""))), None, "ReadTimeout"
    ),
    "time-out while sending": Case(raises(httpx.WriteTimeout("")), None, "WriteTimeout"),
    "reset": Case(raises(httpx.ReadError("reset")), None, "ReadError: reset", 3),
    "reset after the effect": Case(after_effect(raises(httpx.ReadError(""))), None, "ReadError", 3),
    "answer lost": Case(after_effect(raises(LOST)), None, "without sending a response", 3),
    "408": Case(answers(408), 408, "it answered 408: no details"),
    "425": Case(answers(425), 425, "it answered 425"),
    "429": Case(answers(429), 429, "it answered 429"),
    "429 with Retry-After": Case(answers(429, {"Retry-After": "7"}), 429, "it answered 429"),
    "500": Case(refuses(500, "internal-error", "Our fault."), 500, "it answered 500: Our fault."),
    "500 after the effect": Case(after_effect(answers(500)), 500, "it answered 500"),
    "500 in HTML": Case(answers(500, html="<h1>Sorry</h1>"), 500, "it answered 500: no details"),
    "502": Case(answers(502, html="<h1>Bad gateway</h1>"), 502, "it answered 502", 3),
    "502 after the effect": Case(after_effect(answers(502)), 502, "it answered 502", 3),
    "503": Case(answers(503), 503, "it answered 503", 3),
    "503 with Retry-After": Case(answers(503, {"Retry-After": "7"}), 503, "it answered 503"),
    "504": Case(answers(504), 504, "it answered 504", 3),
    "599": Case(answers(599), 599, "it answered 599"),
    "cut JSON": Case(after_effect(answers(200, JSON, text='[{"status": 201')), 200, "not JSON"),
    "bytes": Case(answers(200, JSON, content=b"\xff\xfe\x00"), 200, "not JSON"),
    "NaN": Case(answers(200, JSON, content=b"[NaN, NaN, NaN]"), 200, "not JSON"),
    "deep": Case(answers(200, JSON, content=b"[" * 100_000), 200, "not JSON"),
}
ELSEWHERE = {"Location": "http://elsewhere/package-requests/batch"}
CONFIGURATION = {
    "401": (refuses(401, "not-authenticated"), "it answered 401", "TOKEN"),
    "403": (refuses(403, "scope-missing"), "it answered 403", "TOKEN"),
    "404": (answers(404), "it answered 404", "URL"),
    "405": (answers(405), "it answered 405", "URL"),
    "301": (answers(301, ELSEWHERE), "it answered 301", "URL"),
    "302": (answers(302, ELSEWHERE), "it answered 302", "URL"),
    "307": (answers(307, ELSEWHERE), "it answered 307", "URL"),
    "308": (answers(308, ELSEWHERE), "it answered 308", "URL"),
}
PAGE = "<h1>What a proxy says</h1>"
NO_STATUS = {"type": "urn:problem:invalid-request", "detail": "None of ours."}
# Answers of whoever stands in between, and of services that are not the one that was asked.
FOREIGN = {
    **{
        f"{status} in HTML": (
            answers(status, html=PAGE),
            f"it answered {status}: no details",
            "URL",
        )
        for status in (400, 402, 406, 409, 410, 411, 412, 413, 415, 422, 451)
    },
    "200 in HTML": (answers(200, html=PAGE), "its answer is text/html, not JSON", "URL"),
    "200 after the effect": (after_effect(answers(200, html=PAGE)), "not JSON", "URL"),
    "200 with nothing": (answers(200), "its answer is of no type, not JSON", "URL"),
    "204": (after_effect(answers(204)), "its answer is of no type, not JSON", "URL"),
    "another's problem": (
        answers(422, PROBLEM, json={"type": "about:blank", "status": 422}),
        "it answered 422",
        "URL",
    ),
    "our problem of no type": (
        answers(422, JSON, json={**NO_STATUS, "status": 422}),
        "it answered 422: None of ours.",
        "URL",
    ),
    "a problem of another status": (
        answers(422, PROBLEM, json={**NO_STATUS, "status": 400}),
        "it answered 422: None of",
        "URL",
    ),
    "a problem of no status": (answers(422, PROBLEM, json=NO_STATUS), "it answered 422", "URL"),
    "a problem that is none of the request's": (
        refuses(422, "email-taken"),
        "it answered 422: It is not to be.",
        "URL",
    ),
    "a kind of another status": (refuses(409, "invalid-request"), "it answered 409", "URL"),
    "a list for a problem": (answers(400, PROBLEM, json=[1]), "it answered 400", "URL"),
}
# What the CRM may answer as well, but not for what it was asked.
NOT_A_LIST_OF_RESULTS = {
    name: (answers(200, json=body), "not one result an item", "URL")
    for name, body in {
        "an object": {"status": 201},
        "no results": [],
        "a result short": [{"status": 201}] * 2,
        "a result too many": [{"status": 201}] * 4,
    }.items()
}
NOT_OURS = CONFIGURATION | FOREIGN | NOT_A_LIST_OF_RESULTS
REFUSED = {409: "package-request-conflict", 422: "invalid-request"}


async def owe(integration: Integration, crm: CrmDouble, *uids: str) -> None:
    """Have the integration find these customers."""
    crm.register(*uids)
    while await integration.poll() == 0:
        pass


async def assert_all_is_well(integration: Integration, inventory: InventoryDouble) -> None:
    """Check that all three have what they are owed, once."""
    assert inventory.owners == THREE
    rows = await integration.rows()
    made = {customer: made["request_id"] for (customer, *_), made in inventory.packages.items()}
    assert {uid: (row.state, row.request_id) for uid, row in rows.items()} == {
        uid: ("delivered", made[uid]) for uid in THREE
    }
    assert {row.error for row in rows.values()} == {None}


@pytest.mark.parametrize("case", TRANSIENT.values(), ids=TRANSIENT)
async def test_what_time_heals_is_tried_again(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    case: Case,
) -> None:
    await owe(integration, crm, *THREE)
    inventory.fault = case.fault

    await integration.send()

    assert inventory.batches == [THREE] * case.tries
    for row in (await integration.rows()).values():
        assert (row.state, row.attempt_count) == ("retrying", 1)
        assert row.error_class == "transient"
        assert case.said in row.error
        assert clock() < row.next_attempt_at < clock() + timedelta(seconds=8)
    [attempt] = (await integration.delivery("ada")).attempts
    assert (attempt.at, attempt.status, attempt.error_class) == (clock(), case.status, "transient")
    assert case.said in str(attempt.error)
    [warning] = log.warnings
    assert warning.startswith("3 package requests wait for another try: ")
    assert case.said in warning
    assert log.errors == []

    inventory.fault = None
    clock.advance(seconds=8)
    await integration.send()

    await assert_all_is_well(integration, inventory)
    assert (await integration.delivery("ada")).attempts[0].status == case.status


@pytest.mark.parametrize(("fault", "said", "variable"), NOT_OURS.values(), ids=NOT_OURS)
async def test_what_an_operator_must_heal_is_no_attempt_and_says_what_to_fix(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    fault: Fault,
    said: str,
    variable: str,
) -> None:
    await owe(integration, crm, *THREE)
    inventory.fault = fault

    await integration.send()

    assert inventory.batches == [THREE]
    for row in (await integration.rows()).values():
        assert (row.state, row.attempt_count, row.error) == ("pending", 0, None)
    circuit = (await integration.status()).circuits["inventory"]
    assert (circuit.state, circuit.opened_at) == ("open", clock())
    assert circuit.error_class == "configuration"
    assert said in str(circuit.error)
    [error] = log.errors
    assert f"INVENTORY_API_{variable}" in error
    assert said in error

    inventory.fault = None
    clock.advance(seconds=5)
    await integration.send()

    await assert_all_is_well(integration, inventory)
    assert (await integration.status()).circuits["inventory"].state == "closed"


async def test_foreign_pages_in_turns_kill_nobody_and_all_is_delivered_when_they_end(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock, log: Log
) -> None:
    """A foreign 400 killed 89 deliveries; 409, 413, 422 and 200 in turns killed 20 of 20."""
    uids = [f"c{n:02}" for n in range(20)]
    await owe(integration, crm, *uids)
    pages = [answers(status, html=PAGE) for status in (409, 413, 422, 200, 400)]

    for turn in range(25):
        inventory.fault = pages[turn % len(pages)]
        await integration.send()
        clock.advance(minutes=2)

    assert len(inventory.requests) == 25
    rows = (await integration.rows()).values()
    assert {(row.state, row.attempt_count) for row in rows} == {("pending", 0)}
    assert len(log.errors) == 1

    inventory.fault = None
    await integration.send()
    assert inventory.owners == uids
    assert set((await integration.states()).values()) == {"delivered"}


UNFIT = {400: "bad-request", 413: "body-too-large", 422: "invalid-request"}


@pytest.mark.parametrize(("status", "slug"), UNFIT.items())
async def test_a_batch_that_is_refused_whole_is_halved_until_what_spoils_it_is_alone(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    status: int,
    slug: str,
) -> None:
    await owe(integration, crm, *THREE, "dan", "eve")
    refuse = refuses(status, slug, "Not with that one.")
    inventory.fault = lambda double, request: (
        refuse(double, request) if "bob" in customers_in(request) else None
    )

    await integration.send()

    assert inventory.owners == ["ada", "cid", "dan", "eve"]
    assert ["bob"] in inventory.batches
    bob = await integration.delivery("bob")
    # It is not said that it is for bob; but that it is, shows.
    assert (bob.state, bob.attempt_count, bob.error_class) == ("retrying", 1, "transient")
    assert bob.error == f"it answered {status}: Not with that one."
    assert bob.problem == bob.problem | {"type": f"urn:problem:{slug}"}

    for _ in range(8):  # alone, it neither opens the circuit nor holds up who comes
        clock.advance(minutes=6)
        await integration.send()
    await owe(integration, crm, "new")
    await integration.send()
    assert (await integration.states())["new"] == "delivered"
    assert (await integration.delivery("bob")).attempt_count == 9
    assert (await integration.status()).circuits["inventory"].state == "closed"
    assert log.errors == []

    clock.advance(hours=72)
    await integration.send()
    clock.advance(hours=1)
    await integration.send()
    assert (await integration.states())["bob"] == "dead"


async def test_an_inventory_that_refuses_every_request_kills_nobody(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock, log: Log
) -> None:
    """A proxy that takes bodies away has Inventory itself refuse each request."""
    await owe(integration, crm, *(f"c{n:02}" for n in range(20)))
    inventory.fault = refuses(422, "invalid-request", "The request does not match the schema.")

    for _ in range(100):
        await integration.send()
        clock.advance(hours=2)

    circuit = (await integration.status()).circuits["inventory"]
    assert (circuit.state, circuit.error_class) == ("open", "refused")
    assert set((await integration.states()).values()) == {"pending", "retrying"}
    [error] = log.errors
    assert "Check INVENTORY_API_URL." in error
    assert len(inventory.requests) < 130  # and so not all twenty alone, again and again

    inventory.fault = None
    await integration.send()
    assert set((await integration.states()).values()) == {"delivered"}


@pytest.mark.parametrize(("status", "slug"), REFUSED.items())
async def test_a_refused_item_is_dead_at_once_and_the_others_are_delivered(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
    status: int,
    slug: str,
) -> None:
    await owe(integration, crm, *THREE)
    result = refused("bob", status, slug, "Not that one.")
    inventory.fault = results_for_bob(result)
    await integration.send()

    assert await integration.states() == {"ada": "delivered", "bob": "dead", "cid": "delivered"}
    bob = await integration.delivery("bob")
    assert bob.error == f"it answered {status}: Not that one."
    assert bob.problem == result["problem"]
    assert [(one.status, one.error_class) for one in bob.attempts] == [(status, "refused")]
    assert len(inventory.batches) == 1
    assert len(log.errors) == 1


def results_for_bob(result: Any) -> Fault:
    """Do as asked, but give this result for bob's item."""

    def answer(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        results = [
            result if item["customer_id"] == "bob" else double.make(item)
            for item in json.loads(request.content)
        ]
        return httpx.Response(200, content=json.dumps(results))

    return answer


OF_BOB = refused("bob", 422, "invalid-request")["problem"]
# Refusals of which it is not certain that Inventory gives them, and gives them for bob.
NOT_BOBS: dict[str, Any] = {
    "another customer": {"status": 422, "problem": OF_BOB | {"customer_id": "ada"}},
    "no customer": {"status": 422, "problem": OF_BOB | {"customer_id": None}},
    "nobody": {
        "status": 422,
        "problem": {name: OF_BOB[name] for name in OF_BOB if name != "customer_id"},
    },
    "another status": {"status": 422, "problem": OF_BOB | {"status": 409}},
    "a type of others": {"status": 422, "problem": OF_BOB | {"type": "about:blank"}},
    "no kind of an item's": {"status": 422, "problem": OF_BOB | {"type": "urn:problem:x"}},
    "a kind of another status": {"status": 409, "problem": OF_BOB | {"status": 409}},
    "a status that is no refusal": {"status": 415, "problem": OF_BOB | {"status": 415}},
    "no problem": {"status": 400},
    "a text": {"status": 409, "problem": "No."},
    "403": {"status": 403, "problem": OF_BOB | {"status": 403}},
}


@pytest.mark.parametrize("result", NOT_BOBS.values(), ids=NOT_BOBS)
async def test_a_refusal_that_is_not_certainly_its_own_is_configuration_or_put_off(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    result: Any,
) -> None:
    inventory.fault = results_for_bob(result)
    await owe(integration, crm, "bob")
    await integration.send()  # alone, as a whole call's 403 is

    bob = await integration.delivery("bob")
    assert (bob.state, bob.attempt_count) == ("pending", 0)
    circuit = (await integration.status()).circuits["inventory"]
    assert (circuit.state, circuit.error_class) == ("open", "configuration")
    assert len(log.errors) == 1

    # It stands in nobody's way: others are probed with, and beside theirs its own is put off.
    await owe(integration, crm, "ada", "cid")
    clock.advance(minutes=1)
    await integration.send()
    assert await integration.states() == {"ada": "delivered", "bob": "retrying", "cid": "delivered"}
    assert len(log.errors) == 1

    inventory.fault = None
    clock.advance(minutes=6)
    await integration.send()
    assert set((await integration.states()).values()) == {"delivered"}


MADE = {"request_id": "r-1", "customer_id": "bob", "package_type": "welcome_package"}
UNCLEAR: dict[str, Any] = {
    "another customer": {"status": 201, "package_request": MADE | {"customer_id": "ada"}},
    "another package": {"status": 200, "package_request": MADE | {"package_type": "gift"}},
    "no package": {"status": 201},
    "no id": {"status": 201, "package_request": MADE | {"request_id": None}},
    "no text for an id": {"status": 201, "package_request": MADE | {"request_id": 7}},
    "an endless id": {"status": 201, "package_request": MADE | {"request_id": "x" * 5000}},
    "an id that is none": {"status": 201, "package_request": MADE | {"request_id": "r\0\ud800"}},
    "null": None,
    "a list": [],
    "a text": "201",
    "nothing": {},
    "status in a text": {"status": "201", "package_request": MADE},
    "status true": {"status": True, "package_request": MADE},
    "status 201.0": {"status": 201.0, "package_request": MADE},
    "status null": {"status": None, "package_request": MADE},
    "an endless status": {"status": 10**30, "package_request": MADE},
    "negative status": {"status": -201, "package_request": MADE},
    "status 202": {"status": 202, "package_request": MADE},
    "status 302": {"status": 302},
    "status 401": {"status": 401},
    "status 429": {"status": 429},
    "status 500": {"status": 500},
    "status 503": {"status": 503, "problem": {"detail": "Later."}},
}


@pytest.mark.parametrize("result", UNCLEAR.values(), ids=UNCLEAR)
async def test_a_result_that_says_nothing_clear_counts_as_not_said(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    result: Any,
) -> None:
    await owe(integration, crm, *THREE)

    inventory.fault = results_for_bob(result)
    await integration.send()

    assert await integration.states() == {"ada": "delivered", "bob": "retrying", "cid": "delivered"}
    bob = await integration.delivery("bob")
    assert (bob.attempt_count, bob.error_class) == (1, "transient")
    assert len(inventory.batches) == 1
    assert len(log.warnings) == 1
    assert log.errors == []

    inventory.fault = None
    clock.advance(seconds=1)
    await integration.send()

    await assert_all_is_well(integration, inventory)


class Endless(httpx.AsyncByteStream):
    """An answer without an end, which notes that it is closed."""

    is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" " * 0x10000

    async def aclose(self) -> None:
        self.is_closed = True


async def test_an_answer_that_is_not_read_to_its_end_is_closed(
    far_sides: respx.MockRouter,
) -> None:
    endless = Endless()
    far_sides.get("http://inventory/").respond(200, stream=endless)
    link = Link("http://inventory", "viewer123")

    with pytest.raises(TooLarge):
        await link.call("GET", "/")

    assert endless.is_closed
    await link.close()


async def test_what_a_list_shows_of_others_is_not_counted(
    integration: Integration, far_sides: respx.MockRouter
) -> None:
    """As an Inventory would that does not know the filter."""
    shown = [{"request_id": uid, "customer_id": uid, "status": "pending"} for uid in ("ada", "bob")]
    far_sides.get("http://inventory/package-requests").respond(json=shown)
    count = integration.poller.targets.inventory.count

    assert await count("welcome_package", "ada", cancelled=True) == 1
    assert await count("welcome_package", "eve", cancelled=True) == 0


ODD_TEXTS = ["\0", "\ud800", "a\0b\udfff", "\n", "\u2028", "x" * 100_000, "🎉" * 600]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: ascii(text)[:10])
async def test_whatever_a_problem_says_can_be_written_down(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log, text: str
) -> None:
    problem = json.dumps({"detail": text, text: [text, 10**400, {"title": text}]})

    refusal = {"status": 422, "problem": OF_BOB | {"detail": text, text: [text, 10**400]}}
    results = json.dumps([refusal]).replace('"bob"', '"dead"')
    faults = {
        "retrying": answers(503, content=problem),
        "dead": answers(200, content=results),
        "pending": answers(401, content=problem),
    }
    for state, fault in faults.items():
        await owe(integration, crm, state)
        inventory.fault = fault
        await integration.send()

        shown = await integration.delivery(state)
        assert shown.state == state
        shown.model_dump_json()
    (await integration.status()).model_dump_json()
    assert not any("bug" in error for error in log.errors)


LATER: dict[str | timedelta, float] = {
    "7": 7,
    "0": 0,
    "3600": 3600,
    "3601": 3600,
    "9" * 5000: 3600,
    timedelta(minutes=30): 1790,
    timedelta(days=30): 3600,
    timedelta(days=-30): 0,
    "soon": 0,
    "-7": 0,
    "7.5": 0,
    "\u0667": 0,
    "": 0,
    "Mon, 99 Jan 2026 12:00:00 GMT": 0,
}


@pytest.mark.parametrize(("later", "floor"), LATER.items(), ids=lambda value: ascii(value)[:25])
async def test_retry_after_is_a_floor_of_an_hour_at_most(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    later: str | timedelta,
    floor: float,
) -> None:
    await owe(integration, crm, "bob")
    if isinstance(later, timedelta):
        later = format_datetime(datetime.now(UTC) + later, usegmt=True)
    header = [(b"Retry-After", later.encode())]
    inventory.fault = lambda *_: httpx.Response(429, headers=header)

    await integration.send()

    wait = ((await integration.rows())["bob"].next_attempt_at - clock()).total_seconds()
    # Up to a tenth later, so that not all come back in the same second.
    assert floor <= wait <= max(1.1 * (floor + 10), 1)


async def test_a_repetition_after_a_blip_is_the_same_request(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await owe(integration, crm, *THREE)
    inventory.faults.extend([after_effect(raises(LOST)), answers(503)])

    await integration.send()

    await assert_all_is_well(integration, inventory)
    assert len(inventory.requests) == 3
    assert len({request.headers["x-request-id"] for request in inventory.requests}) == 1
    assert len({request.content for request in inventory.requests}) == 1


async def test_a_call_says_who_asks_and_wants_no_compression(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await owe(integration, crm, "ada")
    await integration.send()

    for request in (*crm.requests, *inventory.requests):
        assert request.headers["authorization"] == "Bearer integration123"
        assert request.headers["accept-encoding"] == "identity"
    assert json.loads(inventory.requests[0].content) == [
        {
            "customer_id": "ada",
            "package_type": "welcome_package",
            "occurrence": 1,
            "customer_name": "Customer ada",
        }
    ]


CRM_ELSEWHERE = {"Location": "http://elsewhere/api/events"}
CRM_FAILURES = {
    **{
        name: (case.fault, case.said, "transient")
        for name, case in TRANSIENT.items()
        if "JSON" not in name
    },
    **{
        name: (fault, said, "configuration")
        for name, (fault, said, _) in (CONFIGURATION | FOREIGN).items()
        if "after the effect" not in name and name != "204"
    },
    "400": (refuses(400, "cursor-malformed"), "it answered 400", "refused"),
    "409 of another kind": (refuses(409, "busy"), "it answered 409", "configuration"),
    "422": (refuses(422, "invalid-request"), "it answered 422", "refused"),
}


@pytest.mark.parametrize(("fault", "said", "kind"), CRM_FAILURES.values(), ids=CRM_FAILURES)
async def test_a_failing_crm_moves_nothing(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    log: Log,
    fault: Fault,
    said: str,
    kind: str,
) -> None:
    await owe(integration, crm, "ada")
    crm.register("bob", "cid")
    crm.fault = fault

    for _ in range(3):
        assert 0 < await integration.poll() <= 10
        clock.advance(seconds=10)

    status = await integration.status()
    assert status.feed.position == 1
    assert status.feed.state == "running"
    assert (status.circuits["crm"].state, status.circuits["crm"].error_class) == ("open", kind)
    assert said in str(status.circuits["crm"].error)
    assert said in str(status.last_error)
    told = log.warnings if kind == "transient" else log.errors
    assert len(told) == len(log.errors + log.warnings) == 1
    assert said in told[0]
    if kind != "transient":
        assert ("CRM_API_TOKEN" if said[-3:] in {"401", "403"} else "CRM_API_URL") in told[0]

    crm.fault = None
    await integration.work()

    await assert_all_is_well(integration, inventory)
    assert (await integration.status()).circuits["crm"].state == "closed"
    assert "The CRM answers again." in log.infos
