"""The two far sides, as the integration sees them: sound, and failing as a test tells them to.

tests/contracts sends both of them, and the services themselves, the same cases.
"""

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

LIVE = {"pending", "backordered", "packed"}
LONGEST_ID = 64
TYPES = {
    *("customer.created", "customer.updated", "customer.erased"),
    *("ticket.created", "ticket.updated", "ticket.status_changed", "ticket.note_added"),
    "ticket.deleted",
}
PROBLEM = {"content-type": "application/problem+json"}


def answers(status: int, headers: dict[str, str] | None = None, **content: Any) -> Fault:
    return lambda _double, _request: httpx.Response(status, headers=headers, **content)


def refuses(status: int, slug: str, detail: str = "It is not to be.", **members: str) -> Fault:
    problem = {"type": f"urn:problem:{slug}", "title": "No", "status": status, "detail": detail}
    problem |= members
    return answers(status, PROBLEM, json=problem)


def refuses_each(status: int, slug: str, detail: str = "It is not to be.") -> Fault:
    """Refuse each item of a batch for itself, as Inventory does."""

    def refuse(_double: Any, request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, json=[refused(uid, status, slug, detail) for uid in customers_in(request)]
        )

    return refuse


def refused(uid: str, status: int, slug: str, detail: str = "It is not to be.") -> dict[str, Any]:
    """Make the result of one item that Inventory refuses, which names the customer."""
    problem = {"type": f"urn:problem:{slug}", "title": "No", "status": status, "detail": detail}
    return {"status": status, "problem": {**problem, "customer_id": uid}}


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
    """Fails by `faults`, one a call, then by `fault` for as long as it is set.

    `check` finds what has never happened, unless it is up to chance: `may_be_spared`.
    """

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.faults: deque[Fault] = deque()
        self.list_faults: deque[Fault] = deque()
        self.may_be_spared = False
        self._fault: Fault | None = None
        self._idle: list[Fault] = []

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._fault = fault
        if fault is not None:
            self._idle.append(fault)

    def check(self) -> None:
        """Fail for a fault that nobody has met."""
        left = len(self.faults) + len(self.list_faults) + len(self._idle)
        assert self.may_be_spared or not left, f"nobody has met {left} of the faults"

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        fault = self.faults.popleft() if self.faults else self.fault
        if fault is not None:
            self._idle = [one for one in self._idle if one is not fault]
            answer = fault(self, request)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is not None:
                return answer
        return self.carry_out(request)

    def carry_out(self, request: httpx.Request) -> httpx.Response:
        raise NotImplementedError


