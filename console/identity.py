"""Who is signed in, as the services know the token."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus

from console.platform import Answer, Caller, Down, Refused, Unknown
from service_kit.web.roles import ROLES

# How long another service's answer is believed. The service that the token was checked with at
# sign-in is asked each time, so what is revoked there ends the session.
BELIEVED_SECONDS = 3.0
REMEMBERED = 1000
_PREFIXES = {"inventory": ("packages:", "stock:"), "integration": ("sync:",)}


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token it is. `scopes` are those of every service together."""

    name: str
    role: str
    scopes: frozenset[str]
    expires_at: datetime | None
    home: str

    def may(self, scope: str) -> bool:
        return scope in self.scopes


class Identities:
    """Asks the services whose token it is."""

    def __init__(self) -> None:
        self._scopes: OrderedDict[tuple[bytes, str], tuple[float, frozenset[str]]] = OrderedDict()

    async def find_home(self, callers: Mapping[str, Caller]) -> Identity | None:
        """Find a service that knows a token.

        Raises Down where none does and one may, and Refused where one was asked too often.
        """
        down = None
        for key, caller in callers.items():
            try:
                return _identity(key, await caller.get("/me"))
            except Unknown:
                continue
            except Refused as error:
                if error.status == HTTPStatus.TOO_MANY_REQUESTS:
                    raise
            except Down as error:
                down = down or error
        if down is not None:
            raise down
        return None

    async def identify(self, session: bytes, home: str, callers: Mapping[str, Caller]) -> Identity:
        """Ask the token's home who it is, and the others what it may do there.

        While the home is down, another one that knows the token says who it is: what works goes on
        working. Raises Unknown for a token that its home does not know any more, and Down.
        """
        if home not in callers:
            raise Unknown(home)
        others = [key for key in callers if key != home]
        try:
            found = _identity(home, await callers[home].get("/me"))
        except Down:
            elsewhere = await _identify_elsewhere(home, [callers[key] for key in others])
            if elsewhere is None:
                raise
            found = elsewhere
        more = await asyncio.gather(
            *(self._scopes_at(key, session, callers[key], found.role) for key in others)
        )
        scopes = found.scopes.union(*more)
        return Identity(found.name, found.role, scopes, found.expires_at, home)

    async def _scopes_at(
        self, key: str, session: bytes, caller: Caller, role: str
    ) -> frozenset[str]:
        known = self._scopes.get((session, key))
        if known is not None and time.monotonic() - known[0] < BELIEVED_SECONDS:
            return known[1]
        try:
            scopes = frozenset((await caller.get("/me")).json["scopes"])
        except Down:
            return _scopes_of_role(key, role)
        except (Refused, Unknown):
            scopes = frozenset()
        self._scopes[session, key] = (time.monotonic(), scopes)
        if len(self._scopes) > REMEMBERED:
            self._scopes.popitem(last=False)
        return scopes


def _scopes_of_role(key: str, role: str) -> frozenset[str]:
    """Return what a role may do at a service that is down: its places stay in the menu.

    The pages say that it is down.
    """
    return frozenset(scope for scope in ROLES.get(role, ()) if _service_of(scope) == key)


def _service_of(scope: str) -> str:
    return next((key for key, prefixes in _PREFIXES.items() if scope.startswith(prefixes)), "crm")


async def _identify_elsewhere(home: str, others: Sequence[Caller]) -> Identity | None:
    """Ask other services than the home, which is down, who it is; None where none knows."""
    for caller in others:
        try:
            found = _identity(home, await caller.get("/me"))
        except (Refused, Unknown, Down):
            continue
        return replace(found, scopes=_scopes_of_role(home, found.role))
    return None


def _identity(home: str, answer: Answer) -> Identity:
    me = answer.json
    end = me["expires_at"]
    return Identity(
        me["name"],
        me["role"],
        frozenset(me["scopes"]),
        None if end is None else datetime.fromisoformat(end),
        home,
    )
