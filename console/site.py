"""What all requests of one console share."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from console import security
from console.attention import Attention
from console.config import Config
from console.identity import Identities
from console.oidc import OpenIdSignIn
from console.platform import Platform
from console.rendering import make_environment
from console.sessions import Links, SessionStore
from console.streams import Streams
from service_kit.process.logs import current_request_id

# What a page says after a change.
DONE = {
    "saved": "Saved.",
    "registered": "The customer is registered.",
    "erased": "The customer is erased.",
    "opened": "The ticket is open.",
    "sent": "Sent.",
    "sent-pending": "Sent. The ticket is pending.",
    "sent-resolved": "Sent. The ticket is resolved.",
    "taken": "The ticket is yours.",
    "retried": "It is sent again.",
    "retried-many": "Sent again: {number}.",
    "dismissed": "Dismissed: nothing more is sent.",
    "paused": "Deliveries are paused. The feed is still read; nothing is lost.",
    "resumed": "Deliveries go on.",
    "polled": "The integration looks at the feed now.",
    "comparing": "Both sides are being compared.",
    "received": "Received: it is in the ledger.",
    "counted": "The count is in the ledger.",
    "agrees": "The count agrees: there was nothing to record.",
    "added": "The item is there.",
    "revoked": "The token is revoked: every service refuses it within five seconds.",
    "signed-out": "You are signed out.",
    "signed-out-everywhere": "All your sessions are ended.",
}
_DIGITS = 10


class Site:
    """Services, sessions and templates."""

    def __init__(
        self,
        config: Config,
        platform: Platform,
        sessions: SessionStore,
        links: Links,
        streams: Streams,
    ) -> None:
        self.config = config
        self.platform = platform
        self.sessions = sessions
        self.links = links
        self.streams = streams
        self.oidc = OpenIdSignIn(config.oidc, config.ca_file) if config.oidc else None
        self.attempts = security.Attempts()
        self.identities = Identities()
        self.attention = Attention()
        self._templates = make_environment()

    async def close(self) -> None:
        await self.platform.close()
        if self.oidc is not None:
            await self.oidc.close()

    def render(
        self, request: Request, template: str, status_code: int = 200, **values: Any
    ) -> Response:
        """Answer with a page of a template."""
        shared = {
            "root": request.scope["root_path"],
            "config": self.config,
            "done": _done(request.query_params),
            "here": request.scope["path"].removeprefix(request.scope["root_path"]) or "/",
            "request_id": current_request_id(),
            "who": None,
            "cursor": None,
            "commands": [],
        }
        text = self._templates.get_template(template).render({**shared, **values})
        return HTMLResponse(text, status_code)

    def addresses(self, request: Request) -> Mapping[str, str]:
        """Return where each service is for somebody with curl."""
        own = self.config.public_url or f"{request.url.scheme}://{request.headers.get('host')}"
        return {key: one.url or own for key, one in self.platform.services.items()}


def _done(query: Mapping[str, str]) -> str | None:
    """Say what has been done. The address names it, and has a number at most: no other text."""
    number = query.get("number", "")
    is_number = number.isascii() and number.isdecimal() and len(number) < _DIGITS
    text = DONE.get(query.get("done", ""))
    return text and text.replace("{number}", number if is_number else "some")
