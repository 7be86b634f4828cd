"""Sessions and links as the console asks for them, in the CRM's database."""

from datetime import datetime

from crm_api.sessions import service, store
from crm_api.sessions.models import Session
from service_kit.database import Database
from service_kit.process import clock


class KnownSessions:
    """Keeps the console's sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, *, key: bytes, owner: str, role: str, sealed: bytes, expires_at: datetime
    ) -> None:
        values = {
            "key": key,
            "owner": owner,
            "role": role,
            "sealed": sealed,
            "expires_at": expires_at,
        }
        await self._database.write(service.open_session, values)

    async def find(self, key: bytes) -> Session | None:
        return await self._database.read(store.find, key, clock.now())

    async def remove(self, key: bytes) -> None:
        await self._database.write(service.end, key)

    async def remove_all_of(self, owner: str) -> None:
        await self._database.write(service.end_all_of, owner)


class KnownLinks:
    """Looks up and spends the console's one-time links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def role_of(self, secret: str) -> str | None:
        return await self._database.read(service.role_of_link, secret)

    async def spend(self, secret: str) -> str | None:
        return await self._database.write(service.spend_link, secret)
