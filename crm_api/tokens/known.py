"""A process's cache of issued tokens, refreshed every few seconds."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.types import Scope

from crm_api.tokens import store
from crm_api.tokens.schemas import TokenOut
from service_kit.database import Database
from service_kit.problems import ServiceUnavailable
from service_kit.process import clock
from service_kit.web import minting
from service_kit.web.auth import Principal
from service_kit.web.roles import ROLES

# How long after another process revokes a token this one may still accept it.
MAX_AGE_SECONDS = 3.0
# The size of the cache; beyond it the database is asked more often.
REMEMBERED = 1000
# The precision of last_used_at, and how long uses are collected before they are written.
USE_PRECISION = timedelta(minutes=1)
GATHER_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _CachedToken:
    """A token as it was in the database at an instant of the process's clock."""

    token_id: int
    principal: Principal
    read_at: float

    def is_fresh(self) -> bool:
        return time.monotonic() - self.read_at < MAX_AGE_SECONDS

    def has_expired(self) -> bool:
        expires_at = self.principal.expires_at
        return expires_at is not None and expires_at <= clock.now()


class IssuedTokens:
    """Looks up tokens without asking the database each time.

    Only valid tokens are cached, so guessing fills nothing.
    """

    def __init__(self) -> None:
        self._database: Database | None = None
        self._cached: dict[bytes, _CachedToken] = {}
        self._uses = _Uses()

    @asynccontextmanager
    async def on(self, database: Database) -> AsyncIterator[None]:
        """Use this database, which is open, until the end."""
        self._database = database
        try:
            yield
        finally:
            await self._uses.close(database)

    async def find(self, token: str, _: Scope | None = None) -> Principal | None:
        """Find whose token this is; None for an invalid one."""
        if not minting.is_wellformed(token):
            return None
        digest = minting.digest(token)
        cached = self._cached.get(digest)
        return await self._valid(digest, cached if cached and cached.is_fresh() else None)

    async def find_now(self, token: str) -> Principal | None:
        """Find whose token this is, as the database has it at this moment."""
        return await self._valid(minting.digest(token)) if minting.is_wellformed(token) else None

    async def _valid(self, digest: bytes, cached: _CachedToken | None = None) -> Principal | None:
        if cached is None:
            cached = await self._look_up(digest)
        if cached is None:
            return None
        if cached.has_expired():
            self._cached.pop(digest, None)
            _log_refusal(cached.token_id, "has expired")
            return None
        return cached.principal

    def forget(self, token_id: int) -> None:
        """Drop a token from the cache: this process has just changed it."""
        self._cached = {
            digest: cached for digest, cached in self._cached.items() if cached.token_id != token_id
        }

    async def _look_up(self, digest: bytes) -> _CachedToken | None:
        assert self._database is not None, "no request comes before the start"
        # Before the look: what is read may be older than the moment it arrives, never than this.
        read_at = time.monotonic()
        self._cached.pop(digest, None)
        row = await self._database.read(store.find, digest)
        if row is None:
            return None
        if row.revoked_at is not None:
            _log_refusal(row.id, "is revoked")
            return None
        if (scopes := ROLES.get(row.role)) is None:
            _log_refusal(row.id, f"has the role {row.role}, which this version does not know")
            return None
        if row.scopes is not None:
            scopes &= frozenset(row.scopes)
        who = Principal(row.name, row.role, scopes, f"token:{row.id}", row.expires_at)
        cached = _CachedToken(row.id, who, read_at)
        if not cached.has_expired():
            self._remember(digest, cached)
            self._uses.note(row, self._database)
        return cached

    def _remember(self, digest: bytes, cached: _CachedToken) -> None:
        if len(self._cached) >= REMEMBERED:
            del self._cached[next(iter(self._cached))]  # the one that was read first
        self._cached[digest] = cached


class _Uses:
    """Writes last_used_at in the background, a moment later and in batches."""

    def __init__(self) -> None:
        self._pending: dict[int, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, row: TokenOut, database: Database) -> None:
        now = clock.now()
        if row.last_used_at is not None and now - row.last_used_at < USE_PRECISION:
            return
        self._pending[row.id] = now
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon(database), name="token-uses")

    async def close(self, database: Database) -> None:
        """Write what is pending."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write(database)

    async def _write_soon(self, database: Database) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        await self._write(database)

    async def _write(self, database: Database) -> None:
        pending, self._pending = self._pending, {}
        if not pending:
            return
        # Nobody waits for it, and the next look-up notes the use again: errors are only logged.
        try:
            await database.write(store.note_uses, pending)
        except ServiceUnavailable as error:
            logger.warning("When tokens were last used can't be written now: %s", error)
        except Exception:
            logger.exception("When tokens were last used was not written because of a bug.")


def _log_refusal(token_id: int, reason: str) -> None:
    # A WARNING names the caller; this adds which token it was.
    logger.debug("The token with the id %d %s.", token_id, reason)
