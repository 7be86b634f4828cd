"""The keys of an OpenID provider: found by its discovery document, and looked for again."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
from pydantic import BaseModel, ValidationError

from service_kit.process.outgoing import client_for
from service_kit.web.auth import IdentityUnavailable

# The keys are fetched again when they are this old; while that fails, they are used on.
REFRESH_SECONDS = 300.0
# For how long a provider may be away and its keys stay good.
KEPT_SECONDS = 86_400.0
# After a look for an unknown key, or one that failed, the next one waits this long.
PAUSE_SECONDS = 5.0
FETCH_SECONDS = 3.0
MOST_KEYS = 100
# RFC 7518, section 3.3.
SHORTEST_RSA_BITS = 2048

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
# Which algorithms a key may be used with (RFC 8725, section 3.1): by its type, and its curve.
_ALGORITHMS = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
_TEXTS = ("kid", "kty", "crv", "alg", "use", "n")


class ProviderFailed(Exception):
    """Why the provider's keys can't be fetched; the log says it."""


class _Discovery(BaseModel):
    """OpenID Connect Discovery 1.0, section 3: what is needed of it."""

    issuer: str
    jwks_uri: str


class _KeySet(BaseModel):
    """A JWK Set (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


class ProviderKeys:
    """One provider's public keys by their ids; fetched once for all who wait for them."""

    def __init__(self, issuer: str, ca_file: Path | None = None) -> None:
        self._issuer = issuer
        self._keys: dict[str, Mapping[str, Any]] = {}
        self._loaded: dict[tuple[str, str], jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._paused_until = 0.0
        self._failure: ProviderFailed | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._client = client_for(issuer, ca_file, FETCH_SECONDS)

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._client.aclose()

    async def find(self, key_id: Any, algorithm: str) -> jwt.PyJWK | None:
        """Find a key by its id, or the only one; None unless it is for this algorithm.

        Raises IdentityUnavailable for an unknown key while the provider can't be asked.
        """
        age = self._age()
        if age is None or age > KEPT_SECONDS or not self._knows(key_id):
            await self._fetch_unless_paused()
        elif age > REFRESH_SECONDS and time.monotonic() >= self._paused_until:
            self._start()  # nobody waits for it
        if key_id is None and len(self._keys) == 1:
            key_id = next(iter(self._keys))
        if not self._knows(key_id) or algorithm not in _algorithms(self._keys[key_id]):
            return None
        if (loaded := self._loaded.get((key_id, algorithm))) is None:
            loaded = self._loaded[key_id, algorithm] = jwt.PyJWK(
                dict(self._keys[key_id]), algorithm
            )
        return loaded

    def _age(self) -> float | None:
        return None if self._fetched_at is None else time.monotonic() - self._fetched_at

    def _knows(self, key_id: Any) -> bool:
        return isinstance(key_id, str) and key_id in self._keys

    async def _fetch_unless_paused(self) -> None:
        """Look for keys again. Raises IdentityUnavailable where the last look failed."""
        if self._fetching is not None or time.monotonic() >= self._paused_until:
            # Who waits may be gone before the others that wait for the same.
            await asyncio.shield(self._start())
        if self._failure is not None:
            raise IdentityUnavailable from self._failure

    def _start(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="jwks")
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(2 * FETCH_SECONDS):
                keys = await self._fetched()
        except TimeoutError:
            self._failure = ProviderFailed(f"{self._issuer}: no answer in time")
        except ProviderFailed as error:
            self._failure = error
        else:
            self._failure = None
            self._keys, self._loaded = keys, {}
            self._fetched_at = time.monotonic()
        finally:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            self._fetching = None

    async def _fetched(self) -> dict[str, Mapping[str, Any]]:
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._get(place, _Discovery)
        if found.issuer != self._issuer:
            raise ProviderFailed(f"{place} is of another issuer; OIDC_ISSUER must be the same text")
        if self._issuer.startswith("https:") and not found.jwks_uri.startswith("https:"):
            raise ProviderFailed(f"{place} names keys without https")
        keys = (await self._get(found.jwks_uri, _KeySet)).keys[:MOST_KEYS]
        return {key["kid"]: key for key in keys if _is_usable(key)}

    async def _get(self, address: str, model: type[Any]) -> Any:
        try:
            answer = await self._client.get(address)
            answer.raise_for_status()
            return model.model_validate_json(answer.content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderFailed(f"{address}: {type(error).__name__}: {error}") from None
        except ValidationError:
            raise ProviderFailed(
                f"{address}: this is not what an OpenID provider answers"
            ) from None


def _algorithms(key: Mapping[str, Any]) -> frozenset[str]:
    of_type = _ALGORITHMS.get((key.get("kty", ""), key.get("crv")), frozenset())
    return of_type & {key["alg"]} if "alg" in key else of_type


def _is_usable(key: Mapping[str, Any]) -> bool:
    """Return whether it is a public key for signatures, of an accepted kind and length."""
    operations = key.get("key_ops", ["verify"])
    return (
        all(isinstance(key.get(name, ""), str) for name in _TEXTS)
        and "kid" in key
        and key.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and bool(_algorithms(key))
        and (key["kty"] != "RSA" or len(key.get("n", "")) * 6 >= SHORTEST_RSA_BITS)
    )
