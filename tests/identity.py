"""Carries one app's questions to another without a network, as they would go over one, or fails."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
from fastapi import FastAPI

CRM = "http://crm"
INTROSPECTION = f"{CRM}/api/tokens/introspect"
TOKENS = "/api/tokens"

_NUMBERS = itertools.count(1)

Forward = Callable[[httpx.Request], Awaitable[httpx.Response]]


def forward_to(app: FastAPI) -> Forward:
    """Build what answers a request of httpx with what an app answers to it."""
    transport = httpx.ASGITransport(app)

    async def forward(request: httpx.Request) -> httpx.Response:
        answer = await transport.handle_async_request(
            httpx.Request(
                request.method, request.url, headers=request.headers, content=request.content
            )
        )
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)

    return forward


class CrmLink:
    """The way to the real CRM's introspection: it notes each token asked about, and may fail."""

    def __init__(self, crm: FastAPI) -> None:
        self._forward = forward_to(crm)
        self.asked: list[str] = []
        # What comes instead of the CRM's answer: nothing, an error of the network, or a response.
        self.fault: Exception | httpx.Response | None = None
        # Cleared, it keeps each question on its way.
        self.open = asyncio.Event()
        self.open.set()
        self.on_answer: Callable[[], None] = lambda: None
        self._arrivals = asyncio.Queue[None]()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += parse_qs(request.content.decode())["token"]
        self._arrivals.put_nowait(None)
        await self.open.wait()
        if isinstance(self.fault, Exception):
            raise self.fault
        answer = self.fault or await self._forward(request)
        self.on_answer()
        return answer

    async def arrived(self, number: int) -> None:
        """Wait until so many more questions have come."""
        async with asyncio.timeout(20):
            for _ in range(number):
                await self._arrivals.get()

    def count(self) -> int:
        """Return the number of questions since the last count."""
        number = len(self.asked)
        self.asked.clear()
        return number


async def issue(crm: httpx.AsyncClient, role: str, **more: Any) -> dict[str, Any]:
    """Issue a token, as a client of the CRM that is an admin's."""
    new = {"name": f"{role}-{next(_NUMBERS)}", "role": role, **more}
    answer = await crm.post(TOKENS, json=new)
    assert answer.status_code == 201, answer.text
    issued: dict[str, Any] = answer.json()
    return issued


async def revoke(crm: httpx.AsyncClient, issued: dict[str, Any]) -> None:
    answer = await crm.delete(f"{TOKENS}/{issued['id']}")
    assert answer.status_code == 204
