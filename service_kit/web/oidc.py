"""Access tokens of an OpenID provider: JWTs as of RFC 9068, verified as RFC 8725 asks for.

The library verifies signatures and times. What it can't know stands here: which keys are the
provider's, which algorithms a key is for, and which of its tokens are access tokens for us.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from starlette.types import Scope

from service_kit.process import clock
from service_kit.process.environment import Refused
from service_kit.process.oidc_settings import OidcSettings
from service_kit.web.auth import Principal
from service_kit.web.jwks import ProviderKeys
from service_kit.web.roles import NO_ROLE, RESERVED_NAMES, ROLES

# How far the provider's clock may be from ours.
LEEWAY_SECONDS = 30
_REQUIRED = ["exp", "iss", "aud", "sub"]
_TYPES = {"at+jwt", "application/at+jwt", "jwt"}
# What only ID tokens have: they say who signed in to a client, and are no key to an API.
_OF_ID_TOKENS = ("at_hash", "c_hash", "s_hash")
# The client that a token was made for, in the words of several providers.
_CLIENT = ("client_id", "azp", "appid", "cid")
_LONGEST_NAME = 100
_LONGEST_SUBJECT = 150

logger = logging.getLogger(__name__)


class OpenIdProvider:
    """Finds the owner of an access token that one provider has issued for this platform."""

    def __init__(self, settings: OidcSettings, ca_file: Path | None = None) -> None:
        assert settings.oidc_issuer is not None, "is made only where there is one"
        self._issuer = settings.oidc_issuer
        self._audience = settings.oidc_audience
        self._role_claim = settings.oidc_role_claim
        self._roles = settings.oidc_roles
        if unknown := sorted({role for _, role in self._roles} - ROLES.keys()):
            roles = ", ".join(ROLES)
            raise Refused(f"OIDC_ROLES: no role {', '.join(unknown)}; there are {roles}")
        self._keys = ProviderKeys(self._issuer, ca_file)

    async def close(self) -> None:
        await self._keys.close()

    async def find(self, token: str, _: Scope) -> Principal | None:
        """Find whose token this is. Raises IdentityUnavailable while the key can't be fetched."""
        if token.count(".") != 2:  # noqa: PLR2004 (header, claims, signature)
            return None
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            key = await self._key(header, algorithm)
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": _REQUIRED},
            )
            return self._principal(claims)
        except (jwt.PyJWTError, ValueError) as error:
            # A WARNING names the caller; this adds what is wrong with its token.
            logger.debug("A JWT is refused: %s", error)
            return None

    async def _key(self, header: Mapping[str, Any], algorithm: str) -> jwt.PyJWK:
        if str(header.get("typ")).lower() not in _TYPES:
            raise jwt.InvalidTokenError("Its type is not that of an access token.")
        if "crit" in header:
            raise jwt.InvalidTokenError("It has critical headers, of which none is known here.")
        if (key := await self._keys.find(header.get("kid"), algorithm)) is None:
            raise jwt.InvalidTokenError("The provider has no such key for this algorithm.")
        return key

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        if any(name in claims for name in _OF_ID_TOKENS):
            raise jwt.InvalidTokenError("It is an ID token.")
        if self._audience in {claims.get(name) for name in _CLIENT if _is_text(claims.get(name))}:
            raise jwt.InvalidTokenError("Its audience is the client that it was made for.")
        role, subject = self._role(claims), _subject(claims)
        return Principal(
            _name(claims) or subject[:_LONGEST_NAME],
            role,
            ROLES.get(role, frozenset()),
            f"oidc:{hashlib.sha256(self._issuer.encode()).hexdigest()[:8]}:{subject}",
            clock.from_epoch(int(claims["exp"])),
        )

    def _role(self, claims: Mapping[str, Any]) -> str:
        """Return the role of the first entry of OIDC_ROLES whose value the claim has."""
        value = _member(claims, self._role_claim)
        values = value.split() if isinstance(value, str) else value
        if not isinstance(values, list):
            return NO_ROLE
        return next((role for named, role in self._roles if named in values), NO_ROLE)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _member(claims: Mapping[str, Any], place: str) -> Any:
    """Return a claim by its name, or by a JSON Pointer (RFC 6901) to within another."""
    if not place.startswith("/"):
        return claims.get(place)
    value: Any = claims
    for escaped in place[1:].split("/"):
        name = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 4:  # noqa: PLR2004
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _subject(claims: Mapping[str, Any]) -> str:
    """Return what the provider calls the person, or its hash where that is no short line."""
    subject: str = claims["sub"]
    if subject.isprintable() and 1 <= len(subject) <= _LONGEST_SUBJECT:
        return subject
    return hashlib.sha256(subject.encode()).hexdigest()


def _name(claims: Mapping[str, Any]) -> str | None:
    """Return the name for the audit: one that a person would know, if there is any."""
    verified = claims.get("email_verified") is not False
    candidates = (claims.get("preferred_username"), claims.get("email") if verified else None)
    for name in candidates:
        if isinstance(name, str) and name.isprintable() and name.strip():
            shown = name.strip()[:_LONGEST_NAME]
            if shown.lower() not in RESERVED_NAMES:
                return shown
    return None
