"""What needs a person, counted for the menu: from lists and counts whose cost does not grow."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from console.identity import Identity
from console.platform import Answer, Caller, Down, Refused, Unknown

# How long a count is shown; a page that shows news by itself asks sooner.
SECONDS = 10.0
SECONDS_OF_NEWS = 1.0
# No page waits longer for its menu: a service that hangs is none of its business.
PATIENCE_SECONDS = 0.25
# Of a list that is counted; more of them are "100+".
_MOST = 101
REMEMBERED = 1000


class Need(NamedTuple):
    """So many of something that somebody should see to."""

    number: str
    what: str
    tint: str

    @property
    def text(self) -> str:
        return f"{self.number} {self.what}"


# By the paths of the menu.
Needs = Mapping[str, Need]


async def _tickets(crm: Caller) -> Need | None:
    found = (await crm.get("/api/stats/tickets")).json
    if late := found["overdue"]:
        return Need(str(late), "overdue", "bad")
    return Need(str(new), "new", "wait") if (new := found["unassigned"]) else None


async def _dead(integration: Caller) -> Need | None:
    return _of_list(await integration.get("/deliveries", state="dead", limit=_MOST), "dead", "bad")


async def _to_pack(inventory: Caller) -> Need | None:
    found = await inventory.get("/package-requests", status="pending", limit=_MOST)
    return _of_list(found, "to pack", "busy")


def _of_list(found: Answer, what: str, tint: str) -> Need | None:
    number = len(found.json)
    if not number:
        return None
    return Need(f"{_MOST - 1}+" if number == _MOST else str(number), what, tint)


async def _asked(
    path: str, caller: Caller, count: Callable[[Caller], Awaitable[Need | None]]
) -> tuple[str, Need | None]:
    """Count one thing; None as well where nobody says in time how many there are."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return path, await count(caller)
    except (TimeoutError, Refused, Down, Unknown):
        return path, None


# By the menu's paths: the service that is asked, what that takes, and how it is asked.
_COUNTS: Mapping[str, tuple[str, str, Callable[[Caller], Awaitable[Need | None]]]] = {
    "/tickets": ("crm", "tickets:read", _tickets),
    "/deliveries": ("integration", "sync:read", _dead),
    "/packing": ("inventory", "packages:write", _to_pack),
}


class Attention:
    """Asks what needs a person, and remembers it for each session."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[float, Needs]] = OrderedDict()

    async def look(
        self, session: bytes, who: Identity, callers: Mapping[str, Caller], *, is_news: bool
    ) -> Needs:
        """Return what needs a person, as far as services say so in time."""
        at, known = self._known.get(session, (0.0, {}))
        if time.monotonic() - at < (SECONDS_OF_NEWS if is_news else SECONDS):
            return known
        asked = [
            _asked(path, callers[service], count)
            for path, (service, scope, count) in _COUNTS.items()
            if service in callers and who.may(scope)
        ]
        found = {path: need for path, need in await asyncio.gather(*asked) if need is not None}
        self._known[session] = time.monotonic(), found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    def forget(self, session: bytes) -> None:
        """Ask anew at the next page: something was changed."""
        self._known.pop(session, None)
