"""Tokens that the CRM has issued, at the services that ask it about them: RFC 7662.

What the CRM says is believed for five seconds, so a token that it revokes is refused everywhere
within that time. While it does not answer, tokens that are not known are refused with 503.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

import httpx
from pydantic import BaseModel, Field, ValidationError, model_validator
from starlette.types import Scope

from service_kit.process import clock
from service_kit.process.outgoing import client_for
from service_kit.process.rates import Buckets
from service_kit.web import minting
from service_kit.web.auth import IdentityUnavailable, Principal
from service_kit.web.rate_limits import FAILURES, TooManyRequests, address_of
from service_kit.web.roles import ROLES

# How long an answer is believed, counted from before the question.
BELIEVED_SECONDS = 5.0
ASK_SECONDS = 2.0
# After a failure nobody waits for the next one: requests that did would take all places.
PAUSE_SECONDS = 1.0
# Tokens that are remembered, and refusals.
REMEMBERED = 1000


class IntrospectionFailed(Exception):
    """Why the CRM can't be asked; the log says it."""


class _Answer(BaseModel):
    """What the CRM says of a token; `role` is an extension of RFC 7662."""

    active: bool
    username: str = ""
    role: str = ""
    scope: str = ""
    sub: str = ""
    exp: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _active_is_somebodys(self) -> Self:
        if self.active and not (self.username and self.role and self.sub):
            raise ValueError("an active token has a name, a role and an identity")
        return self

    def principal(self) -> Principal:
        # Never more than the role has here, whatever the other release of the CRM says.
        granted = ROLES.get(self.role, frozenset()) & frozenset(self.scope.split())
        expires_at = None if self.exp is None else clock.from_epoch(self.exp)
        return Principal(self.username, self.role, granted, self.sub, expires_at)


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose token it was when the CRM was asked; None for nobody's."""

    principal: Principal | None
    asked_at: float

    def is_fresh(self) -> bool:
        return time.monotonic() - self.asked_at < BELIEVED_SECONDS

    def still_valid(self) -> Principal | None:
        who = self.principal
        is_over = who is not None and who.expires_at is not None and who.expires_at <= clock.now()
        return None if is_over else who


class Introspection:
    """Asks the CRM whose token it is: once for all who show the same one at the same time.

    Accepted tokens and refusals are remembered apart, and an address that has shown too many
    invalid tokens may ask only about those that were valid before: so a flood of invented tokens
    reaches neither the CRM nor the memory of those that are in use.
    """

    def __init__(self, url: str, token: str, ca_file: Path | None = None) -> None:
        self._url = url
        self._accepted: OrderedDict[bytes, _Known] = OrderedDict()
        self._refused: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._failures = Buckets(FAILURES, FAILURES.number)
        self._silent_until = 0.0
        self._client = client_for(url, ca_file, ASK_SECONDS, Authorization=f"Bearer {token}")

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self._client.aclose()

    async def find(self, token: str, scope: Scope) -> Principal | None:
        """Find whose token this is. Raises IdentityUnavailable or TooManyRequests."""
        if not minting.is_wellformed(token):
            return None
        digest = minting.digest(token)
        known = self._accepted.get(digest) or self._refused.get(digest)
        if known is not None and known.is_fresh():
            return known.still_valid()
        if (task := self._asking.get(digest)) is None:
            task = self._start_asking(token, digest, scope)
        # Who waits may be gone before the others that wait for the same answer.
        return await asyncio.shield(task)

    def _start_asking(
        self, token: str, digest: bytes, scope: Scope
    ) -> asyncio.Task[Principal | None]:
        if time.monotonic() < self._silent_until:
            raise IdentityUnavailable
        suspect = None if digest in self._accepted else address_of(scope)
        if suspect is not None:
            # Before the answer, so that many at once are no more than one after another.
            left = self._failures.take(suspect)
            if not left.is_allowed:
                raise TooManyRequests("Too many invalid tokens were sent from this address.", left)
        asking = self._ask(token, digest, suspect)
        task = self._asking[digest] = asyncio.create_task(asking, name="introspection")
        task.add_done_callback(lambda done: self._forget_question(digest, done))
        return task

    def _forget_question(self, digest: bytes, task: asyncio.Task[Principal | None]) -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # whoever waited for it has had it, or is gone

    async def _ask(self, token: str, digest: bytes, suspect: str | None) -> Principal | None:
        asked_at = time.monotonic()
        is_invalid = False
        try:
            answer = await self._introspect(token)
            is_invalid = not answer.active
        except IntrospectionFailed as error:
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            raise IdentityUnavailable from error
        finally:
            if suspect is not None and not is_invalid:
                self._failures.give_back(suspect)
        known = _Known(answer.principal() if answer.active else None, asked_at)
        keep, drop = (
            (self._accepted, self._refused) if answer.active else (self._refused, self._accepted)
        )
        drop.pop(digest, None)
        keep[digest] = known
        keep.move_to_end(digest)
        if len(keep) > REMEMBERED:
            keep.popitem(last=False)
        return known.still_valid()

    async def _introspect(self, token: str) -> _Answer:
        try:
            # All of it together; httpx counts each step for itself.
            async with asyncio.timeout(ASK_SECONDS):
                answer = await self._client.post(self._url, data={"token": token})
        except TimeoutError:
            raise self._failed(f"no answer within {ASK_SECONDS:g} s") from None
        except httpx.HTTPError as error:
            raise self._failed(f"{type(error).__name__}: {error}") from None
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise self._failed(f"status {answer.status_code}; check TOKEN_INTROSPECTION_TOKEN")
        if answer.status_code != HTTPStatus.OK:
            raise self._failed(f"status {answer.status_code}")
        try:
            return _Answer.model_validate_json(answer.content)
        except ValidationError:
            raise self._failed("not what the CRM answers (RFC 7662)") from None

    def _failed(self, reason: str) -> IntrospectionFailed:
        return IntrospectionFailed(f"{self._url}: {reason}")
