"""The poller that a first script is, for comparison: what it has handled it knows by heart.

    python naive_poller.py CRM_URL INVENTORY_URL

Each turn it asks the CRM for customers behind the last id that it has handled, and has one package
made for each. A failure ends the turn, and the next one goes on where it ended.
"""

import base64
import sys
import time
from contextlib import suppress

import httpx

TOKEN = {"Authorization": "Bearer integration123"}
PAUSE_SECONDS = 0.2


class NaivePoller:
    def __init__(self, http: httpx.Client, crm: str, inventory: str) -> None:
        self._http = http
        self._crm = crm
        self._inventory = inventory
        self._handled: set[int] = set()

    def turn(self) -> None:
        behind = base64.urlsafe_b64encode(f"id:{max(self._handled, default=0)}".encode()).decode()
        page = self._http.get(
            f"{self._crm}/api/customers",
            params={"limit": 500, "cursor": behind.rstrip("=")},
            headers=TOKEN,
        )
        for customer in page.raise_for_status().json():
            if customer["id"] not in self._handled:
                made = self._http.post(
                    f"{self._inventory}/package-requests",
                    json={"customer_id": customer["uid"]},
                    headers=TOKEN,
                )
                made.raise_for_status()
                self._handled.add(customer["id"])


def main() -> None:
    with httpx.Client(timeout=10, trust_env=False) as http:
        poller = NaivePoller(http, *sys.argv[1:])
        while True:
            with suppress(httpx.HTTPError, ValueError):
                poller.turn()
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