class InventoryDouble(_Double):
    """Keeps the integration's promises: one package an identity, for ever, none for the erased."""

    def __init__(self) -> None:
        super().__init__()
        self.erased: set[str] = set()
        # Whom it was asked to erase, call by call; without dry runs.
        self.erasures: list[list[str]] = []
        self.erasure_faults: deque[Fault] = deque()
        # What it was told of addresses, call by call.
        self.readdressings: list[list[dict[str, Any]]] = []
        self.address_faults: deque[Fault] = deque()
        self.packages: dict[tuple[str, str, int], dict[str, Any]] = {}
        self.lists: list[httpx.Request] = []

    @property
    def batches(self) -> list[list[str]]:
        """For whom packages were asked, call by call."""
        return [customers_in(request) for request in self.requests]

    @property
    def owners(self) -> list[str]:
        """Whom a package was made for, once for each package."""
        return sorted(customer for customer, _, _ in self.packages)

    @property
    def live(self) -> list[str]:
        """Whom a package that can still be shipped is for."""
        return sorted(
            customer for (customer, _, _), made in self.packages.items() if made["status"] in LIVE
        )

    def carry_out(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[self.make(item) for item in json.loads(request.content)])

    async def list(self, request: httpx.Request) -> httpx.Response:
        """Answer a page of package requests."""
        self.lists.append(request)
        wanted = request.url.params.get("customer_id")
        found = [
            {
                "request_id": made["request_id"],
                "customer_id": customer,
                "status": made["status"],
            }
            for (customer, kind, _), made in self.packages.items()
            if kind == request.url.params["package_type"] and wanted in (None, customer)
        ]
        return a_page(request, found)

    async def erase(self, request: httpx.Request) -> httpx.Response:
        """Cancel what is not shipped, forget the names, and remember whom."""
        if self.erasure_faults:
            answer = self.erasure_faults.popleft()(self, request)
            if isinstance(answer, httpx.Response):
                return answer
        body = json.loads(request.content)
        news = [one for one in body["customer_ids"] if self.has_to_erase(one)]
        number = len([one for uid in news for one in self._to_erase(uid)])
        if not body.get("dry_run"):
            self.erasures.append(body["customer_ids"])
            self.erased |= set(body["customer_ids"])
            for made in self.packages.values():
                if made["customer_id"] in self.erased:
                    made.pop("customer_name", None)
                    made.pop("ship_to", None)
                    if made["status"] in LIVE:
                        made["status"] = "cancelled"
        told = {"dry_run": body.get("dry_run", False), "erased": number, "customer_ids": news}
        return httpx.Response(200, json=told)

    async def readdress(self, request: httpx.Request) -> httpx.Response:
        """Give what is not packed the new addresses, but no older one than it has."""
        changes = json.loads(request.content)
        self.readdressings.append(changes)
        if self.address_faults:
            answer = self.address_faults.popleft()(self, request)
            if isinstance(answer, httpx.Response):
                return answer
        return self.take_addresses(request)

    def take_addresses(self, request: httpx.Request) -> httpx.Response:
        changes = json.loads(request.content)
        return httpx.Response(200, json=[self._readdress(one) for one in changes])

    def _readdress(self, change: dict[str, Any]) -> dict[str, Any]:
        if change["customer_id"] in self.erased:
            return refused(change["customer_id"], 410, "customer-erased")
        if change["ship_to"] is not None and not change["ship_to"].get("lines"):
            return refused(change["customer_id"], 422, "invalid-request")
        changed = 0
        for made in self.packages.values():
            is_open = made["status"] in {"pending", "backordered"}
            is_newer = change["as_of"] >= (made.get("ship_to_as_of") or "")
            if made["customer_id"] == change["customer_id"] and is_open and is_newer:
                changed += made.get("ship_to") != change["ship_to"]
                made |= {"ship_to": change["ship_to"], "ship_to_as_of": change["as_of"]}
        return {"status": 200, "updated": changed}

    def has_to_erase(self, customer: str) -> bool:
        return customer not in self.erased or bool(self._to_erase(customer))

    def _to_erase(self, customer: str) -> "list[dict[str, Any]]":
        return [
            made
            for made in self.packages.values()
            if made["customer_id"] == customer
            and (made["status"] in LIVE or "customer_name" in made)
        ]

    def make(self, item: dict[str, Any]) -> dict[str, Any]:
        """Make one package, once; what can't be one becomes a problem in its place."""
        if item["customer_id"] in self.erased:
            return refused(item["customer_id"], 410, "customer-erased")
        if not 1 <= len(item["customer_id"]) <= LONGEST_ID:
            return refused(item["customer_id"], 422, "invalid-request")
        identity = (item["customer_id"], item["package_type"], item["occurrence"])
        there = self.packages.get(identity)
        if there is not None:
            if there.get("customer_name") != item.get("customer_name"):
                return refused(item["customer_id"], 409, "package-request-conflict")
            return {"status": 200, "package_request": there}
        made = {**item, "request_id": str(uuid.uuid4()), "status": "pending"}
        self.packages[identity] = made
        return {"status": 201, "package_request": made}


def customers_in(request: httpx.Request) -> list[str]:
    return [item["customer_id"] for item in json.loads(request.content)]


