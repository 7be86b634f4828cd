"""Imports: a file is passed on as it comes, checked, imported, and its refused rows downloaded."""

import asyncio
import re

import httpx
import pytest

from tests.console.conftest import OWN_PAGE, admin_calls, app_of, sign_in, text_of

pytestmark = pytest.mark.engine("sqlite")

ROWS = "name,email\nKatherine Johnson,katherine@example.com\n<b>Bad</b>,nonsense\n"


async def send_file(
    browser: httpx.AsyncClient, text: str, dry_run: str = "true", **form: str
) -> httpx.Response:
    return await browser.post(
        f"/console/imports?dry_run={dry_run}",
        data=form,
        files={"file": ("customers.csv", text.encode(), "text/csv")},
        headers=OWN_PAGE,
    )


async def ended(browser: httpx.AsyncClient, begun: httpx.Response) -> httpx.Response:
    """Look at an import until it has ended, as its page does by itself."""
    assert begun.status_code == 303, text_of(begun)
    committed = app_of(browser).state.database.committed
    async with asyncio.timeout(20):
        while True:
            news = committed.next()
            page = await browser.get(begun.headers["location"])
            if "every 1s" not in page.text:
                return page
            await news


async def customers(browser: httpx.AsyncClient) -> int:
    found = await admin_calls(browser, "GET", "/api/customers?q=katherine")
    return len(found)


async def test_a_file_is_checked_and_nothing_written(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)

    page = await ended(browser, await send_file(browser, ROWS, welcome="yes"))

    text = text_of(page)
    for part in (
        "Check #1",
        "2 of 2 rows",
        "would be registered 1",
        "refused 1",
        "that it would cause 1",
        "line 3 email",
    ):
        assert part in text
    assert "<b>Bad" not in page.text
    assert await customers(browser) == 0


async def test_a_file_is_imported_and_what_was_refused_downloaded(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser)

    page = await ended(browser, await send_file(browser, ROWS, "false"))

    assert "that it causes 0" in text_of(page), "no welcome packages were wanted"
    assert await customers(browser) == 1
    [path] = set(re.findall(r'href="(/console/imports/1/report)"', page.text))
    report = await browser.get(path)
    assert "nonsense" in report.text
    assert report.headers["content-type"].startswith("text/csv")
    assert report.headers["content-disposition"].startswith("attachment;")
    assert "#1" in text_of(await browser.get("/console/imports"))


async def test_a_file_of_many_pieces_arrives_as_it_was(browser: httpx.AsyncClient) -> None:
    rows = ["name,email", *(f"Row {n},row{n}@example.com" for n in range(3))]
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="welcome"\r\n\r\nyes\r\n'
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'
        b"Content-Type: text/csv\r\n\r\n" + "\n".join(rows).encode() + b"\r\n--edge--\r\n"
    )
    await sign_in(browser)

    async def one_byte_at_a_time():
        for place in range(len(body)):
            yield body[place : place + 1]

    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    begun = await browser.post(
        "/console/imports?dry_run=true", content=one_byte_at_a_time(), headers={**OWN_PAGE, **kind}
    )

    text = text_of(await ended(browser, begun))
    assert "would be registered 3" in text
    assert "that it would cause 3" in text


async def test_a_file_that_is_no_table_is_refused_with_the_reason(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser)

    page = await send_file(browser, "colour\nblue\n", welcome="yes")

    assert page.status_code == 422
    assert "Nothing was imported." in text_of(page)
    assert 'value="yes" checked' in page.text


@pytest.mark.parametrize("content", [b"", b"--edge--\r\n", b"nonsense", b"--edge\r\nA: b\r\n\r\n"])
async def test_without_a_file_it_asks_for_one(browser: httpx.AsyncClient, content: bytes) -> None:
    await sign_in(browser)
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}

    page = await browser.post("/console/imports", content=content, headers={**OWN_PAGE, **kind})

    assert page.status_code == 422
    assert "Choose a file first." in text_of(page)


async def test_it_is_sent_by_the_console_alone_and_by_who_may(browser: httpx.AsyncClient) -> None:
    signed_out = await send_file(browser, ROWS)
    assert signed_out.headers["location"].startswith("/console/sign-in?next=%2Fimports")
    await sign_in(browser, "agent")
    assert (await send_file(browser, ROWS, "false")).status_code == 403
    await sign_in(browser)
    elsewhere = {"Sec-Fetch-Site": "same-site"}
    assert (await browser.post("/console/imports", headers=elsewhere)).status_code == 403
    assert await customers(browser) == 0
