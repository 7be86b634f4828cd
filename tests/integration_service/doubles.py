"""The two far sides, as the integration sees them: sound, and failing as a test tells them to."""

import asyncio
import contextlib
import inspect
import json
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

Answer = httpx.Response | None
# Answers or raises in place of the double; None lets the double itself answer.
Fault = Callable[[Any, httpx.Request], Answer | Awaitable[Answer]]

PROBLEM = {"content-type": "application/problem+json"}


def answers(status: int, headers: dict[str, str] | None = None, **content: Any) -> Fault:
    return lambda _double, _request: httpx.Response(status, headers=headers, **content)


def refuses(status: int, slug: str, detail: str = "It is not to be.") -> Fault:
    problem = {"type": f"urn:problem:{slug}", "title": "No", "status": status, "detail": detail}
    return answers(status, PROBLEM, json=problem)


def raises(error: Exception) -> Fault:
    def fail(_double: Any, _request: httpx.Request) -> Answer:
        raise type(error)(str(error))  # a new one each time, as a network's are

    return fail


def after_effect(fault: Fault) -> Fault:
    """Do as asked, and only then fail."""

    def late(double: "InventoryDouble", request: httpx.Request) -> Answer | Awaitable[Answer]:
        double.carry_out(request)
        return fault(double, request)

    return late


class _Double:
    """Fails by `faults`, one a call, then by `fault` for as long as it is set."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.faults: deque[Fault] = deque()
        self.fault: Fault | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        fault = self.faults.popleft() if self.faults else self.fault
        if fault is not None:
            answer = fault(self, request)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is not None:
                return answer
        return self.carry_out(request)

    def carry_out(self, request: httpx.Request) -> httpx.Response:
        raise NotImplementedError


class InventoryDouble(_Double):
    """Keeps the one promise that the integration builds on: one package an identity, for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.packages: dict[tuple[str, str, int], dict[str, Any]] = {}

    @property
    def batches(self) -> list[list[str]]:
        """For whom packages were asked, call by call."""
        return [customers_in(request) for request in self.requests]

    @property
    def owners(self) -> list[str]:
        """Whom a package was made for, once for each package."""
        return sorted(customer for customer, _, _ in self.packages)

    def carry_out(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[self.make(item) for item in json.loads(request.content)])

    def make(self, item: dict[str, Any]) -> dict[str, Any]:
        identity = (item["customer_id"], item["package_type"], item["occurrence"])
        status = 200 if identity in self.packages else 201
        made = {**item, "request_id": str(uuid.uuid4()), "status": "pending"}
        return {"status": status, "package_request": self.packages.setdefault(identity, made)}


def customers_in(request: httpx.Request) -> list[str]:
    return [item["customer_id"] for item in json.loads(request.content)]


class CrmDouble(_Double):
    """A feed of events, at positions that run from 1 without holes."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = "a"
        self.pruned = 0
        self.is_patient = True
        self.events: list[Any] = []
        self._news = asyncio.Event()

    @property
    def looks(self) -> list[dict[str, str]]:
        """What was asked of the feed, call by call."""
        return [dict(request.url.params) for request in self.requests]

    def register(self, *uids: str) -> None:
        """Register customers; their names are made of their uids."""
        for uid in uids:
            self.publish(created(uid, sequence=len(self.events) + 1))

    def publish(self, event: Any) -> None:
        self.events.append(event)
        self._news.set()

    async def customers(self, _request: httpx.Request) -> httpx.Response:
        head = f"{self.epoch}-{len(self.events)}"
        return httpx.Response(200, headers={"X-Feed-Cursor": head}, json=[])

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = await super().__call__(request)
        if self.is_patient and "wait" in request.url.params and answer.status_code == 200:
            self._news.clear()
            if not answer.json().get("events"):
                wait = float(request.url.params["wait"])
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), wait)
                answer = self.carry_out(request)
        return answer

    def carry_out(self, request: httpx.Request) -> httpx.Response:
        epoch, _, position = request.url.params.get("after", f"{self.epoch}-0").partition("-")
        after, head = int(position), len(self.events)
        if epoch != self.epoch or after > head:
            return problem(409, "feed-diverged")
        if after < self.pruned:
            return problem(410, "cursor-expired")
        through = min(head, after + int(request.url.params["limit"]))
        return httpx.Response(200, json=self.page(after, through))

    def page(self, after: int, through: int, **changed: Any) -> dict[str, Any]:
        return {
            "events": self.events[after:through],
            "from_position": after + 1,
            "through_position": through,
            "head_position": len(self.events),
            "next_cursor": f"{self.epoch}-{through}",
            "has_more": through < len(self.events),
            **changed,
        }


def problem(status: int, slug: str) -> httpx.Response:
    answer = refuses(status, slug)(None, httpx.Request("GET", "http://crm"))
    assert isinstance(answer, httpx.Response)
    return answer


def created(uid: Any, *, sequence: Any = 1, **data: Any) -> dict[str, Any]:
    """Make the event that tells of a new customer."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/crm",
        "type": "customer.created",
        "subject": uid,
        "time": "2026-01-05T12:00:00Z",
        "sequence": sequence,
        "datacontenttype": "application/json",
        "data": {"uid": uid, "name": f"Customer {uid}", "email": f"{uid}@example.com"} | data,
    }
