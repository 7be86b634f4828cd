"""Posts to a webhook's receiver, by aiohttp: that takes a fifth of httpx's processor time."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import aiohttp
import httpx
from yarl import URL

from integration_service.targets.addresses import host_of
from integration_service.targets.failures import CallFailed, Timeout, Transient, classify_cause
from integration_service.targets.http import CONNECT_SECONDS

LARGEST_ANSWER = 64 * 1024
LONGEST_HEADER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Posted:
    """What a receiver answered: of a long answer the beginning."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Poster:
    """Posts to one URL, at addresses that the caller has chosen. Keeps its connections."""

    def __init__(self, url: httpx.URL, context: ssl.SSLContext) -> None:
        self._at = lru_cache(partial(_with_address, url))
        self._name = host_of(url)
        self._context = context
        # Made when a loop runs, which it needs.
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(
        self, addresses: Sequence[str], headers: Mapping[str, str], body: bytes
    ) -> Posted:
        """Post to the first of the addresses that can be connected to.

        Nothing is followed, repeated or decompressed. Raises CallFailed, in words that don't show
        the URL. There is no limit to how long it takes but for making a connection.
        """
        error: aiohttp.ClientError | None = None
        for address in addresses:
            try:
                return await self._post(address, headers, body)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as failed:
                error = failed  # nothing was sent
            except aiohttp.ClientError as failed:
                raise _classify(failed) from failed
        assert error is not None
        raise _classify(error) from error

    async def _post(self, address: str, headers: Mapping[str, str], body: bytes) -> Posted:
        if self._session is None:
            self._session = self._open()
        async with self._session.post(
            self._at(address),
            data=body,
            headers=headers,
            allow_redirects=False,
            server_hostname=self._name,
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) >= LARGEST_ANSWER:
                    break
            return Posted(response.status, response.headers, bytes(content[:LARGEST_ANSWER]))

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS),
            auto_decompress=False,
            max_line_size=LONGEST_HEADER,
            max_field_size=LONGEST_HEADER,
        )


def _with_address(url: httpx.URL, address: str) -> URL:
    """Write a URL with an address in place of the name, which could lead elsewhere by now."""
    url = url.copy_with(host=address)
    return URL(f"{url.scheme}://{url.netloc.decode()}{url.raw_path.decode()}", encoded=True)


def _classify(error: aiohttp.ClientError) -> CallFailed:
    """Say what a failed exchange means. The library's own words may show the URL."""
    if isinstance(error, aiohttp.ClientConnectorError):
        # Not of itself, which calls itself an error of TLS and lacks what such errors have.
        return classify_cause(error.__cause__) or Transient(f"no connection: {error.os_error}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Timeout(f"no connection within {CONNECT_SECONDS:g} s")
    is_hung_up = isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)
    return Transient("it hung up in the middle" if is_hung_up else "its answer is not HTTP")
