"""The receiver in docs/routes.md, run as it is printed there."""

import asyncio
import base64
import re
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn

from integration_service.targets.failures import NotAccepted, Transient
from integration_service.targets.webhook import Webhook
from tests.conftest import ROOT

SECRET = "whsec_" + base64.b64encode(b"a secret of the shop's, 32 bytes").decode()
EVENT = {
    "specversion": "1.0",
    "id": "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c",
    "source": "/crm",
    "type": "customer.created",
    "subject": "019a5d3c-0000-7cc0-9b0e-5d1c2f3a4b5c",
    "time": "2026-01-05T12:00:00Z",
    "sequence": 41,
    "data": {"name": "Jörg Müller"},
}


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the page shows, in a folder of its own."""
    page = (ROOT / "docs" / "routes.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    module = ModuleType("receiver")
    monkeypatch.setitem(sys.modules, "receiver", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEB_SHOP_SECRET", SECRET)
    exec(compile(code, "docs/routes.md", "exec"), module.__dict__)  # noqa: S102
    return module


@pytest.fixture
async def url(printed: ModuleType) -> AsyncIterator[str]:
    async with serving(printed.app) as address:
        yield f"{address}/hooks/crm"
    printed.db.close()


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        task = asyncio.create_task(server.serve([listening]))
        # A connection waits in the socket's queue until the server takes it.
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        await task


@asynccontextmanager
async def sending_to(url: str, secret: str = SECRET) -> AsyncIterator[Webhook]:
    webhook = Webhook("web-shop", url, [secret], allow_private=True, ca_file=None)
    yield webhook
    await webhook.close()


def rows(table: str) -> list[tuple[str, ...]]:
    with sqlite3.connect("shop.db") as db:
        found = db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    db.close()
    return found


async def test_it_acts_once_on_an_event_that_is_sent_twice(url: str) -> None:
    async with sending_to(url) as webhook:
        for _ in range(2):
            assert (await webhook.send(EVENT)).status == 204

    assert rows("customers") == [(EVENT["subject"], "Jörg Müller")]


async def test_it_notes_other_events_and_acts_on_none_of_them(url: str) -> None:
    async with sending_to(url) as webhook:
        made = await webhook.send({**EVENT, "type": "customer.updated"})

    assert rows("seen") == [(made.request_id,)]
    assert rows("customers") == []


async def test_it_refuses_what_another_has_signed(url: str) -> None:
    other = "whsec_" + base64.b64encode(b"h" * 32).decode()
    async with sending_to(url, other) as webhook:
        with pytest.raises(NotAccepted, match="it answered 401"):
            await webhook.send(EVENT)
    async with httpx.AsyncClient() as client:
        assert (await client.post(url, json=EVENT)).status_code == 401

    assert rows("seen") == rows("customers") == []


async def test_what_fails_in_the_middle_is_done_by_the_next_try(url: str) -> None:
    async with sending_to(url) as webhook:
        with pytest.raises(Transient, match="it answered 500"):
            await webhook.send({**EVENT, "data": {}}, once=True)
        assert rows("seen") == []
        await webhook.send(EVENT)

    assert rows("customers") == [(EVENT["subject"], "Jörg Müller")]
