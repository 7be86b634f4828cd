"""Whoever listens to the webhooks: takes each event that is signed, and remembers their order."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import standardwebhooks

from tests.chaos.faulty_link import length_of

ORDERED, NEWS = "everything", "newcomers"
SECRET_NAME = "CAMPAIGN_SECRET"
SECRET = "whsec_" + "b25seS1mb3ItdGhlLWNhbXBhaWduLW9mLWNoYW9z"
_ROUTES = f"""
[[route]]
name = "welcome-package"
on = ["customer.created"]
unless = {{ "data.welcome" = false }}
target = "inventory"
send = {{ package_type = "welcome_package" }}
undo_on = ["customer.erased"]

[[route]]
name = "{NEWS}"
on = ["customer.created"]
target = "webhook"
url = "URL/{NEWS}"
secret = "{SECRET_NAME}"
order = "none"

[[route]]
name = "{ORDERED}"
on = ["customer.*", "ticket.*"]
target = "webhook"
url = "URL/{ORDERED}"
secret = "{SECRET_NAME}"
order = "subject"
"""
_ACCEPTED = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
_REFUSED = b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a request is signed with this secret. Its time is not looked at: clocks are wrong."""
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    wanted = standardwebhooks.Webhook(secret).sign(headers["webhook-id"], at, body.decode())
    return wanted in headers["webhook-signature"].split()


def write_routes(folder: Path, url: str) -> dict[str, str]:
    """Write the file of the campaign's three routes. Returns the environment that goes with it."""
    path = folder / "routes.toml"
    path.write_text(_ROUTES.replace("URL", url))
    return {
        "ROUTES_FILE": str(path),
        "WEBHOOK_ALLOW_PRIVATE": "true",
        SECRET_NAME: SECRET,
    }


@dataclass(frozen=True)
class Accepted:
    """An event that was answered 204, as it came."""

    route: str
    webhook_id: str
    event_id: str
    subject: str


class Receiver:
    """An HTTP server with nothing wrong in it: the link before it is what fails."""

    def __init__(self) -> None:
        self.accepted: list[Accepted] = []
        # The ids of those whose signature is not that of their body.
        self.forged: list[str] = []
        self._listening: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._listening is not None
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def open(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, EOFError):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(length_of(head))
                writer.write(_ACCEPTED if self._accept(head, body) else _REFUSED)
                await writer.drain()
        finally:
            writer.close()

    def _accept(self, head: bytes, body: bytes) -> bool:
        first, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        if not is_signed(SECRET, headers, body):
            self.forged.append(headers["webhook-id"])
            return False
        event = json.loads(body)
        self.accepted.append(
            Accepted(
                route=first.split()[1].removeprefix("/"),
                webhook_id=headers["webhook-id"],
                event_id=event["id"],
                subject=event["subject"],
            )
        )
        return True
