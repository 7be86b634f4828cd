"""Sends files to be imported, and waits until that is done."""

import asyncio
import csv
import io
from typing import Any

import httpx

from tests.crm_api.conftest import app_of

IMPORTS = "/api/imports"
CSV = {"content-type": "text/csv"}
PATIENCE = 60.0


def table(*rows: str, header: str = "name,email,external_ref") -> str:
    return "\n".join((header, *rows, ""))


def rows(*numbers: int) -> list[str]:
    """Make a row for each number: its name, address and reference."""
    return [f"Customer {n},customer-{n}@example.com,ref-{n}" for n in numbers]


async def send(
    crm: httpx.AsyncClient, text: str | bytes, headers: Any = None, **query: Any
) -> httpx.Response:
    return await crm.post(IMPORTS, content=text, headers={**CSV, **(headers or {})}, params=query)


async def ended(crm: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    """Wait until an import that was accepted has ended; return it."""
    assert answer.status_code == 202, answer.text
    committed = app_of(crm).state.database.committed
    async with asyncio.timeout(PATIENCE):
        while True:
            news = committed.next()
            found: dict[str, Any] = (await crm.get(answer.headers["location"])).json()
            if found["state"] != "running":
                return found
            await news


async def imported(crm: httpx.AsyncClient, *lines: str, **query: Any) -> dict[str, Any]:
    """Import some rows, and wait until that is done."""
    return await ended(crm, await send(crm, table(*lines), **query))


async def report(crm: httpx.AsyncClient, import_id: int) -> list[list[str]]:
    answer = await crm.get(f"{IMPORTS}/{import_id}/report")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.text)))


def counts(found: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return how many rows were created, updated, left as they were, and refused."""
    return found["created"], found["updated"], found["unchanged"], found["refused"]
