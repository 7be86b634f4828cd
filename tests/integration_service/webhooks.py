"""A file of routes to a webhook's receiver, and that receiver as the integration sees it."""

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.integration_service.doubles import created

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoaXMtdGVzdC1vZi13ZWJob29rcw=="
SHOP = "http://127.0.0.1:9/hooks/shop"
DESK = "http://127.0.0.1:9/hooks/desk"

WELCOME = """
[[route]]
name = "welcome-package"
on = ["customer.created"]
unless = { "data.welcome" = false }
target = "inventory"
send = { package_type = "welcome_package" }
"""


def webhook(
    name: str = "shop", *, on: str = '["customer.*", "ticket.*"]', url: str = SHOP, **more: str
) -> str:
    """Write a route to a webhook, with further keys as TOML."""
    keys = {"name": f'"{name}"', "on": on, "target": '"webhook"', "url": f'"{url}"'}
    keys |= {"secret": '"SHOP_SECRET"'} | more
    return "[[route]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def of_routes(folder: Path, *routes: str) -> dict[str, Any]:
    """Write a file of routes. Returns the settings that name it."""
    path = folder / "routes.toml"
    path.write_text("\n".join(routes))
    return {"routes_file": path, "webhook_allow_private": True}


def ticket(subject: str, sequence: int, **data: Any) -> dict[str, Any]:
    """Make an event about a ticket."""
    event = created(subject, sequence=sequence)
    return {**event, "type": "ticket.updated", "data": {"subject": "Parcel", **data}}


class ReceiverDouble:
    """Answers 204, and remembers by `webhook-id` what it has accepted."""

    def __init__(self) -> None:
        # Every request, accepted or not; and the events that were accepted, in their order.
        self.requests: list[httpx.Request] = []
        self.accepted: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.faults: deque[httpx.Response | Exception] = deque()
        self.fault: Callable[[dict[str, Any]], httpx.Response | None] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        event = json.loads(request.content)
        answer = self.faults.popleft() if self.faults else self.fault and self.fault(event)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None and not answer.is_success:
            return answer
        self.accepted.append(event)
        self.ids.append(request.headers["webhook-id"])
        return answer or httpx.Response(204)

    @property
    def sequences(self) -> list[int]:
        return [int(event["sequence"]) for event in self.accepted]

    def check(self) -> None:
        assert not self.faults, "an answer was never given"