class CrmDouble(_Double):
    """A feed of events, at positions that run from 1 without holes.

    Like the CRM's, an event has a position only once somebody has read that far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch = "a"
        self.pruned = 0
        self._numbered = 0
        self.is_patient = True
        self.events: list[Any] = []
        # What the list shows otherwise than the feed has told it.
        self.gone: set[str] = set()
        self.unwelcome: set[str] = set()
        self.changed: dict[str, dict[str, Any]] = {}
        self.lists: list[httpx.Request] = []
        # Up to which position each reader says it needs no event.
        self.readers: dict[str, int] = {}
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

    @property
    def customers(self) -> dict[str, dict[str, Any]]:
        """Return all customers by their uids, as the feed has told of them."""
        told = {
            event["subject"]: listed(event["subject"], event["time"])
            for event in self.events
            if event["type"] == "customer.created"
        }
        told.update(self.changed)
        return {uid: one for uid, one in told.items() if uid not in self.gone}

    async def list(self, request: httpx.Request) -> httpx.Response:
        """Answer a page of customers, or one of them."""
        self.lists.append(request)
        if self.list_faults and (answer := self.list_faults.popleft()(self, request)) is not None:
            assert isinstance(answer, httpx.Response)
            return answer
        uid = request.url.path.removeprefix("/api/customers").removeprefix("/")
        if uid:
            found = self.customers.get(uid)
            return httpx.Response(200, json=found) if found else NOT_FOUND
        query = request.url.params
        assert query["welcome"] == "true"
        first = {}
        if "cursor" not in query:
            self.number()
            first["X-Feed-Cursor"] = f"{self.epoch}-{self.head}"
        since = self._place(query.get("since", f"{self.epoch}-0"))
        if isinstance(since, httpx.Response):
            return since
        later = {
            event["subject"]
            for event in self.events[since:]
            if isinstance(event, dict) and event.get("type") == "customer.created"
        }
        wanted = [
            one
            for uid, one in self.customers.items()
            if uid not in self.unwelcome and (not since or uid in later)
        ]
        return a_page(request, wanted[:: -1 if query.get("sort") == "-id" else 1], first)

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

    async def look_up(self, request: httpx.Request) -> httpx.Response:
        """Answer one event."""
        position = int(request.url.path.rpartition("/")[2])
        if position > self.head:
            self.number()
        if position > self.head:
            return problem(404, "event-not-found")
        if position <= self.pruned:
            return problem(410, "cursor-expired")
        behind = {"X-Feed-Cursor": f"{self.epoch}-{position}"}
        return httpx.Response(200, json=self.events[position - 1], headers=behind)

    async def announce(self, request: httpx.Request) -> httpx.Response:
        """Write down how far a reader is."""
        name, body = request.url.path.rpartition("/")[2], json.loads(request.content)
        read = self._readable(body.get("cursor"))
        if isinstance(read, httpx.Response):
            return read
        if body["position"] > read:
            return problem(422, "invalid-request")
        status = 200 if name in self.readers else 201
        self.readers[name] = body["position"]
        instants = {"announced_at": "2026-01-05T12:00:00Z", "expires_at": "2026-01-12T12:00:00Z"}
        return httpx.Response(status, json={"name": name, "position": body["position"], **instants})

    def prune(self) -> None:
        """Delete all events that no reader needs."""
        self.pruned = max(self.pruned, min([len(self.events), *self.readers.values()]))

    def forget(self, uid: str) -> None:
        """Blank what all events say about a person."""
        for event in self.events:
            if event["subject"] == uid:
                event["data"] |= {name: "" for name in ("name", "email") if name in event["data"]}

    @property
    def head(self) -> int:
        """The last position that an event has."""
        return min(len(self.events), max(self._numbered, self.pruned))

    def number(self) -> None:
        self._numbered = len(self.events)

    def _place(self, cursor: str) -> int | httpx.Response:
        """Read the position in a cursor, or refuse it."""
        epoch, _, position = cursor.partition("-")
        if not position.isdecimal():
            return problem(400, "cursor-malformed")
        if epoch != self.epoch or int(position) > self.head:
            return problem(409, "feed-diverged")
        return int(position)

    def _readable(self, cursor: str | None) -> int | httpx.Response:
        """Read the position in a cursor that the feed can continue from, or refuse it."""
        position = 0 if cursor is None else self._place(cursor)
        if isinstance(position, int) and position < self.pruned:
            return problem(410, "cursor-expired", oldest_cursor=f"{self.epoch}-{self.pruned}")
        return position

    def carry_out(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        after = self._readable(query.get("after"))
        if isinstance(after, httpx.Response):
            return after
        wanted, limit = set(query["types"].split(",")), int(query["limit"])
        page = self._read(after, wanted, limit)
        if not page["has_more"] and self.head < len(self.events):
            self.number()
            page = self._read(after, wanted, limit)
        return httpx.Response(200, json=page)

    def _read(self, after: int, wanted: set[str], limit: int) -> dict[str, Any]:
        unwanted = TYPES - wanted
        through, found = after, []
        while through < self.head and len(found) < limit:
            event = self.events[through]
            through += 1
            if not (isinstance(event, dict) and event.get("type") in unwanted):
                found.append(event)
        has_more = through < self.head
        return self.page(after, through, events=found, head_position=self.head, has_more=has_more)

    def page(self, after: int, through: int, **changed: Any) -> dict[str, Any]:
        """Make a page of these positions, which their events have from now on."""
        self._numbered = max(self._numbered, through)
        return {
            "events": self.events[after:through],
            "from_position": after + 1,
            "through_position": through,
            "head_position": len(self.events),
            "next_cursor": f"{self.epoch}-{through}",
            "has_more": through < len(self.events),
            **changed,
        }


def listed(uid: str, created_at: str, **changed: Any) -> dict[str, Any]:
    """Show a customer as the CRM's list does."""
    return {
        "id": 1,
        "uid": uid,
        "name": f"Customer {uid}",
        "email": f"{uid}@example.com",
        "created_at": created_at,
        "updated_at": created_at,
        **changed,
    }


def a_page(
    request: httpx.Request, items: list[Any], headers: dict[str, str] | None = None
) -> httpx.Response:
    """Answer what the request's limit and cursor say of a list."""
    start = int(request.url.params.get("cursor", "0"))
    end = start + int(request.url.params["limit"])
    more = {"X-Next-Cursor": str(end)} if end < len(items) else {}
    return httpx.Response(200, headers={**(headers or {}), **more}, json=items[start:end])


def problem(status: int, slug: str, **members: str) -> httpx.Response:
    answer = refuses(status, slug, **members)(None, httpx.Request("GET", "http://crm"))
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


def erased(uid: str, sequence: int, number: Any = None) -> dict[str, Any]:
    """Make the event that tells that a customer was erased."""
    data = {"uid": uid} if number is None else {"uid": uid, "id": number}
    return {**created(uid, sequence=sequence), "type": "customer.erased", "data": data}


NOT_FOUND = problem(404, "customer-not-found")
