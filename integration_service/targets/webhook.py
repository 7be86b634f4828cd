"""A webhook: each event to one URL, signed as of Standard Webhooks, as a CloudEvent in JSON."""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.trace import SpanKind

from integration_service.routes.definitions import WEBHOOK_CIRCUIT
from integration_service.targets.addresses import (
    AddressRefused,
    checked_url,
    host_header_of,
    resolve,
)
from integration_service.targets.circuit import Circuit
from integration_service.targets.excerpts import excerpt_of
from integration_service.targets.failures import (
    CallFailed,
    Misconfigured,
    Timeout,
    Transient,
    classify_receiver,
)
from integration_service.targets.http import repeat_after_blips
from integration_service.targets.posting import Posted, Poster
from integration_service.targets.signatures import PREFIX, key_of, sign
from integration_service.targets.target import Made
from service_kit import VERSION
from service_kit.process import tracing
from service_kit.process.logs import current_request_id, new_request_id
from service_kit.process.outgoing import ssl_context_for

SECONDS = 15.0
THRESHOLD = 5
PROBE_SECONDS = 5.0
LONGEST_PROBE_SECONDS = 60.0
# As many digits as the highest position has: then texts sort as the numbers do.
SEQUENCE_DIGITS = 19
SHORTEST_SECRET = 12
# Of deliveries; whoever changes it has every event sent again under another id.
_IDS = uuid.UUID("2f0c1f5e-0d0b-5b1c-9a43-6f0f8a3c7d11")


def webhook_id(route: str, event_id: str) -> str:
    """Name a delivery: the same at every try, another for each route that sends the event."""
    return str(uuid.uuid5(_IDS, f"{route}/{event_id}"))


@dataclass(frozen=True, slots=True)
class _Message:
    """What is sent at every try."""

    webhook_id: str
    body: bytes
    # Its own words, which an answer may repeat.
    data: Any
    request_id: str


class Webhook:
    """Sends events to the receiver of one route. Every failure leaves as a CallFailed."""

    def __init__(
        self,
        route: str,
        url: str,
        secrets: Sequence[str],
        *,
        allow_private: bool,
        ca_file: Path | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise ValueError for a URL or a secret that is none, in words that don't show it.

        `secrets` are the newest first; each signs.
        """
        if not secrets:
            raise ValueError("a webhook needs a secret")
        self._route = route
        self._url = checked_url(url, allow_private=allow_private)
        self._keys = [key_of(secret) for secret in secrets]
        self._hidden = [*_hidden_of(self._url), *(one.removeprefix(PREFIX) for one in secrets)]
        self._allow_private = allow_private
        self._seconds = SECONDS
        self._same_headers = {
            "Host": host_header_of(self._url),
            "User-Agent": f"crmsys/{VERSION}",
            "Accept": "*/*",
            # A small compressed answer can unfold to more than there is memory.
            "Accept-Encoding": "identity",
            "Content-Type": "application/cloudevents+json",
        }
        self._poster = Poster(self._url, ssl_context_for(str(self._url), ca_file))
        self.circuit = Circuit(
            target=f"{WEBHOOK_CIRCUIT}{route}",
            label=f"Webhook {route}",
            threshold=THRESHOLD,
            first_probe_seconds=PROBE_SECONDS,
            longest_probe_seconds=LONGEST_PROBE_SECONDS,
            monotonic=monotonic,
        )

    async def close(self) -> None:
        await self._poster.close()

    async def send(self, event: Mapping[str, Any], *, once: bool = False) -> Made:
        """Send one event of the feed, and repeat it at once a few times after a blip.

        `once` forbids the repeating. Raises CallFailed.
        """
        message = _Message(
            webhook_id(self._route, event["id"]),
            _body(event),
            event.get("data"),
            current_request_id() or new_request_id(),
        )
        parent = tracing.valid_traceparent(event.get("traceparent"))
        with tracing.span("send webhook", SpanKind.PRODUCER, [parent]):
            status = await repeat_after_blips(partial(self._try, message), once=once)
        return Made(status, message.webhook_id)

    async def _try(self, message: _Message) -> int:
        answer = await self._answer(message)
        if httpx.codes.is_success(answer.status):
            return answer.status
        excerpt = excerpt_of(answer.content, self._hidden, message.data)
        raise classify_receiver(answer.status, answer.headers, excerpt)

    async def _answer(self, message: _Message) -> Posted:
        """Look up, connect, send and read. Raises CallFailed where there is no answer in time."""
        try:
            # Over all of it: one byte a second would never end.
            async with asyncio.timeout(self._seconds):
                addresses = await resolve(self._url, allow_private=self._allow_private)
                return await self._traced(addresses, message)
        except TimeoutError:
            raise Timeout(f"no whole answer within {self._seconds:g} s") from None
        except AddressRefused as refused:
            raise Misconfigured(str(refused)) from None
        except socket.gaierror as error:
            raise _classify_lookup(error) from None

    async def _traced(self, addresses: Sequence[str], message: _Message) -> Posted:
        with tracing.span("POST", SpanKind.CLIENT, **{"http.request.method": "POST"}) as current:
            answer = await self._poster.post(addresses, self._headers(message), message.body)
            current.set_attribute("http.response.status_code", answer.status)
            return answer

    def _headers(self, message: _Message) -> dict[str, str]:
        timestamp = int(time.time())
        headers = {
            **self._same_headers,
            "X-Request-ID": message.request_id,
            "webhook-id": message.webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._keys, message.webhook_id, timestamp, message.body),
        }
        if (current := tracing.traceparent()) is not None:
            headers["traceparent"] = current
        return headers


def _body(event: Mapping[str, Any]) -> bytes:
    """Write the event as CloudEvents does, where a sequence is a text that sorts as it does."""
    given = dict(event)
    if "sequence" in given:
        given["sequence"] = str(given["sequence"]).zfill(SEQUENCE_DIGITS)
    return json.dumps(given, separators=(",", ":")).encode()


def _classify_lookup(error: socket.gaierror) -> CallFailed:
    said = f"its name has no address: {error.strerror}"
    return Transient(said) if error.errno == socket.EAI_AGAIN else Misconfigured(said)


def _hidden_of(url: httpx.URL) -> list[str]:
    """Return what may be secret in a URL: its path, parts of that, and its parameters."""
    parts = (url.raw_path.decode("ascii"), url.path, *url.path.split("/"), *url.params.values())
    return [part for part in parts if len(part) >= SHORTEST_SECRET]
