"""One request of a browser: who sends it, the services on their behalf, and the answer."""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.attention import Needs
from console.forms import Form, read_form
from console.identity import Identity
from console.menu import PLACES, Place
from console.platform import Answer, Caller, Down, Refused, Sent, Unknown
from console.rendering import command
from console.sessions import Session
from console.site import Site
from service_kit.process.logs import current_request_id

Outcome: TypeAlias = Answer | Refused | Down
# Where the feed ends, and the scope that it takes to ask.
FEED_HEAD = "/api/events/head"
NEEDS_FEED_HEAD = "customers:read"


@dataclass
class Visit:
    """A request by somebody who is signed in."""

    site: Site
    request: Request
    session: Session
    who: Identity
    callers: Mapping[str, Caller]
    sent: list[Sent]
    # What the menu says of each place.
    needs: Needs = field(default_factory=dict)
    # Behind which the page is told of news; None where it is told of none.
    cursor: str | None = None

    @property
    def crm(self) -> Caller:
        return self.callers["crm"]

    @property
    def inventory(self) -> Caller:
        """Inventory; only where `has("inventory")`."""
        return self.callers["inventory"]

    @property
    def integration(self) -> Caller:
        """The integration; only where `has("integration")`."""
        return self.callers["integration"]

    def has(self, service: str) -> bool:
        """Tell whether the console has this service's address."""
        return service in self.callers

    def may(self, scope: str) -> bool:
        """Tell whether the token may do something: then it is shown."""
        return self.who.may(scope)

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    def path(self, name: str) -> str:
        """Return a part of the path, as the route names it."""
        return str(self.request.path_params[name])

    async def form(self) -> Form:
        return await read_form(self.request)

    async def together(self, **calls: Awaitable[Answer] | None) -> dict[str, Any]:
        """Ask for several things at once, each of which may fail without the others.

        Returns an Outcome for each; None for a call that is None, which is not made. Raises
        Unknown when the token's home does not know it any more.
        """
        made = {name: call for name, call in calls.items() if call is not None}
        outcomes = await asyncio.gather(*(self._outcome(call) for call in made.values()))
        return {**dict.fromkeys(calls), **dict(zip(made, outcomes, strict=True))}

    async def _outcome(self, call: Awaitable[Answer]) -> Outcome:
        try:
            return await call
        except (Refused, Down) as error:
            return error
        except Unknown as error:
            if error.args == (self.who.home,):
                raise
            return Refused(401, {"detail": "This service does not know your token."})

    async def follow(self) -> None:
        """Note where the feed ends, for a page that shows news by itself.

        Before the page reads anything: what happens after that is news.
        """
        if self.may(NEEDS_FEED_HEAD):
            found = await self.together(head=self.crm.get(FEED_HEAD))
            if isinstance(head := found["head"], Answer):
                self.cursor = head.json["cursor"]

    def places(self) -> list[Place]:
        """List the menu's lines that this token is shown."""
        return [place for place in PLACES if self.has(place.service) and self.may(place.needs)]

    def render(self, template: str, status_code: int = 200, **values: Any) -> Response:
        """Answer with a page."""
        return self.site.render(
            self.request,
            template,
            status_code,
            visit=self,
            who=self.who,
            places=self.places(),
            cursor=self.cursor,
            commands=self._commands(values.pop("also", [])),
            **values,
        )

    def go(self, path: str, done: str | None = None, **query: str) -> Response:
        """Send the browser on after a change. `done` is a key of `DONE`, which the page says."""
        given = {**query, **({"done": done} if done else {})}
        target = f"{path}?{urlencode(given)}" if given else path
        return RedirectResponse(self.request.scope["root_path"] + target, 303)

    def _commands(self, also: list[Sent]) -> list[str]:
        addresses = self.site.addresses(self.request)
        shown = [sent for sent in (*self.sent, *also) if sent.address != "/me"]
        return [command(sent, addresses) for sent in dict.fromkeys(shown)]


def change(method: str, service: str, path: str, body: Any = None) -> Sent:
    """Describe a change that a page's form makes, for its commands."""
    return Sent(method, service, path, None if body is None else json.dumps(body))


def callers_of(site: Site, request: Request, token: str) -> dict[str, Caller]:
    """Give the services as this token calls them, on behalf of this request."""
    request_id = {"X-Request-ID": current_request_id()} if current_request_id() else {}
    # The name that the CRM answers to where it is the same app: ALLOWED_HOSTS holds there too.
    of_crm = {**request_id, "Host": request.headers.get("host", "localhost")}
    client = (request.client.host, request.client.port) if request.client else ("unknown", 0)
    sent: list[Sent] = []
    return {
        key: Caller(
            service,
            token,
            of_crm if service.is_inside else request_id,
            client,
            sent,
        )
        for key, service in site.platform.services.items()
    }
