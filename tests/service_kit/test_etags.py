"""Which versions If-Match and If-None-Match name: RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Response
from hypothesis import given
from hypothesis import strategies as st

from service_kit.web.auth import GuardedRoute, Public
from service_kit.web.etags import (
    NOT_MODIFIED,
    IfMatch,
    IfNoneMatch,
    PreconditionFailed,
    check_version,
    set_etag,
    unless_known,
)
from service_kit.web.openapi import documented
from tests.conftest import running
from tests.service_kit.conftest import create_app

VERSION = 7
versions = APIRouter(route_class=GuardedRoute, dependencies=[Public])


@versions.put("/version", responses=documented(PreconditionFailed))
async def change(wanted: IfMatch, response: Response) -> None:
    check_version(wanted, VERSION)
    set_etag(response, VERSION + 1)


@versions.get("/version", response_model=int, responses=NOT_MODIFIED)
async def look_up(known: IfNoneMatch, response: Response) -> int | Response:
    return unless_known(known, response, VERSION, VERSION)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(f"sqlite:///{tmp_path}/boxes.db", versions)) as client:
        yield client


NAMING_IT = ["*", " * ", '"7"', ' "7" ', '"6", "7"', '"7","8"', '"x", W/"6" ,"7"', 'W/"7", "7"']


@pytest.mark.parametrize(("if_none_match", "status"), [('"6"', 200), ('"7"', 304)])
async def test_the_caller_alone_may_keep_a_version_and_asks_before_each_use(
    service: httpx.AsyncClient, if_none_match: str, status: int
) -> None:
    answer = await service.get("/version", headers={"If-None-Match": if_none_match})

    assert answer.status_code == status
    assert answer.headers.get_list("cache-control") == ["private, no-cache"]


@pytest.mark.parametrize("if_match", [None, *NAMING_IT])
async def test_a_version_that_is_named_is_changed(
    service: httpx.AsyncClient, if_match: str | None
) -> None:
    headers = {} if if_match is None else {"If-Match": if_match}

    answer = await service.put("/version", headers=headers)

    assert answer.status_code == 200
    assert answer.headers["etag"] == '"8"'


OTHERS = [
    *("", ",", '""', "nonsense", "7", '"7', '7"', '"*"', '"8"', '"6", "8"'),
    *('W/"7"', 'w/"7"', 'x"7"', '"6"7"', '"07"', '"7.0"', '"-7"', '"\u0667"'),
    '"' + "7" * 400 + '"',
]


@pytest.mark.parametrize("if_match", OTHERS)
async def test_any_other_is_refused(service: httpx.AsyncClient, if_match: str) -> None:
    answer = await service.put("/version", headers=[("If-Match", if_match.encode())])

    assert answer.status_code == 412
    assert answer.json()["type"] == "urn:problem:precondition-failed"
    assert "etag" not in answer.headers


async def test_a_header_that_is_too_long_is_refused(service: httpx.AsyncClient) -> None:
    answer = await service.put("/version", headers={"If-Match": '"7"' * 200})

    assert answer.status_code == 422


@given(wanted=st.none() | st.frozensets(st.integers(0, 9)), version=st.integers(0, 9))
def test_a_version_passes_that_is_wanted_or_when_any_is(
    wanted: frozenset[int] | None, version: int
) -> None:
    if wanted is None or version in wanted:
        check_version(wanted, version)
    else:
        with pytest.raises(PreconditionFailed):
            check_version(wanted, version)


async def test_a_reader_that_has_this_version_is_told_so_without_a_body(
    service: httpx.AsyncClient,
) -> None:
    for known in (*NAMING_IT, 'W/"7"', ' W/"7" ,"8"'):
        answer = await service.get("/version", headers={"If-None-Match": known})

        assert (answer.status_code, answer.content) == (304, b""), known
        assert answer.headers["etag"] == '"7"'
        assert "content-type" not in answer.headers


async def test_any_other_reader_gets_it(service: httpx.AsyncClient) -> None:
    others = [other for other in OTHERS if other != 'W/"7"']
    for known in (None, *others):
        headers = [] if known is None else [("If-None-Match", known.encode())]
        answer = await service.get("/version", headers=headers)

        assert (answer.status_code, answer.json()) == (200, VERSION), known
        assert answer.headers["etag"] == '"7"'
    assert (await service.get("/version", headers={"If-None-Match": "7" * 501})).status_code == 422
