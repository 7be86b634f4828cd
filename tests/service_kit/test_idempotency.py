"""Idempotency-Key: once for a caller, a route and a key; stored with its effect or not at all."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import asyncpg
import httpx
import pytest
from fastapi import APIRouter, Response
from sqlalchemy import Connection, MetaData, delete, select

from service_kit.database import open_database
from service_kit.web.auth import GuardedRoute, Principal, needs
from service_kit.web.idempotency import (
    Answer,
    Idempotent,
    StoredAnswers,
)
from service_kit.web.openapi import documented
from tests.conftest import bearer, running
from tests.service_kit.conftest import BoxNew, LabelTaken, add, boxes, create_app, labels

KEYED = "/api/keyed"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
metadata = MetaData()
kept = StoredAnswers(metadata)
table = kept.keys
CanKeep = Annotated[Principal, needs("boxes:read")]
keyed = APIRouter(prefix=KEYED, route_class=GuardedRoute)


def keep(db: Connection, new: BoxNew) -> int:
    number = add(db, new.label, new.shelf)
    if new.weight:
        raise RuntimeError("a bug, after the effect")
    return number


@keyed.post(
    "/{room}",
    status_code=201,
    responses=documented(LabelTaken),
)
async def keep_box(room: str, new: BoxNew, _: CanKeep, idempotency: Idempotent) -> Response:
    def answer(number: int) -> Answer:
        return Answer(201, f'{{"id":{number}}}', {"Location": f"/api/boxes/{number}"})

    return await idempotency.write(keep, answer, new)


@pytest.fixture
async def url(database_url: str) -> str:
    """Give the URL of a database with no boxes and no keys in it."""
    database = open_database(database_url, pool_size=2)
    await database.open()
    await database.write(metadata.create_all)
    await database.close()
    return database_url


@pytest.fixture
async def service(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(url, keyed, stored_answers=kept), token="admin123") as client:
        yield client


async def send(
    service: httpx.AsyncClient, label: str, key: str | None = "k", *, room: str = "1", **more: Any
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    headers |= bearer(more.pop("token", "admin123"))
    return await service.post(f"{KEYED}/{room}", json={"label": label, **more}, headers=headers)


def is_replay(answer: httpx.Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


async def run(service: httpx.AsyncClient, work: Any, *args: Any) -> Any:
    return await service.app.state.database.write(work, *args)  # type: ignore[attr-defined]


def keys(db: Connection) -> list[str]:
    return list(db.execute(select(table.c.key).order_by(table.c.id)).scalars())


async def test_the_first_answer_comes_again_and_nothing_is_done_again(
    service: httpx.AsyncClient,
) -> None:
    first = await send(service, "one")
    again = [await send(service, "one") for _ in range(3)]

    assert first.status_code == 201
    assert "idempotent-replayed" not in first.headers
    for answer in again:
        assert is_replay(answer)
        assert (answer.status_code, answer.content) == (201, first.content)
        for name in ("location", "content-type"):
            assert answer.headers[name] == first.headers[name]
    assert await run(service, labels) == ["one"]


async def test_without_a_key_nothing_is_stored(service: httpx.AsyncClient) -> None:
    answers = [await send(service, "one", None) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 409]
    assert await run(service, keys) == []


@pytest.mark.parametrize(
    "other",
    [
        {"label": "two"},
        {"label": "one", "shelf": 1},
        {"label": "one", "shelf": 0},
    ],
)
async def test_another_body_is_refused(service: httpx.AsyncClient, other: dict[str, Any]) -> None:
    first = await send(service, "one")

    refused = await send(service, **other)

    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:problem:idempotency-key-reused"
    assert await run(service, labels) == ["one"]
    assert (await send(service, "one")).content == first.content


async def test_another_caller_or_key_is_another_call(url: str) -> None:
    tokens = "admin:first-of-admins,admin:second-of-admins,viewer:viewer-token"
    calls = [
        ("k", "first-of-admins"),
        ("k", "second-of-admins"),
        ("k", "viewer-token"),
        ("K", "first-of-admins"),
        ("k2", "first-of-admins"),
    ]
    async with running(create_app(url, keyed, stored_answers=kept, api_tokens=tokens)) as service:
        made, again = [
            [await send(service, f"{key} of {token}", key, token=token) for key, token in calls]
            for _ in range(2)
        ]

    assert [answer.status_code for answer in made] == [201] * 5
    assert not any(is_replay(answer) for answer in made)
    assert all(is_replay(answer) for answer in again)
    assert [answer.json()["id"] for answer in again] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("room", ["x" * 250, "x" * 5000, "\u00e9\U0001f389", "%2e", "a'b"])
async def test_a_path_may_be_long_and_another_one_is_another_body(
    service: httpx.AsyncClient, room: str
) -> None:
    first = await send(service, "one", room=room)

    again, other = await send(service, "one", room=room), await send(service, "one", room="2")

    assert first.status_code == 201
    assert (again.status_code, again.content, is_replay(again)) == (201, first.content, True)
    assert other.json()["type"] == "urn:problem:idempotency-key-reused"
    assert await run(service, labels) == ["one"]


async def test_a_refusal_is_not_stored(service: httpx.AsyncClient) -> None:
    await send(service, "one", None)
    refused = await send(service, "one")
    stored = await run(service, keys)
    await run(service, lambda db: db.execute(delete(boxes)))

    done = await send(service, "one")

    assert (refused.status_code, stored) == (409, [])
    assert done.status_code == 201
    assert not is_replay(done)


async def test_a_bug_after_the_effect_leaves_neither_effect_nor_answer(
    service: httpx.AsyncClient,
) -> None:
    broken = await send(service, "one", weight=1.5)

    assert broken.status_code == 500
    assert await run(service, labels) == []
    assert await run(service, keys) == []
    done = await send(service, "two")
    assert done.status_code == 201
    assert not is_replay(done)


async def test_what_was_refused_for_one_may_be_done_for_the_other_at_the_same_moment(
    service: httpx.AsyncClient,
) -> None:
    await send(service, "there", None)

    answers = await asyncio.gather(send(service, "there"), send(service, "new"))

    # On PostgreSQL they may overlap; then the second is told that the first is still running.
    assert answers[0].status_code == 409
    assert answers[1].status_code in {201, 409}
    assert (await send(service, "new")).status_code == 201
    assert await run(service, labels) == ["there", "new"]


@pytest.mark.parametrize("replicas", [1, 2])
async def test_of_many_at_once_one_is_done(url: str, engine: str, replicas: int) -> None:
    async with (
        running(create_app(url, keyed, stored_answers=kept), token="admin123") as one,
        running(create_app(url, keyed, stored_answers=kept), token="admin123") as other,
    ):
        apps = (one, other)[:replicas]
        answers = await asyncio.gather(*(send(apps[n % replicas], "one") for n in range(12)))

        counted = Counter((answer.status_code, is_replay(answer)) for answer in answers)
        assert counted[201, False] == 1
        assert counted[201, True] + counted[409, False] == 11
        if engine == "sqlite":
            assert counted[201, True] == 11
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert is_replay(await send(other, "one"))
        assert await run(one, labels) == ["one"]


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again and again, with a moment between, until there is something to be had."""
    for _ in range(2_000):
        if found := await ask():
            return found
        await asyncio.sleep(0.002)
    raise AssertionError("nothing came")


