"""Pages of a list: every row once, whatever the limit, and a cursor that can't be made up."""

import asyncio
import base64
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service_kit.problems import InvalidRequest
from service_kit.web.paging import decode_cursor, encode_cursor
from tests.conftest import bearer, running
from tests.service_kit.conftest import add, create_app, new_sqlite

NEXT = re.compile(r'<([^>]*)>; rel="next"')


def unpadded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.fixture(scope="module")
async def seven(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A service with seven boxes on shelves 0, 1, 2, 0, 1, 2, 0, as a viewer sees it."""
    app = create_app(new_sqlite(tmp_path_factory.mktemp("paging")))
    async with running(app, token="viewer123") as client:
        for number in range(7):
            await app.state.database.write(add, f"box-{number}", number % 3)
        yield client


def next_of(answer: httpx.Response) -> str | None:
    link = answer.headers.get("link")
    assert (link is None) == ("x-next-cursor" not in answer.headers)
    if link is None:
        return None
    found = NEXT.fullmatch(link)
    assert found
    assert parse_qs(urlsplit(found[1]).query)["cursor"] == [answer.headers["x-next-cursor"]]
    return found[1]


async def pages(client: httpx.AsyncClient, start: str) -> list[list[int]]:
    """Follow the links from a first page to the last."""
    found, address = [], start
    while address:
        answer = await client.get(address)
        assert answer.status_code == 200
        found.append([box["id"] for box in answer.json()])
        address = next_of(answer) or ""
        assert len(found) < 1000
    return found


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", [[1, 2, 3, 4, 5, 6, 7]]),
        ("?limit=1", [[1], [2], [3], [4], [5], [6], [7]]),
        ("?limit=3", [[1, 2, 3], [4, 5, 6], [7]]),
        ("?limit=6", [[1, 2, 3, 4, 5, 6], [7]]),
        ("?limit=7", [[1, 2, 3, 4, 5, 6, 7]]),
        ("?limit=500", [[1, 2, 3, 4, 5, 6, 7]]),
        ("?shelf=0&limit=2", [[1, 4], [7]]),
        ("?limit=2&shelf=1", [[1, 2], [4, 5], [7]]),
    ],
)
async def test_pages_follow_each_other_to_the_end(
    seven: httpx.AsyncClient, query: str, wanted: list[list[int]]
) -> None:
    assert await pages(seven, f"/api/boxes{query}") == wanted


async def test_a_list_of_nothing_is_one_empty_page(seven: httpx.AsyncClient) -> None:
    answer = await seven.get("/api/boxes?cursor=" + encode_cursor("7", "id"))

    assert answer.json() == []
    assert next_of(answer) is None


async def test_the_next_page_is_asked_for_with_the_same_query(seven: httpx.AsyncClient) -> None:
    answer = await seven.get("/api/boxes?shelf=2&limit=2&note=a%26b%20%C3%A9%E6%97%A5")

    link = next_of(answer)
    assert link
    assert link.isascii()
    query = parse_qs(urlsplit(link).query)
    assert query.pop("cursor")
    assert query == {"shelf": ["2"], "limit": ["2"], "note": ["a&b é日"]}


async def test_the_next_page_has_one_cursor(seven: httpx.AsyncClient) -> None:
    second = await seven.get(next_of(await seven.get("/api/boxes?limit=2")) or "")

    assert (next_of(second) or "").count("cursor=") == 1


@pytest.mark.parametrize("path", ["/api/boxes", "/api/boxes/", "/boxes", "/boxes/"])
async def test_links_name_the_canonical_path(seven: httpx.AsyncClient, path: str) -> None:
    link = next_of(await seven.get(f"{path}?limit=2")) or ""

    assert urlsplit(link).path == "/api/boxes"


@pytest.mark.parametrize(
    "room", ["attic", "caf%C3%A9", "%E6%97%A5", "a%20b", "a%3Fb", "a%23b", "a%0D%0Ax-forged:1"]
)
async def test_a_link_goes_where_the_request_went(seven: httpx.AsyncClient, room: str) -> None:
    answer = await seven.get(f"/api/rooms/{room}/boxes")

    assert answer.status_code == 200
    link = next_of(answer) or ""
    assert "x-forged" not in answer.headers
    assert unquote(urlsplit(link).path) == unquote(f"/api/rooms/{room}/boxes")
    assert link.isascii()
    assert (await seven.get(link)).json() == answer.json()


@pytest.mark.parametrize("limit", ["0", "501", "-1", "", "x", "1.5", str(2**63), "9" * 5000])
async def test_a_limit_is_between_1_and_500(seven: httpx.AsyncClient, limit: str) -> None:
    answer = await seven.get("/api/boxes", params={"limit": limit})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "limit"]


@pytest.mark.parametrize(
    "cursor",
    [
        encode_cursor("3", "-id"),
        encode_cursor("3", "name"),
        encode_cursor("", "id"),
        encode_cursor("-1", "id"),
        encode_cursor("+1", "id"),
        encode_cursor("1_0", "id"),
        encode_cursor("٣", "id"),
        encode_cursor("9" * 19, "id"),
        encode_cursor("9" * 100, "id"),
        encode_cursor("1 OR 1=1", "id"),
        unpadded("id"),
        unpadded("3"),
        unpadded("id:3:4"),
        "",
        "3",
        "====",
        "!!!!",
        "\x00",
        "日本",
        "\ud7ff",
        "A",
        "x" * 201,
    ],
)
async def test_a_cursor_that_no_page_gave_is_refused(seven: httpx.AsyncClient, cursor: str) -> None:
    answer = await seven.get("/api/boxes", params={"cursor": cursor})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]


async def test_a_row_that_comes_while_one_pages_is_seen_and_none_is_seen_twice(
    client: httpx.AsyncClient,
) -> None:
    async def register(label: str) -> int:
        number: int = (await client.post("/api/boxes", json={"label": label})).json()["id"]
        return number

    before = [await register(f"before-{number}") for number in range(4)]
    first = await client.get("/api/boxes?limit=2")
    late = await register("late")

    rest = await pages(client, next_of(first) or "")

    assert [box["id"] for box in first.json()] + list(chain(*rest)) == [*before, late]


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 40),
    limit=st.integers(1, 45),
    shelf=st.integers(0, 3),
)
def test_pages_of_any_limit_show_every_row_once(count: int, limit: int, shelf: int) -> None:
    async def look() -> list[int]:
        with tempfile.TemporaryDirectory() as folder:
            app = create_app(new_sqlite(Path(folder)))
            async with running(app) as client:
                client.headers.update(bearer("viewer123"))
                await asyncio.gather(
                    *(app.state.database.write(add, f"box-{n}", n % 3) for n in range(count))
                )
                start = f"/api/boxes?limit={limit}&shelf={shelf}"
                found = await pages(client, start)
        assert all(len(page) == limit for page in found[:-1])
        return list(chain(*found))

    wanted = [number + 1 for number in range(count) if number % 3 <= shelf]
    assert asyncio.run(look()) == wanted


@given(key=st.integers(0, 10**18 - 1), order=st.sampled_from(["id", "-id", "name"]))
def test_a_cursor_carries_its_key(key: int, order: str) -> None:
    cursor = encode_cursor(str(key), order)

    assert re.fullmatch(r"[A-Za-z0-9_-]*", cursor)
    assert decode_cursor(cursor, order) == key
    assert decode_cursor(None, order) is None
    with pytest.raises(InvalidRequest):
        decode_cursor(cursor, "another")


@given(cursor=st.text(max_size=200))
def test_a_cursor_is_read_or_refused(cursor: str) -> None:
    with contextlib.suppress(InvalidRequest):
        decode_cursor(cursor, "id")
