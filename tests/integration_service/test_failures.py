"""Every way in which a far side can fail: what is written down of it, and that nothing is lost."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from tests.integration_service.conftest import FakeClock, Integration, Log
from tests.integration_service.doubles import (
    CrmDouble,
    Fault,
    InventoryDouble,
    after_effect,
    answers,
    customers_in,
    raises,
    refuses,
)

THREE = ["ada", "bob", "cid"]


@pytest.fixture
def engine() -> str:
    """What a failure means is decided before anything is written; test_ingest has both engines."""
    return "sqlite"


@dataclass(frozen=True)
class Case:
    """A failure of a whole call, and what is to be known of it afterwards."""

    fault: Fault
    status: int | None
    said: str
    # It is tried again at once when it is likely to be gone in a moment.
    tries: int = 1


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
    "nothing": Case(answers(200), 200, "not JSON"),
    "204": Case(after_effect(answers(204)), 204, "not JSON"),
    "malformed JSON": Case(after_effect(answers(200, text='[{"status": 201')), 200, "not JSON"),
    "HTML": Case(answers(200, html="<h1>Hello</h1>"), 200, "not JSON"),
    "bytes": Case(answers(200, content=b"\xff\xfe\x00"), 200, "not JSON"),
    "NaN": Case(answers(200, content=b"[NaN, NaN, NaN]"), 200, "not JSON"),
    "deep": Case(answers(200, content=b"[" * 100_000), 200, "not JSON"),
}
# What the CRM may answer as well, but not for what it was asked.
NOT_A_LIST_OF_RESULTS = {
    "null": Case(answers(200, json=None), 200, "not JSON"),
    "an object": Case(answers(200, json={"status": 201}), 200, "not one result an item"),
    "no results": Case(answers(200, json=[]), 200, "not one result an item"),
    "a result short": Case(
        after_effect(answers(200, json=[{"status": 201}] * 2)), 200, "not one result an item"
    ),
    "a result too many": Case(
        answers(200, json=[{"status": 201}] * 4), 200, "not one result an item"
    ),
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
REFUSED = [400, 409, 410, 413, 415, 422]


async def owe(integration: Integration, crm: CrmDouble, *uids: str) -> None:
    """Have the integration find these customers."""
    crm.register(*uids)
    while await integration.look() == 0:
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


@pytest.mark.parametrize(
    "case", (TRANSIENT | NOT_A_LIST_OF_RESULTS).values(), ids=TRANSIENT | NOT_A_LIST_OF_RESULTS
)
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


@pytest.mark.parametrize(("fault", "said", "variable"), CONFIGURATION.values(), ids=CONFIGURATION)
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


@pytest.mark.parametrize("status", REFUSED)
async def test_a_refused_batch_is_halved_until_the_one_that_spoils_it_is_found(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
    status: int,
) -> None:
    await owe(integration, crm, *THREE, "dan", "eve")
    refuse = refuses(status, "unfit", "Not that one.")
    inventory.fault = lambda double, request: (
        refuse(double, request) if "bob" in customers_in(request) else None
    )

    await integration.send()

    assert inventory.owners == ["ada", "cid", "dan", "eve"]
    bob = await integration.delivery("bob")
    assert (bob.state, bob.attempt_count, bob.error_class) == ("dead", 1, "refused")
    assert bob.error == f"it answered {status}: Not that one."
    assert bob.problem == bob.problem | {"type": "urn:problem:unfit", "detail": "Not that one."}
    assert bob.next_attempt_at is None
    [error] = log.errors
    assert "customer ID: bob is dead" in error
    assert "Not that one." in error
    assert list((await integration.states()).values()).count("delivered") == 4
    assert (await integration.status()).circuits["inventory"].state == "closed"


@pytest.mark.parametrize("status", REFUSED)
async def test_a_refused_item_is_dead_at_once_and_the_others_are_delivered(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log, status: int
) -> None:
    await owe(integration, crm, *THREE)
    unfit = {"type": "urn:problem:unfit", "status": status, "detail": "Not that one."}

    def refuse_bob(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        results = [
            {"status": status, "problem": unfit}
            if item["customer_id"] == "bob"
            else double.make(item)
            for item in json.loads(request.content)
        ]
        return httpx.Response(200, json=results)

    inventory.fault = refuse_bob
    await integration.send()

    assert await integration.states() == {"ada": "delivered", "bob": "dead", "cid": "delivered"}
    bob = await integration.delivery("bob")
    assert bob.error == f"it answered {status}: Not that one."
    assert bob.problem == unfit
    assert [(one.status, one.error_class) for one in bob.attempts] == [(status, "refused")]
    assert len(inventory.batches) == 1
    assert len(log.errors) == 1


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

    def mumble(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
        double.carry_out(request)
        results = [double.make(item) for item in json.loads(request.content)]
        results[customers_in(request).index("bob")] = result
        return httpx.Response(200, content=json.dumps(results))

    inventory.fault = mumble
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


ODD_TEXTS = ["\0", "\ud800", "a\0b\udfff", "\n", "\u2028", "x" * 100_000, "🎉" * 600]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: ascii(text)[:10])
async def test_whatever_a_problem_says_can_be_written_down(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, log: Log, text: str
) -> None:
    problem = json.dumps({"detail": text, text: [text, 10**400, {"title": text}]})

    for status, state in {503: "retrying", 422: "dead", 401: "pending"}.items():
        await owe(integration, crm, state)
        inventory.fault = answers(status, content=problem)
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
    **{name: (case.fault, case.said, "transient") for name, case in TRANSIENT.items()},
    **{name: (fault, said, "configuration") for name, (fault, said, _) in CONFIGURATION.items()},
    "400": (refuses(400, "cursor-malformed"), "it answered 400", "refused"),
    "409 of another kind": (refuses(409, "busy"), "it answered 409", "refused"),
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
        assert 0 < await integration.look() <= 10
        clock.advance(seconds=10)

    status = await integration.status()
    assert status.feed.position == 1
    assert status.feed.state == "running"
    assert (status.circuits["crm"].state, status.circuits["crm"].error_class) == ("open", kind)
    assert said in str(status.circuits["crm"].error)
    assert said in str(status.last_error)
    told = log.errors if kind == "configuration" else log.warnings
    assert len(told) == len(log.errors + log.warnings) == 1
    assert said in told[0]
    if kind == "configuration":
        assert ("CRM_API_TOKEN" if said[-3:] in {"401", "403"} else "CRM_API_URL") in told[0]

    crm.fault = None
    await integration.work()

    await assert_all_is_well(integration, inventory)
    assert (await integration.status()).circuits["crm"].state == "closed"
    assert "The CRM answers again." in log.infos
