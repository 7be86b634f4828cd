"""Who uses the CRM while everything breaks: clients who keep books, and readers of the feed."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from tests.conftest import bearer
from tests.system.stack import Outcome

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
LARGEST_BATCH = 20
MOST_NAMES_IN_A_ROW = 4
FEW_SECONDS = 0.3
# So late an answer of a CRM that is gone may still arrive.
UNDER_WAY_SECONDS = 5.0


@dataclass
class Known:
    """A customer who was acknowledged: the names it may have now, and whether it was erased."""

    names: set[str]
    erased: Outcome | None = None
    # When each was told, by the monotonic clock.
    since: float = field(default_factory=time.monotonic)
    renamed_at: float = 0.0
    erased_at: float = 0.0
    all_names: set[str] = field(default_factory=set)


@dataclass
class Book:
    """What the clients were told."""

    # By address: whether the customer must be there, must not, or nobody can say.
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    customers: dict[str, Known] = field(default_factory=dict)
    # Answers that no honest service gives.
    contradictions: list[str] = field(default_factory=list)
    answers: int = 0
    # While nothing is sent: then they erase above all those who have just come.
    is_paused: bool = False
    # Whether the CRM is put back to older copies, after which it may not know whom it knew.
    may_forget: bool = False

    def without(self, uncertain: Sequence[tuple[float, float]]) -> "Book":
        """Return what is left of it where the CRM may have lost what it told from then to then."""

        def is_sure(at: float) -> bool:
            return not any(start <= at <= end + UNDER_WAY_SECONDS for start, end in uncertain)

        customers = {
            uid: Known(
                names=known.names if is_sure(known.renamed_at) else known.names | known.all_names,
                erased=known.erased if is_sure(known.erased_at) else "unknown",
                since=known.since if is_sure(known.since) else 0.0,
            )
            for uid, known in self.customers.items()
        }
        return replace(self, customers=customers)

    def acknowledge(self, email: str, customer: Any, name: str) -> None:
        self.outcomes[email] = "ok"
        self.customers[customer["uid"]] = Known({name})
        if (customer["email"], customer["name"]) != (email, name):
            self.contradictions.append(f"{email} was answered with {customer}")


class Client:
    """Adds customers one by one and in batches, changes some and erases a few.

    It sends the same again, under the same key, until it knows what has become of it; now and then
    it gives up before.
    """

    def __init__(self, number: int, url: str, seed: int, book: Book) -> None:
        self._number = number
        self._chance = random.Random(f"{seed}/client {number}")
        self._book = book
        self._url = url
        self._count = 0
        self._own: list[str] = []
        self._known: list[str] = []
        # By their integer ids: customers who are never erased, and their tickets.
        self._kept: list[int] = []
        self._tickets: list[int] = []

    async def run(self, ended: asyncio.Event) -> None:
        works = (
            self._add,
            self._add_batch,
            self._change,
            self._erase,
            self._add_wrong,
            self._work_on_a_ticket,
        )
        async with httpx.AsyncClient(base_url=self._url, timeout=10, trust_env=False) as self._http:
            while not ended.is_set():
                weights = (45, 5, 5, 40, 5, 5) if self._book.is_paused else (70, 8, 12, 4, 6, 12)
                [work] = self._chance.choices(works, weights)
                await work(ended)
                await asyncio.sleep(self._chance.uniform(0, FEW_SECONDS))

    async def _add(self, ended: asyncio.Event) -> None:
        new = self._new()
        self._book.outcomes[new["email"]] = "unknown"
        status, body = await self._ask_until_told(ended, "POST", "/api/customers", json=new)
        if status == 201:
            self._acknowledge(new, body)
        elif status is not None:
            self._book.outcomes[new["email"]] = "refused"

    async def _add_batch(self, ended: asyncio.Event) -> None:
        batch = [self._new() for _ in range(self._chance.randint(2, LARGEST_BATCH))]
        wrong = {"name": "", "email": f"nobody-{batch[0]['email']}"}
        for new in batch:
            self._book.outcomes[new["email"]] = "unknown"
        self._book.outcomes[wrong["email"]] = "refused"
        sent = [*batch, wrong]
        status, body = await self._ask_until_told(ended, "POST", "/api/customers/batch", json=sent)
        if status == 200:
            for new, result in zip(batch, body, strict=False):
                if result["status"] == 201:
                    self._acknowledge(new, result["customer"])
                else:
                    self._book.outcomes[new["email"]] = "refused"

    async def _add_wrong(self, ended: asyncio.Event) -> None:
        """Send what must be refused: no address, or one that is taken."""
        new = self._new()
        if self._own and self._chance.random() < 0.5:
            # As the CRM keeps it: a domain is written in small letters.
            local, _, domain = self._chance.choice(self._own).partition("@")
            new["email"] = f"{local.upper()}@{domain}"
            if self._book.may_forget:  # it may be free again, and whoever gives up never hears it
                self._book.outcomes[new["email"]] = "unknown"
        else:
            new["email"] = f"{new['email']} is no address"
            self._book.outcomes[new["email"]] = "refused"
        status, body = await self._ask_until_told(ended, "POST", "/api/customers", json=new)
        if status == 201 and self._book.may_forget:
            self._book.customers[body["uid"]] = Known({new["name"]})  # it was taken before
        elif status not in {None, 409, 422}:
            self._book.contradictions.append(f"{new['email']} was answered with {status}: {body}")

    async def _change(self, ended: asyncio.Event) -> None:
        """Rename a customer some times in a row: whoever is told in order has several at once."""
        if not self._known:
            return
        is_newest = self._chance.random() < 0.5
        uid = self._known[-1] if is_newest else self._chance.choice(self._known)
        for _ in range(self._chance.randint(1, MOST_NAMES_IN_A_ROW)):
            await self._rename(uid, ended)

    async def _rename(self, uid: str, ended: asyncio.Event) -> None:
        known = self._book.customers[uid]
        name = f"Renamed {self._number}-{self._next()}"
        known.all_names |= known.names | {name}
        known.names.add(name)
        path = f"/api/customers/{uid}"
        status, body = await self._ask_until_told(ended, "PATCH", path, json={"name": name})
        if status == 200 and body["name"] == name:
            known.names, known.renamed_at = {name}, time.monotonic()
        elif status is not None and not (status == 404 and self._book.may_forget):
            self._book.contradictions.append(f"a new name was answered with {status}: {body}")

    async def _erase(self, ended: asyncio.Event) -> None:
        if not self._known:
            return
        newest = len(self._known) - 1
        uid = self._known.pop(newest if self._book.is_paused else self._chance.randint(0, newest))
        known = self._book.customers[uid]
        known.erased = "unknown"
        status, body = await self._ask_until_told(ended, "DELETE", f"/api/customers/{uid}")
        if status == 204:
            known.erased, known.erased_at = "ok", time.monotonic()
        elif status is not None and not (status == 404 and self._book.may_forget):
            self._book.contradictions.append(f"an erasure was answered with {status}: {body}")

    async def _work_on_a_ticket(self, ended: asyncio.Event) -> None:
        """Open a ticket, or change one that is there."""
        if self._tickets and self._chance.random() < 0.7:
            path = f"/api/tickets/{self._chance.choice(self._tickets)}"
            method = "PATCH"
            sent: dict[str, Any] = {"description": f"As of {self._next()}"}
        elif self._kept:
            method, path = "POST", "/api/tickets"
            text = {"subject": "Parcel", "description": "Where is it?"}
            sent = {"customer_id": self._chance.choice(self._kept), **text}
        else:
            return
        status, body = await self._ask_until_told(ended, method, path, json=sent)
        if status == 201:
            self._tickets.append(body["id"])
        elif status not in {None, 200} and not (status == 404 and self._book.may_forget):
            self._book.contradictions.append(f"{method} {path} was answered {status}: {body}")

    def _new(self) -> dict[str, str]:
        n = self._next()
        own = f"{self._number}-{n}"
        return {"name": f"Customer {own}", "email": f"customer-{own}@example.com"}

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _acknowledge(self, new: dict[str, str], customer: Any) -> None:
        self._book.acknowledge(new["email"], customer, new["name"])
        self._known.append(customer["uid"])
        # One that is erased frees its address, so only those that never will be are taken.
        if self._chance.random() < 0.2:
            self._own.append(new["email"])
            self._known.remove(customer["uid"])
            self._kept.append(customer["id"])

    async def _ask_until_told(
        self, ended: asyncio.Event, method: str, path: str, **request: Any
    ) -> tuple[int | None, Any]:
        """Ask until the answer says what happened. (None, None) for who gave up before."""
        headers = bearer("admin123" if method == "DELETE" else "agent123")
        if method == "POST":
            headers["Idempotency-Key"] = f"{self._number}-{self._next()}"
        gives_up = self._chance.random() < 0.05
        while True:
            told = await self._ask(method, path, headers, request)
            if told is not None:
                self._book.answers += 1
                return told
            if gives_up or ended.is_set():
                return None, None
            await asyncio.sleep(self._chance.uniform(0.02, FEW_SECONDS))

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], request: dict[str, Any]
    ) -> tuple[int, Any] | None:
        try:
            answer = await self._http.request(method, path, headers=headers, **request)
            body = answer.json() if answer.status_code != 204 else None
        except (httpx.TransportError, ValueError):
            return None  # no answer, or one that is none
        if answer.status_code in TRANSIENT:
            return None
        if not answer.is_success and body and body["type"] == "urn:problem:still-running":
            return None
        return answer.status_code, body


class Reader:
    """Follows the feed from its start, and finds every hole and every change of what it has seen.

    It asks the CRM itself: what it is to find is what the CRM does, not what a link does.
    """

    def __init__(self, url: str, wait: float, *, may_start_anew: bool = False) -> None:
        """`may_start_anew`: the CRM may be put back, and then refuses a place of its future."""
        self.seen: list[tuple[int, str, str, str]] = []
        self.faults: list[str] = []
        self._url = url
        self._wait = wait
        self._may_start_anew = may_start_anew
        self._cursor: str | None = None
        self._through = 0

    async def run(self, ended: asyncio.Event) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=10, trust_env=False) as http:
            while not ended.is_set():
                try:
                    await self.look(http, self._wait)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def read_to_the_end(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=10, trust_env=False) as http:
            while await self.look(http, 0):
                pass

    async def look(self, http: httpx.AsyncClient, wait: float) -> bool:
        """Read one page. Returns whether there is more."""
        asked = {"limit": 500, "wait": wait} | ({"after": self._cursor} if self._cursor else {})
        answer = await http.get("/api/events", params=asked, headers=bearer("integration123"))
        if answer.status_code == 503:
            await asyncio.sleep(0.1)
            return True
        if answer.status_code == 409 and self._may_start_anew:
            self.seen, self._cursor, self._through = [], None, 0
            return True
        if answer.status_code != 200:
            self.faults.append(f"it answered {answer.status_code}: {answer.text[:500]}")
            return False
        page = answer.json()
        self._check(page)
        self.seen += [(e["sequence"], e["id"], e["type"], e["subject"]) for e in page["events"]]
        self._through = page["through_position"]
        self._cursor = page["next_cursor"]
        return bool(page["has_more"])

    def _check(self, page: Any) -> None:
        sequences = [event["sequence"] for event in page["events"]]
        expected = list(range(self._through + 1, page["through_position"] + 1))
        if page["from_position"] != self._through + 1 or sequences != expected:
            self.faults.append(f"behind {self._through} came {sequences}, not {expected}")
