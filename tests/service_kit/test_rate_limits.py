"""How often a caller may ask, and how often an address may be wrong about a token."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service_kit.process import rates
from service_kit.process.rates import Buckets, Rate, Spacing
from service_kit.web import overload
from service_kit.web.rate_limits import BODY_UNIT, address_of
from tests.conftest import bearer, running
from tests.service_kit.conftest import Time, create_app, new_sqlite

JSON = {"Content-Type": "application/json"}
A_LONG_TOKEN = "crm_0a1B" + "x" * 45


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    passing = Time()
    monkeypatch.setattr(rates, "time", passing)
    return passing


@pytest.fixture(autouse=True)
def _refusals_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "PAUSE_SECONDS", 0)


@asynccontextmanager
async def limited(folder: Path, **settings: Any) -> AsyncIterator[FastAPI]:
    settings = {"rate_limit": Rate(5, 1)} | settings
    app = create_app(new_sqlite(folder), **settings)
    async with running(app):
        yield app


def caller(app: FastAPI, address: str = "192.0.2.1", token: str | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(address, 1)),
        base_url="http://test",
        headers=bearer(token) if token else {},
    )


async def statuses(client: httpx.AsyncClient, path: str, number: int) -> list[int]:
    return [(await client.get(path)).status_code for _ in range(number)]


async def test_a_caller_may_ask_twice_the_rate_at_once_and_then_at_the_rate(
    tmp_path: Path, time: Time
) -> None:
    async with limited(tmp_path) as app, caller(app, token="admin123") as admin:
        assert await statuses(admin, "/api/boxes", 11) == [200] * 10 + [429]
        time.now += 0.2
        assert await statuses(admin, "/api/boxes", 2) == [200, 429]
        time.now += 1
        assert await statuses(admin, "/api/boxes", 6) == [200] * 5 + [429]
        time.now += 3600
        assert await statuses(admin, "/api/boxes", 11) == [200] * 10 + [429]


async def test_every_answer_says_what_is_left_and_a_refusal_when_to_come_back(
    tmp_path: Path,
) -> None:
    async with (
        limited(tmp_path, rate_limit=Rate(3, 60)) as app,
        caller(app, token="viewer123") as viewer,
    ):
        answers = [
            await viewer.request(method, path)
            for method, path in [
                ("GET", "/api/boxes"),
                ("HEAD", "/api/boxes"),
                ("GET", "/api/boxes/4711"),
                ("POST", "/api/boxes"),
                ("GET", "/api/boxes?limit=0"),
                ("GET", "/api/boxes"),
                ("GET", "/api/boxes"),
            ]
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 404, 403, 422, 200, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"caller";q=6;w=120'}
    assert [answer.headers["ratelimit"] for answer in answers] == [
        '"caller";r=5;t=20',
        '"caller";r=4;t=40',
        '"caller";r=3;t=60',
        '"caller";r=2;t=80',
        '"caller";r=1;t=100',
        '"caller";r=0;t=120',
        '"caller";r=0;t=20',
    ]
    assert answers[-1].headers["retry-after"] == "20"
    assert answers[-1].json()["type"] == "urn:problem:too-many-requests"
    assert answers[-1].json()["request_id"] == answers[-1].headers["x-request-id"]


async def test_each_token_counts_for_itself_wherever_it_comes_from(tmp_path: Path) -> None:
    tokens = [("admin", "one"), ("admin", "two")]
    async with limited(tmp_path, api_tokens=tokens) as app:
        async with caller(app, "192.0.2.1", "one") as here:
            assert await statuses(here, "/api/boxes", 5) == [200] * 5
        async with caller(app, "192.0.2.2", "one") as there:
            assert await statuses(there, "/api/boxes", 6) == [200] * 5 + [429]
        async with caller(app, "192.0.2.1", "two") as other:
            assert await statuses(other, "/api/boxes", 1) == [200]


@pytest.mark.parametrize(
    ("path", "status"), [("/openapi.json", 200), ("/nothing", 404), ("/api/boxes", 401)]
)
async def test_who_shows_no_token_is_counted_by_address(
    tmp_path: Path, path: str, status: int
) -> None:
    async with limited(tmp_path) as app:
        async with caller(app) as stranger:
            assert await statuses(stranger, path, 11) == [status] * 10 + [429]
        async with caller(app, "192.0.2.2") as other, caller(app, token="admin123") as admin:
            assert await statuses(other, path, 1) == [status]
            assert await statuses(admin, "/api/boxes", 1) == [200]


async def test_a_token_that_nobody_looks_at_helps_nobody_past_the_limit(tmp_path: Path) -> None:
    async with limited(tmp_path) as app:
        answers = []
        for number in range(11):
            async with caller(app, token=f"wrong{number}") as stranger:
                answers += await statuses(stranger, "/openapi.json", 1)

    assert answers == [200] * 10 + [429]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/api/boxes", 405),
        ("OPTIONS", "/api/boxes", 204),
        ("OPTIONS", "/nothing", 404),
        ("POST", "/echo", 422),
    ],
)
async def test_what_ends_before_its_token_is_looked_at_is_counted_by_address(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    async with limited(tmp_path) as app:
        answers = []
        for token in [*["admin123", "wrong"] * 5, "other"]:
            async with caller(app, token=token) as somebody:
                answers.append(await somebody.request(method, path))
        async with caller(app, "192.0.2.2", token="admin123") as elsewhere:
            assert (await elsewhere.request(method, path)).status_code == status

    assert [answer.status_code for answer in answers] == [status] * 10 + [429]
    assert [answer.headers["ratelimit"] for answer in answers[:2]] == [
        '"caller";r=9;t=1',
        '"caller";r=8;t=1',
    ]


async def test_preflights_are_counted_by_address(tmp_path: Path) -> None:
    headers = {"Origin": "https://desk.example", "Access-Control-Request-Method": "GET"}
    async with (
        limited(tmp_path, cors_origins=["https://desk.example"]) as app,
        caller(app, token="admin123") as page,
    ):
        answers = [await page.options("/api/boxes", headers=headers) for _ in range(11)]
        refused = [await page.get("/api/boxes", headers=headers) for _ in range(11)][-1]

    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert answers[0].headers["ratelimit"] == '"caller";r=9;t=1'
    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == "https://desk.example"


async def test_requests_for_another_host_are_counted_by_address(tmp_path: Path) -> None:
    async with (
        limited(tmp_path, allowed_hosts="localhost", cors_origins=["https://desk.example"]) as app,
        caller(app, token="admin123") as misled,
    ):
        assert await statuses(misled, "/api/boxes", 11) == [421] * 10 + [429]


async def test_wrong_tokens_use_up_what_their_address_may_ask(tmp_path: Path) -> None:
    async with limited(tmp_path) as app:
        async with caller(app, token="wrong") as guessing:
            answers = [await guessing.get("/api/boxes") for _ in range(11)]
        async with caller(app) as stranger, caller(app, token="admin123") as admin:
            assert await statuses(stranger, "/nothing", 1) == [429]
            assert await statuses(admin, "/api/boxes", 1) == [200]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[0].headers["ratelimit"] == '"caller";r=9;t=1'


async def test_a_body_counts_by_its_length_up_to_the_rate(tmp_path: Path) -> None:
    async with limited(tmp_path) as app, caller(app, token="admin123") as admin:
        for length, left in [(10, 9), (BODY_UNIT, 7), (3 * BODY_UNIT, 3)]:
            answer = await admin.post("/api/boxes", content=b" " * length, headers=JSON)
            assert answer.headers["ratelimit"].startswith(f'"caller";r={left};')
            assert answer.status_code == 422
        too_much = await admin.post("/api/boxes", content=b" " * 2**20, headers=JSON)
        assert too_much.status_code == 429
        assert too_much.headers["retry-after"] == "1"


async def test_the_largest_body_counts_as_many_requests_as_the_rate(tmp_path: Path) -> None:
    async with limited(tmp_path) as app, caller(app, token="admin123") as admin:
        answer = await admin.post("/api/boxes", content=b" " * 2**20, headers=JSON)

    assert (answer.status_code, answer.headers["ratelimit"]) == (422, '"caller";r=5;t=1')


async def test_a_body_of_unknown_length_counts_as_it_comes(tmp_path: Path, time: Time) -> None:
    async def pieces(number: int) -> AsyncIterator[bytes]:
        for _ in range(number):
            yield b" " * BODY_UNIT

    async with limited(tmp_path) as app, caller(app, token="admin123") as admin:

        async def post(number: int) -> int:
            answer = await admin.post("/api/boxes", content=pieces(number), headers=JSON)
            return answer.status_code

        assert await post(2) == 422  # has taken 3 of 10, and the next one 5, which is the most
        assert await post(100) == 422
        assert await post(100) == 429
        time.now += 2
        assert [await post(100), await post(100), await post(0)] == [422, 422, 429]


async def test_refusals_are_sent_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with limited(tmp_path) as app, caller(app, token="admin123") as admin:
        monkeypatch.setattr(overload, "PAUSE_SECONDS", 3600)
        assert await statuses(admin, "/api/boxes", 10) == [200] * 10
        refused = asyncio.create_task(admin.get("/api/boxes"))
        wrong = asyncio.create_task(admin.get("/api/boxes", headers=bearer("wrong")))
        assert (await wrong).status_code == 401
        await turns()
        assert not refused.done()
        assert app.state.capacity.at_work.taken == 0
        refused.cancel()
        await asyncio.gather(refused, return_exceptions=True)


async def turns() -> None:
    """Let all others do what they can do without waiting for anything."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics"])
