"""An operator who looks after the webhooks' routes, where the CRM was put back to an older copy."""

import time
from contextlib import suppress

import httpx

from tests.chaos.judge import AWAY
from tests.conftest import bearer
from tests.system.stack import Server, Stack

BETWEEN_LOOKS = 1.0


class Operator:
    """Accepts each gap, and settles what is dead because its event is no longer in the feed."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._look_at = 0.0

    def tend(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + BETWEEN_LOOKS
        with suppress(*AWAY, httpx.TransportError):
            self._accept_gaps()
            self._settle_the_dead()

    def _accept_gaps(self) -> None:
        gaps = "SELECT name FROM routes WHERE feed_state = 'gap'"
        for (name,) in self._stack.integration.rows(gaps):
            self._tell(f"/routes/{name}/resume?accept_gap=true&from=oldest", None)

    def _settle_the_dead(self) -> None:
        """Retry what the feed has, which helps where it stands where it stood; dismiss the rest."""
        dead = (
            "SELECT route, subject FROM deliveries"
            " WHERE state = 'dead' AND event_type IS NOT NULL LIMIT 50"
        )
        for route, event_id in self._stack.integration.rows(dead):
            is_there = self._stack.crm.rows(
                f"SELECT 1 FROM events WHERE event_id = '{event_id}'"  # noqa: S608
            )
            path = f"/routes/{route}/deliveries/{event_id}"
            if is_there:
                self._tell(f"{path}/retry", None)
            else:
                self._tell(f"{path}/dismiss", {"reason": "The CRM has lost this event."})

    def _tell(self, path: str, body: object) -> None:
        """Tell the first integration that runs."""
        for server in self._integrations():
            with suppress(httpx.TransportError):
                told = self._stack.client.post(
                    f"{server.url}{path}", json=body, headers=bearer("admin123")
                )
                if told.is_success:
                    return

    def _integrations(self) -> list[Server]:
        own = self._stack.integration.service
        return [server for server in self._stack.servers if server.service == own]
