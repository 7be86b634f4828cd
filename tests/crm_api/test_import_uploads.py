"""Files on their way in: what is no file to import, and what is too large, too slow or cut off."""

from collections.abc import AsyncIterator
from io import FileIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.imports import upload
from crm_api.imports.chunks import Chunks
from crm_api.settings import Settings
from service_kit.web.body import MAX_BODY_BYTES
from tests.conftest import running
from tests.crm_api.conftest import app_of
from tests.crm_api.imports import CSV, IMPORTS, counts, ended, imported, rows, send, table
from tests.described import keeps_its_word

REFUSED: list[tuple[str, str | bytes, dict[str, str], int, str]] = [
    ("no CSV", "{}", {"content-type": "application/json"}, 415, "unsupported-media-type"),
    ("no type", "name,email\n", {"content-type": ""}, 415, "unsupported-media-type"),
    ("other letters", "", {"content-type": "text/csv; charset=latin-1"}, 415, "unsupported-media"),
    ("packed", "", {"content-encoding": "gzip"}, 415, "unsupported-media-type"),
    ("nothing", "", {}, 422, "invalid-request"),
    ("not UTF-8", b"name,email\nJ\xfcrgen,j@example.com\n", {}, 422, "invalid-request"),
    ("no header", "Jane,jane@example.com\n", {}, 422, "invalid-request"),
    ("no address", "name\nJane\n", {}, 422, "invalid-request"),
    ("half a quote", 'name,email\n"Jane,jane@example.com\n', {}, 422, "invalid-request"),
]


@pytest.mark.parametrize(
    ("text", "headers", "status", "slug"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
async def test_what_is_no_table_is_refused_as_a_whole(
    crm: httpx.AsyncClient, text: str | bytes, headers: dict[str, str], status: int, slug: str
) -> None:
    refused = await send(crm, text, headers=headers)

    assert refused.status_code == status
    assert refused.json()["type"].startswith(f"urn:problem:{slug}")
    assert "jane" not in refused.text.lower()
    assert (await crm.get(IMPORTS)).json() == []
    assert counts(await imported(crm, *rows(1))) == (1, 0, 0, 0), "and another is taken"


@pytest.mark.parametrize("content_type", ["text/csv; charset=UTF-8; header=present", "Text/CSV"])
async def test_how_a_type_is_written_is_the_callers_choice(
    crm: httpx.AsyncClient, content_type: str
) -> None:
    answer = await send(crm, "\ufeff" + table(*rows(1)), headers={"content-type": content_type})

    assert counts(await ended(crm, answer)) == (1, 0, 0, 0)


async def pieces(text: str) -> AsyncIterator[bytes]:
    for start in range(0, len(text), 1 << 16):
        yield text[start : start + (1 << 16)].encode()


async def test_a_file_may_be_larger_than_any_other_body(crm: httpx.AsyncClient) -> None:
    wide = "name,email,external_ref," + ",".join(f"metadata.k{n}" for n in range(20))
    text = table(*(f"{row},{','.join(['v' * 190] * 20)}" for row in rows(*range(400))), header=wide)
    assert len(text) > MAX_BODY_BYTES

    answer = await crm.post(IMPORTS, content=pieces(text), headers=CSV)

    found = await ended(crm, answer)
    assert (found["bytes"], found["created"]) == (len(text), 400)


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_file_over_the_limit_is_refused(settings: Settings, *, is_announced: bool) -> None:
    text = table(*rows(*range(100)))
    app = create_app(settings.model_copy(update={"import_max_bytes": len(text) - 1}))
    async with running(app, token="admin123") as crm:
        keeps_its_word(crm)
        content: Any = text if is_announced else pieces(text)
        refused = await crm.post(IMPORTS, content=content, headers=CSV)
        assert (await crm.get(IMPORTS)).json() == []
        fits = await send(crm, text[:-1])

        assert refused.status_code == 413
        assert refused.json()["detail"] == f"A body may have at most {len(text) - 1} bytes."
        assert (await ended(crm, fits))["created"] == 100


async def test_a_file_does_not_use_up_the_callers_rate(settings: Settings) -> None:
    """A body counts as a request more for each 4 KiB; this one would be over any burst."""
    limited = Settings(rate_limit="5/second").model_copy(
        update={"database_url": settings.database_url, "seed_demo_data": False}
    )
    async with running(create_app(limited), token="admin123") as crm:
        text = table(*rows(*range(3000)))
        for content in (text, pieces(text)):
            answer = await crm.post(IMPORTS, content=content, headers=CSV, params={"dry_run": True})
            assert answer.status_code in {202, 409}, answer.text
            assert "r=0;" not in answer.headers["ratelimit"]


async def test_an_upload_that_breaks_off_leaves_nothing(crm: httpx.AsyncClient) -> None:
    """Not even a place that it would keep: the next one is taken."""
    messages = [
        {"type": "http.request", "body": table(*rows(1)).encode(), "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def keep(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer admin123"), (b"content-type", b"text/csv")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": IMPORTS,
        "raw_path": IMPORTS.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*headers, (b"transfer-encoding", b"chunked")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    await app_of(crm)(scope, receive, keep)

    assert sent[0]["status"] == 400
    assert b"urn:problem:upload-broken" in sent[1]["body"]
    assert (await crm.get(IMPORTS)).json() == []
    assert counts(await imported(crm, *rows(1))) == (1, 0, 0, 0)


async def test_a_full_disk_is_said_so(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FileIO] = []

    def on_a_full_disk(_folder: Path | None) -> FileIO:
        opened.append(FileIO("/dev/full", "r+"))
        return opened[-1]

    with monkeypatch.context() as patched:
        patched.setattr(upload, "_new_file", on_a_full_disk)
        refused = await send(crm, table(*rows(1)))

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
    assert refused.json()["type"] == "urn:problem:no-room-for-file"
    assert [file.closed for file in opened] == [True]
    assert counts(await imported(crm, *rows(1))) == (1, 0, 0, 0), "once there is room again"


@pytest.mark.engine("sqlite")
async def test_no_file_has_a_name_by_which_others_could_read_it(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything left of it when the process is killed."""
    folder = Path(app_of(crm).state.settings.database_url.removeprefix("sqlite:///")).parent
    before, seen = set(folder.iterdir()), []
    new_file = upload._new_file

    def watched(chosen: Path | None) -> FileIO:
        file = new_file(chosen)
        seen.append((chosen, set(folder.iterdir()) - before))
        return file

    monkeypatch.setattr(upload, "_new_file", watched)
    await imported(crm, *rows(1))

    assert seen == [(folder, set())]


def test_a_chunk_has_a_mebibyte_of_rows_at_most(tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(table(*(f"{'x' * 100_000},a{n}@example.com,{n}" for n in range(22))))
    header = ["name", "email", "external_ref"]
    with FileIO(file) as source:
        chunks = Chunks(source, header, lambda: None, dry_run=False)
        chunks.prepare()
        sizes = []
        while chunk := chunks.next():
            sizes.append(len(chunk))
        chunks.close()

    assert sizes == [11, 11]
