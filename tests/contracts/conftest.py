"""Each far side as the integration meets it: the service itself on either engine, and its double.

What a case finds out about one it must find out about the other, so no double can promise what the
service does not keep. Cases speak HTTP alone, with the integration's own token.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from crm_api.app import create_app as create_crm
from crm_api.feed import service as feed
from crm_api.settings import Settings as CrmSettings
from inventory_api.app import create_app as create_inventory
from inventory_api.settings import Settings as InventorySettings
from tests.conftest import NewDatabase, bearer, running
from tests.integration_service.doubles import CrmDouble, InventoryDouble, created, listed

TOKEN = "integration123"
THEN = "2026-01-05T12:00:00Z"


class Crm:
    """A CRM, and what happens in it that the integration has no part in."""

    http: httpx.AsyncClient

    async def register(self, *, welcome: bool = True) -> str:
        """Register a customer, and return its uid. Nobody reads the feed by that."""
        raise NotImplementedError

    async def erase(self, uid: str) -> None:
        raise NotImplementedError

    async def prune(self) -> None:
        """Delete all events that no reader needs."""
        raise NotImplementedError


class CrmItself(Crm):
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def register(self, *, welcome: bool = True) -> str:
        new = {"name": "Jane Doe", "email": f"{uuid.uuid4()}@example.com"}
        if welcome:
            answer = await self._ask("POST", "/api/customers", json=new)
            return str(answer.json()["uid"])
        database = self.http.app.state.database  # type: ignore[attr-defined]
        [row] = await database.write(_register_all, [new])
        return str(row.uid)

    async def erase(self, uid: str) -> None:
        await self._ask("DELETE", f"/api/customers/{uid}")

    async def prune(self) -> None:
        database = self.http.app.state.database  # type: ignore[attr-defined]
        await feed.prune(database, datetime.now(UTC) + timedelta(days=1))

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = await self.http.request(method, path, headers=bearer("admin123"), **more)
        assert answer.is_success, answer.text
        return answer


def _register_all(db: Any, customers: list[dict[str, str]]) -> Any:
    from crm_api.customers import service
    from crm_api.customers.schemas import CustomerNew
    from service_kit.web.auth import Principal

    new = [CustomerNew(**one) for one in customers]
    return service.register_all(db, new, Principal("import", "admin", frozenset()), welcome=False)


class CrmsDouble(Crm):
    def __init__(self, double: CrmDouble) -> None:
        self._double = double
        self.http = httpx.AsyncClient(
            transport=httpx.MockTransport(self._answer),
            base_url="http://crm",
            headers=bearer(TOKEN),
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/events":
            return await self._double(request)
        if request.url.path.startswith("/api/events/"):
            return await self._double.look_up(request)
        if request.url.path.startswith("/api/feed-readers/"):
            return await self._double.announce(request)
        return await self._double.list(request)

    async def register(self, *, welcome: bool = True) -> str:
        uid = str(uuid.uuid4())
        more = {} if welcome else {"welcome": False}
        self._double.publish(created(uid, sequence=len(self._double.events) + 1, **more))
        if not welcome:
            self._double.unwelcome.add(uid)
        return uid

    async def erase(self, uid: str) -> None:
        told = created(uid, sequence=len(self._double.events) + 1)
        self._double.publish(told | {"type": "customer.erased"})
        later = "2026-01-05T13:00:00Z"
        self._double.changed[uid] = listed(uid, THEN, name="", email="", updated_at=later)
        self._double.forget(uid)

    async def prune(self) -> None:
        self._double.prune()


@pytest.fixture
def url(engine: str, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Give the URL of a service's new database; the double needs none."""
    if engine == "double":
        return lambda _: ""
    new_database: NewDatabase = request.getfixturevalue("new_database")
    urls = {name: new_database(name) for name in ("crm_api", "inventory_api")}
    return urls.__getitem__


@pytest.fixture
async def crm(engine: str, url: Callable[[str], str]) -> AsyncIterator[Crm]:
    if engine == "double":
        yield CrmsDouble(CrmDouble())
        return
    settings = CrmSettings(database_url=url("crm_api"), seed_demo_data=False)
    async with running(create_crm(settings), token=TOKEN) as http:
        yield CrmItself(http)


@pytest.fixture
async def inventory(engine: str, url: Callable[[str], str]) -> AsyncIterator[httpx.AsyncClient]:
    if engine == "double":
        double = InventoryDouble()
        routes: dict[tuple[str, str], Callable[[httpx.Request], Any]] = {
            ("POST", "/package-requests/batch"): double,
            ("POST", "/package-requests/addresses"): double.readdress,
            ("POST", "/package-requests/erasures"): double.erase,
            ("GET", "/package-requests"): double.list,
        }

        async def answer(request: httpx.Request) -> httpx.Response:
            answered = routes[request.method, request.url.path](request)
            found = await answered if isinstance(answered, Awaitable) else answered
            assert isinstance(found, httpx.Response)
            return found

        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://inventory") as http:
            yield http
        return
    settings = InventorySettings(database_url=url("inventory_api"))
    async with running(create_inventory(settings), token=TOKEN) as http:
        yield http