async def test_who_asks_for_the_state_too_often_waits_for_each_answer(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with limited(tmp_path) as app, caller(app) as hasty, caller(app, "192.0.2.2") as other:
        monkeypatch.setattr(overload, "PAUSE_SECONDS", 3600)
        assert await statuses(hasty, path, 10) == [200] * 10
        delayed = asyncio.create_task(hasty.get(path))
        assert await statuses(other, path, 1) == [200]
        await turns()
        assert not delayed.done()
        delayed.cancel()
        await asyncio.gather(delayed, return_exceptions=True)


async def test_what_operators_ask_is_never_refused(tmp_path: Path) -> None:
    async with limited(tmp_path) as app, caller(app) as stranger:
        for path in ("/health", "/health/ready", "/metrics"):
            assert await statuses(stranger, path, 12) == [200] * 12
            assert "ratelimit" not in (await stranger.get(path)).headers


async def test_without_a_limit_nothing_is_counted(tmp_path: Path) -> None:
    async with limited(tmp_path, rate_limit="off") as app, caller(app, token="admin123") as admin:
        answers = [await admin.get("/api/boxes") for _ in range(120)]

    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers


async def test_an_address_may_be_wrong_once_a_second_and_is_then_told_so(
    tmp_path: Path, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with limited(tmp_path, rate_limit=Rate(50, 1)) as app:
        async with caller(app, token=A_LONG_TOKEN) as guessing:
            answers = [await guessing.get("/api/boxes") for _ in range(65)]
            assert [answer.status_code for answer in answers] == [401] * 60 + [429] * 5
            assert answers[-1].headers["retry-after"] == "1"
            assert answers[-1].json()["type"] == "urn:problem:too-many-requests"
            time.now += 1
            assert await statuses(guessing, "/api/boxes", 2) == [401, 429]
        async with caller(app, token="admin123") as neighbour:
            assert await statuses(neighbour, "/api/boxes", 20) == [200] * 20
        async with caller(app) as without:
            assert await statuses(without, "/api/boxes", 20) == [401] * 20
        async with caller(app, "192.0.2.2", token="wrong") as elsewhere:
            assert await statuses(elsewhere, "/api/boxes", 1) == [401]

    told = [record.getMessage() for record in caplog.records]
    assert (
        told.count(
            "Authentication failed: unknown, expired or revoked, token crm_0a1B…, from 192.0.2.1."
        )
        == 61
    )
    assert sum("not logged" in line for line in told) == 2


@pytest.mark.parametrize("header", ["Basic YWRtaW46MTIz", "Bearer", "Bearer a token", "Bearer é"])
async def test_what_is_no_bearer_token_counts_as_a_wrong_one(
    tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited(tmp_path, rate_limit=Rate(50, 1)) as app, caller(app) as guessing:
        guessing.headers["Authorization"] = header
        assert await statuses(guessing, "/api/boxes", 62) == [401] * 60 + [429] * 2

    told = "Authentication failed: malformed, token (not shown), from 192.0.2.1."
    assert [record.getMessage() for record in caplog.records].count(told) == 60


async def test_without_a_limit_a_wrong_token_is_always_401_and_the_log_stays_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited(tmp_path, rate_limit="off") as app, caller(app, token="no") as guessing:
        assert await statuses(guessing, "/api/boxes", 80) == [401] * 80

    assert len(caplog.records) == 62


@pytest.mark.parametrize("token", ["admin12", "s3cret-of-another-kind", "crm_short", "a" * 60])
async def test_no_more_of_a_token_is_logged_than_helps_nobody_to_guess(
    tmp_path: Path, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited(tmp_path) as app, caller(app, token=token) as guessing:
        await guessing.get("/api/boxes")

    assert "token (not shown)" in caplog.text
    assert token not in caplog.text


def test_the_memory_for_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_CALLERS", 3)
    buckets = Buckets(Rate(1, 1), 1)
    for name in "abc":
        buckets.take(name)
    assert not buckets.take("a").is_allowed

    for name in "defgh":
        assert buckets.take(name).is_allowed

    assert len(buckets._full_at) == 3
    assert buckets.take("a").is_allowed


def test_who_asks_most_is_not_forgotten_for_whoever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_CALLERS", 3)
    buckets = Buckets(Rate(1, 1), 2)
    for name in "abcad":
        assert buckets.take(name).is_allowed

    assert not buckets.take("a").is_allowed


async def test_what_a_proxy_forwards_may_be_no_address(tmp_path: Path) -> None:
    async with limited(tmp_path) as app:
        behind = ProxyHeadersMiddleware(app, trusted_hosts="127.0.0.1")  # type: ignore[arg-type]
        transport = httpx.ASGITransport(behind, client=("127.0.0.1", 1))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as proxy:
            answers = [
                await proxy.get("/nothing", headers={"x-forwarded-for": f"not:an:address:{number}"})
                for number in range(11)
            ]

    assert [answer.status_code for answer in answers] == [404] * 10 + [429]


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9%eth0", 1), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("not an address", 1), "unknown"),
        (("not:an:address", 1), "unknown"),
        (("[2001:db8::1", 0), "unknown"),
        (("192.0.2.1:http", 0), "unknown"),
        (("", 1), "unknown"),
        (None, "unknown"),
    ],
)
def test_an_address_names_whoever_has_it(client: Any, name: str) -> None:
    assert address_of({"client": client}) == name


def test_one_caller_gets_its_refusals_one_after_another(time: Time) -> None:
    spacing = Spacing(0.25)

    assert [spacing.next_in("greedy", 1) for _ in range(4)] == [1, 1.25, 1.5, 1.75]
    assert spacing.next_in("other", 1) == 1
    time.now += 1.75
    assert [spacing.next_in("greedy", 1) for _ in range(2)] == [1, 1.25]


def test_the_memory_for_refusals_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_CALLERS", 3)
    spacing = Spacing(1)

    for name in "abcdefgh":
        spacing.next_in(name, 1)

    assert len(spacing._next_at) == 3


async def test_a_process_that_stops_sends_its_refusals_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with limited(tmp_path) as app, caller(app, token="admin123") as admin:
        monkeypatch.setattr(overload, "PAUSE_SECONDS", 3600)
        refused = [asyncio.create_task(admin.get("/api/boxes")) for _ in range(12)]
        await turns()
        app.state.stopping.begin()
        answers = await asyncio.wait_for(asyncio.gather(*refused), 5)

    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 2


async def test_ten_wrong_tokens_within_a_minute_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited(tmp_path) as app:
        for address, number in (("192.0.2.1", 9), ("192.0.2.2", 15)):
            async with caller(app, address, "wrong") as stranger:
                await statuses(stranger, "/api/boxes", number)
    told = [line for line in caplog.messages if "somebody may be guessing" in line]

    assert told == [
        "10 invalid tokens came from 192.0.2.2 within a minute: somebody may be guessing."
    ]
