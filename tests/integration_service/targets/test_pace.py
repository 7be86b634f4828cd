"""The integration asks no more often than a far side says it may."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from integration_service.targets import http as links
from integration_service.targets import pace
from integration_service.targets.http import Link
from integration_service.targets.pace import Pace
from service_kit.process import rates
from service_kit.process.rates import Rate
from service_kit.web.rate_limits import BODY_UNIT
from tests.conftest import running
from tests.service_kit.conftest import create_app, new_sqlite


class Time:
    """A clock that both sides look at, and on which sleeping takes no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    passing = Time()
    monkeypatch.setattr(rates, "time", passing)
    monkeypatch.setattr(pace, "time", passing)
    monkeypatch.setattr(pace, "asyncio", passing)
    return passing


@pytest.fixture
async def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Link]:
    """A link to a service that allows a caller five requests a second."""
    app = create_app(new_sqlite(tmp_path), rate_limit=Rate(5, 1))

    def in_process(**_: object) -> httpx.ASGITransport:
        return httpx.ASGITransport(app)

    async with running(app):
        monkeypatch.setattr(links, "Transport", in_process)
        link = Link("http://test", "admin123")
        yield link
        await link.close()


async def test_a_far_side_with_a_limit_never_has_to_refuse(link: Link, time: Time) -> None:
    began_at = time.now

    for _ in range(100):
        assert (await link.call("GET", "/api/boxes")).status == 200

    assert 15 < time.now - began_at < 25


async def test_a_far_side_that_counts_bodies_by_their_length_has_to_refuse_none(
    link: Link, time: Time
) -> None:
    began_at = time.now

    for number in range(40):
        label = f"{number}".ljust(50, "x")
        padded = [label, " " * (3 * BODY_UNIT)]
        assert (await link.call("POST", "/echo", body=padded)).status == 200

    # Each counts as four requests, of which there are ten at once and five a second.
    assert 28 < time.now - began_at < 40


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ratelimit": '"caller";r=0;t=1'},
        {"ratelimit-policy": '"caller";q=100;w=2'},
        {"ratelimit-policy": "caller;q=0;w=0", "ratelimit": "nonsense"},
        {"ratelimit-policy": '"caller";q=100;w=2', "ratelimit": '"caller";r=50;t=1'},
    ],
)
async def test_who_has_enough_left_or_is_told_nothing_does_not_wait(
    headers: dict[str, str], time: Time
) -> None:
    keeping = Pace()
    keeping.note({"ratelimit-policy": '"caller";q=100;w=2', "ratelimit": '"caller";r=1;t=1'})
    keeping.note(headers)

    await keeping.wait()
    await keeping.wait()

    assert time.now == 1000


async def test_no_far_side_can_make_one_wait_for_long(time: Time) -> None:
    keeping = Pace()
    keeping.note({"ratelimit-policy": '"x";q=1;w=99999999', "ratelimit": '"x";r=0;t=99999999'})

    await asyncio.gather(*(keeping.wait() for _ in range(3)))

    assert time.now - 1000 <= 3
