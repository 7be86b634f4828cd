"""Every way to fail, and the one shape in which each of them is told."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from service_kit.database.sqlite import database as sqlite
from service_kit.problems import phrase
from service_kit.web import problems as problem_responses
from service_kit.web.body import MAX_BODY_BYTES
from tests.conftest import bearer, running
from tests.service_kit.conftest import create_app, new_sqlite

SHAPE = {"type", "title", "status", "detail", "instance", "request_id"}
# What stands in a value that is refused; it is somebody's, so it must not come back.
VALUE = "Jane-Doe-12345"
JSON = {"content-type": "application/json"}
ADMIN = bearer("admin123")


@dataclass
class Failure:
    """A request, and what it fails with."""

    status: int
    slug: str
    method: str = "POST"
    path: str = "/api/boxes"
    headers: Any = field(default_factory=lambda: ADMIN | JSON)
    content: Any = None
    says: str = ""


def unauthorized(*headers: tuple[str, str]) -> Failure:
    return Failure(401, "not-authenticated", headers=[*JSON.items(), *headers])


def large() -> AsyncIterator[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * (MAX_BODY_BYTES // 16)

    return chunks()


def invalid(content: bytes | str, says: str = "") -> Failure:
    return Failure(422, "invalid-request", content=content, says=says)


def deep(content: bytes) -> Failure:
    return Failure(422, "invalid-request", path="/echo", headers=JSON, content=content, says="64")


def misread(query: str) -> Failure:
    name, _, _ = query.partition("=")
    return Failure(422, "invalid-request", "GET", f"/api/boxes?{query}", says=name)


FAILURES = {
    "no token": unauthorized(),
    "empty header": unauthorized(("authorization", "")),
    "no scheme": unauthorized(("authorization", "admin123")),
    "no token behind the scheme": unauthorized(("authorization", "Bearer ")),
    "another scheme": unauthorized(("authorization", "Basic YWRtaW46YWRtaW4xMjM=")),
    "two spaces": unauthorized(("authorization", "Bearer  admin123")),
    "two tokens": unauthorized(("authorization", "Bearer admin123 viewer123")),
    "a list of tokens": unauthorized(("authorization", "Bearer admin123,viewer123")),
    "two headers": unauthorized(
        ("authorization", "Bearer admin123"), ("authorization", "Bearer admin123")
    ),
    "unknown token": unauthorized(("authorization", f"Bearer {VALUE}")),
    "longer than a token": unauthorized(("authorization", f"Bearer {VALUE * 100}")),
    "the start of a token": unauthorized(("authorization", "Bearer admin12")),
    "a token in capitals": unauthorized(("authorization", "Bearer ADMIN123")),
    "a token in the query": Failure(
        401, "not-authenticated", path="/api/boxes?token=admin123", headers=JSON
    ),
    "not ASCII": Failure(
        401, "not-authenticated", headers=[(b"authorization", "Bearer ädmin123".encode())]
    ),
    "a scope is missing": Failure(
        403, "scope-missing", headers=bearer("viewer123") | JSON, content="{}", says="boxes:write"
    ),
    "no such route": Failure(404, "not-found", path="/api/nothing"),
    "no such row": Failure(404, "not-found", "GET", "/api/boxes/999", says="no such box"),
    "no such method": Failure(405, "method-not-allowed", "PUT"),
    "a method that nobody knows": Failure(405, "method-not-allowed", "BREW"),
    "taken": Failure(409, "label-taken", content=f'{{"label": "taken-{VALUE}"}}'),
    "words that no encoding can write": Failure(
        409, "label-taken", "GET", "/broken/by-half-a-character"
    ),
    "large": Failure(413, "body-too-large", content=b" " * (MAX_BODY_BYTES + 1)),
    "large and chunked": Failure(413, "body-too-large", content=large),
    "a length that is no length": Failure(
        413, "body-too-large", headers=ADMIN | JSON | {"content-length": "9" * 40}, content="{}"
    ),
    "a text": Failure(
        415, "unsupported-media-type", headers=ADMIN | {"content-type": "text/plain"}, content="{}"
    ),
    "no type": Failure(415, "unsupported-media-type", headers=ADMIN, content="{}"),
    "a form": Failure(
        415,
        "unsupported-media-type",
        headers=ADMIN | {"content-type": "application/x-www-form-urlencoded"},
        content="label=box",
    ),
    "something like JSON": Failure(
        415,
        "unsupported-media-type",
        headers=ADMIN | {"content-type": "application/jsonp"},
        content="{}",
    ),
    "another host": Failure(421, "misdirected-request", headers={"host": VALUE}),
    "no body": invalid(b""),
    "no JSON": invalid(f'{{"label": "{VALUE}'),
    "a list": invalid(f'["{VALUE}"]'),
    "null": invalid("null"),
    "a field is missing": invalid("{}", says="label"),
    "another type": invalid(f'{{"label": "x", "shelf": "{VALUE}"}}', says="shelf"),
    "an unknown field": invalid(f'{{"label": "x", "lid": "{VALUE}"}}', says="lid"),
    "a long unknown field": invalid(f'{{"label": "x", "{"lid" * 1000}": "{VALUE}"}}', says="lid"),
    "too long": invalid(f'{{"label": "{VALUE * 10}"}}', says="label"),
    "a line break": invalid(f'{{"label": "{VALUE}\\nx"}}', says="label"),
    "NUL": invalid(f'{{"label": "{VALUE}\\u0000"}}', says="label"),
    "NUL in a name": invalid(f'{{"label": "x", "\\u0000": "{VALUE}"}}'),
    "a lone surrogate": invalid(f'{{"label": "{VALUE}\\ud800"}}'),
    "a lone surrogate in a name": invalid(f'{{"label": "x", "\\ud800": "{VALUE}"}}'),
    "half an escape": invalid(f'{{"label": "{VALUE}\\ud83d\\u0041"}}'),
    "no UTF-8": invalid(b'{"label": "Jane-Doe-12345\xff"}'),
    "UTF-16": invalid(f'{{"label": "{VALUE}"}}'.encode("utf-16")),
    "a byte order mark": invalid(b'\xef\xbb\xbf{"label": "x"}'),
    "NaN": invalid('{"label": "x", "weight": NaN}'),
    "Infinity": invalid('{"label": "x", "weight": -Infinity}'),
    "a number beyond all": invalid('{"label": "x", "weight": 1e999}'),
    "digits beyond all": invalid(f'{{"label": "x", "weight": {"9" * 400}.5}}'),
    "2 to the 63": invalid(f'{{"label": "x", "shelf": {2**63}}}', says="shelf"),
    "100 digits": invalid(f'{{"label": "x", "shelf": {"9" * 100}}}', says="shelf"),
    "500 digits": invalid(f'{{"label": "x", "shelf": {"9" * 500}}}', says="100 digits"),
    "5000 digits": invalid(f'{{"label": "x", "shelf": {"9" * 5000}}}'),
    "deep lists": invalid("[" * 100_000),
    "deep objects": invalid('{"label":' * 100_000),
    "deep and closed": invalid("[" * 100_000 + "]" * 100_000),
    "deep in a field that takes anything": Failure(
        422, "invalid-request", path="/echo", headers=JSON, content="[" * 1000 + "]" * 1000
    ),
    "65 deep": deep(b"[" * 65 + b"]" * 65),
    "65 deep, of both kinds": deep(b'{"x":[' * 32 + b'{"x": 0}' + b"]}" * 32),
    "65 deep after much that is flat": deep(b"[" + b"{}," * 50 + b"[" * 64 + b"]" * 64 + b"]"),
    "the same name twice": invalid(f'{{"label": "x", "label": "{VALUE}"}}', says="name twice"),
    "the same name twice, written differently": Failure(
        422,
        "invalid-request",
        path="/echo",
        headers=JSON,
        content='[{"a": {"b": 0, "c": 1, "\\u0062": 2}}]',
        says="name twice",
    ),
    "limit 0": misread("limit=0"),
    "limit 501": misread("limit=501"),
    "limit -1": misread("limit=-1"),
    "limit 2 to the 63": misread(f"limit={2**63}"),
    "limit of 5000 digits": misread("limit=" + "9" * 5000),
    "no number": misread(f"shelf={VALUE}"),
    "NUL in the query": misread("cursor=%00"),
    "no UTF-8 in the query": misread("cursor=%FF%ED%A0%80"),
    "a long cursor": misread("cursor=" + "x" * 5000),
    "no number in the path": Failure(422, "invalid-request", "GET", "/api/boxes/x", says="box"),
    "a bug": Failure(500, "internal-error", "GET", "/broken/by-a-bug", headers={}),
    "no database": Failure(503, "database-unavailable", "GET", "/broken/by-its-database"),
}
EVERY_FAILURE = pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)


@pytest.fixture(scope="module")
async def anyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """One service for all requests that fail, as somebody without a token sees it."""
    url = new_sqlite(tmp_path_factory.mktemp("failures"))
    async with running(create_app(url, allowed_hosts="test")) as stranger:
        taken = {"label": f"taken-{VALUE}"}
        await stranger.post("/api/boxes", json=taken, headers=ADMIN)
        yield stranger


async def send(anyone: httpx.AsyncClient, failure: Failure, **more: str) -> httpx.Response:
    content = failure.content() if callable(failure.content) else failure.content
    headers = httpx.Headers(failure.headers)
    headers.update(more)
    return await anyone.request(failure.method, failure.path, headers=headers, content=content)


@EVERY_FAILURE
async def test_every_failure_has_the_one_shape(anyone: httpx.AsyncClient, failure: Failure) -> None:
    answer = await send(anyone, failure)

    document = answer.json()
    assert answer.status_code == document["status"] == failure.status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert set(document) == SHAPE | ({"errors"} if failure.status == 422 else set())
    assert document["type"] == f"urn:problem:{failure.slug}"
    assert document["instance"] == failure.path.split("?")[0]
    assert document["request_id"] == answer.headers["x-request-id"]
    assert VALUE not in answer.text
    assert failure.says in answer.text
    assert len(answer.text) < 1000


def test_titles_are_those_of_the_standard_on_every_python() -> None:
    """The phrases of these four changed with Python 3.13."""
    statuses = [HTTPStatus(number) for number in (413, 414, 416, 422)]

    assert [phrase(status) for status in statuses] == [
        "Content Too Large",
        "URI Too Long",
        "Range Not Satisfiable",
        "Unprocessable Content",
    ]


@EVERY_FAILURE
async def test_every_failure_names_the_request_as_its_caller_did(
    anyone: httpx.AsyncClient, failure: Failure
) -> None:
    answer = await send(anyone, failure, **{"x-request-id": "mine-1"})

    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize(
    "failure", [one for one in FAILURES.values() if one.status == 422 and one.path != "/echo"]
)
async def test_what_is_invalid_is_told_by_place_and_reason_alone(
    anyone: httpx.AsyncClient, failure: Failure
) -> None:
    errors = (await send(anyone, failure)).json()["errors"]

    assert errors
    for error in errors:
        assert set(error) == {"loc", "msg"}
        assert error["loc"][0] in {"body", "query", "path"}
        assert isinstance(error["msg"], str)


async def test_all_failures_to_say_who_one_is_are_told_alike(anyone: httpx.AsyncClient) -> None:
    answers = [
        await send(anyone, failure, **{"x-request-id": "same"})
        for failure in FAILURES.values()
        if failure.status == 401
    ]

    assert len(answers) > 10
    assert {answer.text for answer in answers} == {answers[0].text}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_in_either_case(
    anyone: httpx.AsyncClient, scheme: str
) -> None:
    answer = await anyone.get("/api/boxes", headers={"authorization": f"{scheme} admin123"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/boxes", "GET, HEAD, OPTIONS, POST"),
        ("/boxes/", "GET, HEAD, OPTIONS, POST"),
        ("/api/boxes/1", "DELETE, GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
        ("/echo", "OPTIONS, POST"),
    ],
)
async def test_a_wrong_method_is_told_all_right_ones(
    anyone: httpx.AsyncClient, path: str, allow: str
) -> None:
    answer = await anyone.patch(path)
    asked = await anyone.options(path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    assert allow in answer.json()["detail"]
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, allow, b"")


async def test_what_may_succeed_later_says_when(anyone: httpx.AsyncClient) -> None:
    answer = await anyone.get("/broken/by-its-database")

    assert answer.headers["retry-after"] == "1"


async def test_a_bug_is_told_to_the_log_alone(
    anyone: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await anyone.get("/broken/by-a-bug")

    assert "a detail for the log alone" not in answer.text
    assert "Traceback" not in answer.text
    assert "a detail for the log alone" in caplog.text


async def test_a_locked_database_is_a_503_until_the_lock_is_gone(
    client: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(problem_responses, "_logged_at", {})
    other = sqlite3.connect(tmp_path / "boxes.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    refused = await client.post("/api/boxes", json={"label": "box"})
    await client.post("/api/boxes", json={"label": VALUE})

    [told] = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert told == (
        "Requests are answered 503: The database can't be used at the moment. "
        f"OperationalError: database is locked: {tmp_path / 'boxes.db'}: "
        "another process is writing to it"
    )
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert (await client.get("/api/boxes")).status_code == 200
    other.execute("ROLLBACK")
    other.close()
    assert (await client.post("/api/boxes", json={"label": "box"})).status_code == 201


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"]
)
async def test_json_may_be_called_by_its_names(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post(
        "/api/boxes", content=b'{"label": "box"}', headers={"content-type": kind}
    )

    assert answer.status_code == 201


async def test_a_body_may_have_one_mebibyte(client: httpx.AsyncClient) -> None:
    content = b'{"label": "box"}'.ljust(MAX_BODY_BYTES)

    answer = await client.post("/api/boxes", content=content, headers=JSON)

    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"[1e308, -1e308, 1e-999]", [1e308, -1e308, 0.0]),
        (b'["1e999", "\\ud83c\\udf89"]', ["1e999", "🎉"]),
        (b"[" * 64 + b"1" + b"]" * 64, None),
        (
            b'{"a": {"a": ":"}, "b": [{"a": 1}, {"a": 2}]}',
            {"a": {"a": ":"}, "b": [{"a": 1}, {"a": 2}]},
        ),
        (b"[" + b"[]," * 1000 + b"{}]", None),
    ],
    ids=["large numbers", "what only looks like one", "64 deep", "one name a place", "1000 wide"],
)
async def test_what_is_unusual_but_right_is_taken(
    anyone: httpx.AsyncClient, content: bytes, value: Any
) -> None:
    answer = await anyone.post("/echo", content=content, headers=JSON)

    assert answer.status_code == 200
    assert value is None or answer.json() == value
