"""Signing in with an OpenID provider: the authorization code flow with PKCE (RFC 7636).

What comes of it is the provider's access token, which the services verify as they verify any. The
ID token is read for its nonce alone: it comes from the provider itself, over the same connection.
"""

import base64
import binascii
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import httpx
import jwt
from pydantic import BaseModel, ValidationError

from console.config import OidcClient
from service_kit.process.outgoing import client_for

M = TypeVar("M", bound=BaseModel)

SECONDS = 5.0
# How long somebody may take to sign in at the provider.
ATTEMPT_SECONDS = 600
# How long what the provider says of itself is used.
REFRESH_SECONDS = 300.0
LEEWAY_SECONDS = 30


class SignInFailed(Exception):
    """Why nobody is signed in, for whom it happened to."""


class Attempt(NamedTuple):
    """What a browser keeps while its owner is at the provider."""

    state: str
    nonce: str
    verifier: str
    after: str

    def as_cookie(self) -> str:
        return base64.urlsafe_b64encode(json.dumps(self).encode()).decode()


class _Discovery(BaseModel):
    """OpenID Connect Discovery 1.0, section 3: what is needed of it."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str


class _Tokens(BaseModel):
    """What the provider answers to a code."""

    access_token: str
    id_token: str


def attempt_of(cookie: str | None) -> Attempt | None:
    """Read what `as_cookie` has written; None for anything else."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(cookie or ""))
    except (ValueError, binascii.Error):
        return None
    is_one = isinstance(parts, list) and len(parts) == len(Attempt._fields)
    return Attempt(*map(str, parts)) if is_one else None


class OpenIdSignIn:
    """One provider, at which this console is a client."""

    def __init__(self, client: OidcClient, ca_file: Path | None) -> None:
        self._client = client
        self._http = client_for(client.issuer, ca_file, SECONDS)
        self._found: tuple[float, _Discovery] | None = None

    async def close(self) -> None:
        await self._http.aclose()

    async def begin(self, after: str) -> tuple[str, Attempt]:
        """Return where to send the browser, and what it keeps meanwhile. Raises SignInFailed."""
        provider = await self._discover()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = Attempt(state, nonce, verifier, after)
        challenge = hashlib.sha256(attempt.verifier.encode()).digest()
        query = {
            "client_id": self._client.client_id,
            "response_type": "code",
            "redirect_uri": self._client.redirect_uri,
            "scope": self._client.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in provider.authorization_endpoint else "?"
        return f"{provider.authorization_endpoint}{separator}{urlencode(query)}", attempt

    async def finish(self, attempt: Attempt | None, query: Mapping[str, str]) -> str:
        """Return the access token for what the provider sent back. Raises SignInFailed."""
        given = query.get("state", "")
        if attempt is None or not secrets.compare_digest(given.encode(), attempt.state.encode()):
            raise SignInFailed("This sign-in was begun in another browser, or too long ago.")
        if query.get("iss", self._client.issuer) != self._client.issuer:
            raise SignInFailed("The answer is not from the provider that was asked.")  # RFC 9207
        if not (code := query.get("code")):
            raise SignInFailed("The provider did not sign you in.")
        tokens = await self._exchange(code, attempt.verifier)
        self._check(tokens.id_token, attempt.nonce)
        return tokens.access_token

    async def _exchange(self, code: str, verifier: str) -> _Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.redirect_uri,
            "code_verifier": verifier,
        }
        client_id, secret = self._client.client_id, self._client.client_secret
        endpoint = (await self._discover()).token_endpoint
        if secret is None:
            return await self._ask(_Tokens, "POST", endpoint, data={**form, "client_id": client_id})
        # RFC 6749, section 2.3.1: both are encoded before they become one header.
        auth = quote(client_id, safe=""), quote(secret, safe="")
        return await self._ask(_Tokens, "POST", endpoint, data=form, auth=auth)

    def _check(self, id_token: str, nonce: str) -> None:
        """Raise SignInFailed unless the ID token is for this client and this attempt."""
        try:
            claims = jwt.decode(id_token, options={"verify_signature": False})
            audience = claims.get("aud")
            named = audience if isinstance(audience, list) else [audience]
            is_ours = (
                claims.get("iss") == self._client.issuer
                and self._client.client_id in named
                and claims.get("azp", self._client.client_id) == self._client.client_id
                and float(claims.get("exp", 0)) > time.time() - LEEWAY_SECONDS
                and secrets.compare_digest(str(claims.get("nonce")).encode(), nonce.encode())
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            is_ours = False
        if not is_ours:
            raise SignInFailed("The provider's answer is not for this sign-in.")

    async def _discover(self) -> _Discovery:
        """Return what the provider says of itself, which is asked for every few minutes."""
        if self._found is not None and time.monotonic() - self._found[0] < REFRESH_SECONDS:
            return self._found[1]
        address = f"{self._client.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._ask(_Discovery, "GET", address)
        if found.issuer != self._client.issuer:
            raise SignInFailed("The provider calls itself by another name than OIDC_ISSUER.")
        self._found = (time.monotonic(), found)
        return found

    async def _ask(self, kind: type[M], method: str, address: str, **sent: Any) -> M:
        try:
            answer = await self._http.request(method, address, **sent)
            answer.raise_for_status()
            return kind.model_validate_json(answer.content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SignInFailed("The provider does not answer as it should.") from error
        except ValidationError as error:
            raise SignInFailed("The provider's answer lacks something.") from error
