"""A poster of webhooks by httpx, for tests whose network is a double of httpx's."""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from integration_service.targets.failures import classify_exception
from integration_service.targets.posting import Posted

# Whose making takes a fraction of the usual one's.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class HttpxPoster:
    """What webhooks have in place of `Poster`, whose own cases are in targets/test_webhook.py."""

    def __init__(
        self, url: httpx.URL, context: Any, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url
        self._transport = transport or httpx.AsyncHTTPTransport(verify=NO_TLS)

    async def close(self) -> None:
        await self._transport.aclose()

    async def post(
        self, addresses: Sequence[str], headers: Mapping[str, str], body: bytes
    ) -> Posted:
        url = self._url.copy_with(host=addresses[0])
        request = httpx.Request("POST", url, headers=headers, content=body)
        try:
            response = await self._transport.handle_async_request(request)
            return Posted(response.status_code, response.headers, await response.aread())
        except httpx.HTTPError as error:
            raise classify_exception(error) from error
