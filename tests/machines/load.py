"""Clients that add customers in batches for as long as a test needs them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx

from tests.conftest import bearer
from tests.system.processes import until
from tests.system.stack import Stack

CLIENTS = 2
# Longer than anything that a test puts in the way.
PATIENCE = 120.0


class Load:
    """Adds customers as careful clients do, who ask again with the same Idempotency-Key."""

    def __init__(self, stack: Stack, customers: int, batch: int) -> None:
        self._stack = stack
        self._batch = batch
        self._numbers = iter(range(customers // batch))
        self.ended = False

    def run(self) -> None:
        try:
            with ThreadPoolExecutor(CLIENTS) as clients:
                for client in [clients.submit(self._client) for _ in range(CLIENTS)]:
                    client.result()
        finally:
            self.ended = True

    def wait_for_more(self, than: int, seconds: float = PATIENCE) -> None:
        """Wait until more customers are acknowledged, or all are."""
        until(lambda: self._stack.answered() > than or self.ended, "it goes on", seconds=seconds)

    def _client(self) -> None:
        with httpx.Client(timeout=20, trust_env=False) as client:
            for number in self._numbers:
                emails = [f"customer{number}-{n}@example.com" for n in range(self._batch)]
                self._stack.outcomes |= dict.fromkeys(emails, "unknown")
                until(lambda: self._is_added(client, number, emails), "added", seconds=PATIENCE)  # noqa: B023
                self._stack.outcomes |= dict.fromkeys(emails, "ok")

    def _is_added(self, client: httpx.Client, number: int, emails: list[str]) -> bool:
        with suppress(httpx.TransportError):
            answer = client.post(
                f"{self._stack.crm.url}/api/customers/batch",
                json=[{"name": "Jane Doe", "email": email} for email in emails],
                headers=bearer("agent123") | {"Idempotency-Key": f"batch-{number}"},
            )
            if answer.status_code in {409, 503}:
                return False
            assert [one["status"] for one in answer.json()] == [201] * len(emails), answer.text
            return True
        return False