async def answer_of(service: httpx.AsyncClient) -> httpx.Response | None:
    answer = await send(service, "one")
    return None if answer.status_code == 409 else answer


@asynccontextmanager
async def holding_boxes(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Let nobody add a box. Gives a connection to look at who waits."""
    holding, looking = [await asyncpg.connect(url) for _ in range(2)]
    try:
        await holding.execute("BEGIN; LOCK TABLE boxes IN EXCLUSIVE MODE")
        yield looking
    finally:
        await holding.close()
        await looking.close()


@pytest.mark.engine("postgresql")
async def test_while_the_first_runs_the_second_is_told_when_to_come_back(
    service: httpx.AsyncClient, url: str
) -> None:
    async with holding_boxes(url) as looking:
        first = asyncio.create_task(send(service, "one"))
        await until(lambda: looking.fetchval(WAITING))
        meanwhile = [await send(service, "one"), await send(service, "two")]
        other_key = asyncio.create_task(send(service, "other", "k2"))

    for answer in meanwhile:
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:problem:still-running"
        assert answer.headers["retry-after"] == "1"
    assert not is_replay(await first)
    assert (await first).status_code == (await other_key).status_code == 201
    assert (await send(service, "one")).content == (await first).content
    assert (await send(service, "two")).status_code == 422


@pytest.mark.engine("postgresql")
async def test_a_caller_that_goes_away_finds_its_answer_when_it_comes_back(
    service: httpx.AsyncClient, url: str
) -> None:
    async with holding_boxes(url) as looking:
        gone = asyncio.create_task(send(service, "one"))
        await until(lambda: looking.fetchval(WAITING))
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    answer = await until(lambda: answer_of(service))

    assert is_replay(answer)
    assert await run(service, labels) == ["one"]


def age(db: Connection, pattern: str, days: float) -> None:
    """Make answers older than they are."""
    at = datetime.now(UTC) - timedelta(days=days)
    db.execute(table.update().where(table.c.key.like(pattern)).values(created_at=at))


async def test_answers_are_kept_for_seven_days(service: httpx.AsyncClient) -> None:
    for name in ("old", "young"):
        await send(service, name, name)
    await run(service, age, "old", 7.001)
    await run(service, age, "young", 6.999)

    await send(service, "new", "new")

    assert await run(service, keys) == ["young", "new"]
    assert is_replay(await send(service, "young", "young"))


async def test_a_key_that_is_too_old_counts_as_new_whether_it_went_already_or_not(
    service: httpx.AsyncClient,
) -> None:
    for number in range(8):
        await send(service, f"older {number}", f"older-{number}")
    await send(service, "one", "k")
    await run(service, age, "older-%", 9)
    await run(service, age, "k", 8)

    answer = await send(service, "two", "k")

    assert (answer.status_code, is_replay(answer)) == (201, False)
    assert is_replay(await send(service, "two", "k"))


async def test_what_a_clock_that_was_ahead_has_stored_is_kept_no_longer_than_the_rest(
    service: httpx.AsyncClient,
) -> None:
    await send(service, "one", "ahead")
    await run(service, age, "ahead", -400)

    assert is_replay(await send(service, "one", "ahead"))
    await send(service, "two", "other")
    [at] = await run(
        service,
        lambda db: (
            db.execute(select(table.c.created_at).where(table.c.key == "ahead")).scalars().all()
        ),
    )

    assert abs(at - datetime.now(UTC)) < timedelta(days=1)


async def test_many_old_answers_go_a_few_at_a_time(service: httpx.AsyncClient) -> None:
    for number in range(30):
        await send(service, f"box {number}", f"old-{number}")
    await run(service, age, "old-%", 8)

    left = []
    for number in range(3):
        await send(service, f"new {number}", f"new-{number}")
        left.append(len([key for key in await run(service, keys) if key.startswith("old")]))

    assert left == [25, 20, 15]


async def test_old_answers_go_when_many_come_at_once(service: httpx.AsyncClient) -> None:
    for number in range(10):
        await send(service, f"box {number}", f"old-{number}")
    await run(service, age, "old-%", 8)

    answers = await asyncio.gather(
        *(send(service, f"new {number}", f"new-{number}") for number in range(12))
    )

    assert {answer.status_code for answer in answers} == {201}
    assert sorted(await run(service, keys)) == sorted(f"new-{number}" for number in range(12))


@pytest.mark.parametrize("key", ["x", "x" * 200, "!~", '"quoted"', "8e03978e-40d5-43e8", "a,b;c"])
async def test_a_key_is_any_visible_text(service: httpx.AsyncClient, key: str) -> None:
    await send(service, "one", key)

    assert is_replay(await send(service, "one", key))
    assert await run(service, keys) == [key]


@pytest.mark.parametrize("key", ["", "x" * 201, "a b", "a\tb", "\x80", "é"])
async def test_a_key_that_is_none_is_refused_and_nothing_is_done(
    service: httpx.AsyncClient, key: str
) -> None:
    answer = await service.post(
        f"{KEYED}/1", json={"label": "one"}, headers=[("Idempotency-Key", key.encode("latin-1"))]
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert await run(service, labels) == []


async def test_who_is_in_many_answers_more_than_once_is_in_none_afterwards(
    service: httpx.AsyncClient,
) -> None:
    given = Answer(200, '["Jane","Ada","Jane"]', item_subjects=["jane", "ada", "jane"])
    for key in ("k1", "k2"):
        call = {"caller": "one", "route": "/boxes", "key": key}
        await run(service, kept.keep, call, "a print", given)

    await run(service, kept.forget, ["jane"])

    for row in await run(service, lambda db: db.execute(select(table)).all()):
        assert [one == "Ada" or one["status"] for one in json.loads(row.body)] == [410, True, 410]
        assert row.fingerprint == ""
