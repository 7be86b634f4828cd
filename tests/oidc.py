"""An OpenID provider's tokens, genuine and forged; for the double here and for a real provider.

Both are given the same keys, so a test can sign whatever no provider would.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import jwt
import respx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "crmsys"
CLIENT = "warehouse-tool"
# The settings of all three services, apart from the issuer.
SETTINGS = {
    "oidc_audience": AUDIENCE,
    "oidc_role_claim": "/realm_access/roles",
    "oidc_roles": "crm-admins=admin,support=agent,warehouse=clerk,on-call=operator,auditors=viewer",
}

_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384}


@dataclass(frozen=True)
class Key:
    """A key pair, by its id, and the algorithm that it is for."""

    kid: str
    algorithm: str
    private: Any = field(repr=False)

    def public_jwk(self, **changes: Any) -> dict[str, Any]:
        return self._jwk(self.private.public_key(), **changes)

    def private_jwk(self) -> dict[str, Any]:
        return self._jwk(self.private)

    def public_pem(self) -> bytes:
        pem: bytes = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def _jwk(self, key: Any, **changes: Any) -> dict[str, Any]:
        text = jwt.get_algorithm_by_name(self.algorithm).to_jwk(key)
        jwk = json.loads(text) | {"kid": self.kid, "alg": self.algorithm, "use": "sig"} | changes
        jwk.pop("key_ops", None)  # `use` says it already
        return {name: value for name, value in jwk.items() if value is not None}


@cache
def rsa_key(kid: str, bits: int = 2048) -> Key:
    """Make a key; slow, so each is made once."""
    return Key(kid, "RS256", rsa.generate_private_key(public_exponent=65537, key_size=bits))


@cache
def ec_key(kid: str) -> Key:
    return Key(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))


@cache
def ed_key(kid: str) -> Key:
    return Key(kid, "EdDSA", ed25519.Ed25519PrivateKey.generate())


@dataclass
class Provider:
    """A double of a provider: what it publishes is answered in place of the network."""

    issuer: str = "https://sign-in.example.com/realms/company"
    keys: list[Key] = field(default_factory=lambda: [rsa_key("first")])
    more_jwks: list[dict[str, Any]] = field(default_factory=list)
    is_away: bool = False
    looks: int = 0

    def serve(self, router: respx.MockRouter) -> "Provider":
        router.route(host=httpx.URL(self.issuer).host).mock(side_effect=self._answer)
        return self

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.looks += 1
        if self.is_away:
            raise httpx.ConnectError("nobody is there")
        if request.url.path.endswith("/.well-known/openid-configuration"):
            return httpx.Response(200, json=self.discovery())
        return httpx.Response(
            200, json={"keys": [*map(Key.public_jwk, self.keys), *self.more_jwks]}
        )

    def discovery(self) -> dict[str, Any]:
        return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}

    def token(
        self,
        key: Key | None = None,
        header: dict[str, Any] | None = None,
        *,
        without: str = "",
        **claims: Any,
    ) -> str:
        """Issue a token, as genuine as the arguments leave it."""
        key = key or self.keys[0]
        whole = self.claims() | claims
        whole.pop(without, None)
        heading = {"typ": "at+jwt", "kid": key.kid} | dict(header or {})
        return sign(key, {k: v for k, v in heading.items() if v is not None}, whole)

    def claims(self) -> dict[str, Any]:
        now = int(time.time())
        return {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "f3a1-ann",
            "client_id": CLIENT,
            "iat": now,
            "exp": now + 600,
            "preferred_username": "ann",
            "realm_access": {"roles": ["staff", "crm-admins"]},
        }


def sign(key: Key, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign by hand: the library refuses much of what an attacker sends."""
    algorithm = jwt.get_algorithm_by_name(str(header.get("alg", key.algorithm)))
    heading = {"alg": key.algorithm, **header}
    text = f"{_part(heading)}.{_part(claims)}"
    return f"{text}.{_encoded(algorithm.sign(text.encode(), key.private))}"


def header_of(token: str) -> dict[str, Any]:
    return dict(jwt.get_unverified_header(token))


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def _part(value: Any) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    return f"{_part(header)}.{_part(claims)}.{signature}"


def _by_secret(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    text = f"{_part(header)}.{_part(claims)}"
    digest = hmac.new(secret, text.encode(), _HASHES[header["alg"]]).digest()
    return f"{text}.{_encoded(digest)}"


# Makes a forgery of a genuine token; the key is the provider's, for what it would have to sign.
Forge = Callable[[str, Key], str]


def _with(changes: dict[str, Any]) -> Forge:
    """Sign other claims with the provider's own key; None takes a claim away."""

    def forge(genuine: str, key: Key) -> str:
        claims = claims_of(genuine) | changes
        return sign(key, header_of(genuine), {k: v for k, v in claims.items() if v is not None})

    return forge


def _headed(changes: dict[str, Any]) -> Forge:
    """Sign another header with the provider's own key; None takes a member away."""

    def forge(genuine: str, key: Key) -> str:
        header = header_of(genuine) | changes
        return sign(key, {k: v for k, v in header.items() if v is not None}, claims_of(genuine))

    return forge


def _by_stranger(changes: dict[str, Any], stranger: Key | None = None) -> Forge:
    """Sign with a stranger's key, under the provider's key id unless the changes say another."""

    def forge(genuine: str, _: Key) -> str:
        own = stranger or rsa_key("stranger")
        header = header_of(genuine) | {"alg": own.algorithm} | changes
        return sign(own, header, claims_of(genuine))

    return forge


def _without_algorithm(name: str) -> Forge:
    def forge(genuine: str, _: Key) -> str:
        return _unsigned(header_of(genuine) | {"alg": name}, claims_of(genuine))

    return forge


def _with_changed_claims(genuine: str, _: Key) -> str:
    head, _claims, signature = genuine.split(".")
    return f"{head}.{_part(claims_of(genuine) | {'sub': 'somebody-else'})}.{signature}"


def _public_key_as_secret(genuine: str, key: Key) -> str:
    header = header_of(genuine) | {"alg": "HS256"}
    return _by_secret(header, claims_of(genuine), key.public_pem())


def _modulus_as_secret(genuine: str, key: Key) -> str:
    header = header_of(genuine) | {"alg": "HS384"}
    return _by_secret(header, claims_of(genuine), key.public_jwk().get("n", "").encode())


def _relabelled(genuine: str, _: Key) -> str:
    _head, claims, signature = genuine.split(".")
    return f"{_part(header_of(genuine) | {'alg': 'PS256'})}.{claims}.{signature}"


def _nested(genuine: str, _: Key) -> str:
    deep = b'{"alg":' + b"[" * 8000 + b"]" * 8000 + b"}"
    return f"{_encoded(deep)[:9000]}.{genuine.split('.')[1]}.x"


_HOUR_AGO = -3600
_JWK = rsa_key("stranger").public_jwk()

FORGERIES: dict[str, Forge] = {
    # RFC 8725, 2.1 and 3.1: algorithms
    "no signature, alg none": _without_algorithm("none"),
    "no signature, alg None": _without_algorithm("None"),
    "no signature, alg empty": _without_algorithm(""),
    "no signature under the right alg": _without_algorithm("RS256"),
    "the public key as an HMAC secret": _public_key_as_secret,
    "the modulus as an HMAC secret": _modulus_as_secret,
    "another algorithm of the same key": _headed({"alg": "RS512"}),
    "relabelled as RSA-PSS": _relabelled,
    # 2.2, 3.2 to 3.4: keys
    "a stranger's key under the provider's id": _by_stranger({}),
    "a stranger's elliptic key under the provider's id": _by_stranger({}, ec_key("stranger")),
    "a stranger's key in the header": _by_stranger({"jwk": _JWK}),
    "a stranger's key by jku": _by_stranger({"jku": "https://evil.example.com/keys"}),
    "a stranger's key by x5u": _by_stranger({"x5u": "https://evil.example.com/chain"}),
    "an unknown key id": _by_stranger({"kid": "stranger"}),
    "a path as key id": _by_stranger({"kid": "../../../../dev/null"}),
    "a query as key id": _by_stranger({"kid": "' OR 1=1 --"}),
    "a number as key id": _by_stranger({"kid": 1}),
    "a list as key id": _by_stranger({"kid": ["first"]}),
    # 2.4, 3.5: what was signed
    "other claims under the signature": _with_changed_claims,
    "a shortened signature": lambda genuine, _: genuine[:-8],
    "no signature at all": lambda genuine, _: genuine.rpartition(".")[0] + ".",
    "two parts": lambda genuine, _: genuine.rpartition(".")[0],
    "five parts, as if encrypted": lambda genuine, _: f"{genuine}.x.x",
    "a header nested 8,000 deep": _nested,
    "a header that is no object": lambda genuine, _: f"{_part([1])}.{genuine.split('.', 1)[1]}",
    "claims that are no object": lambda genuine, key: sign(key, header_of(genuine), [1]),  # type: ignore[arg-type]
    # 3.8, 3.9: issuer, subject, audience
    "another issuer": _with({"iss": "https://evil.example.com"}),
    "the issuer with a slash more": lambda genuine, key: _with(
        {"iss": claims_of(genuine)["iss"] + "/"}
    )(genuine, key),
    "no issuer": _with({"iss": None}),
    "another audience": _with({"aud": "another-api"}),
    "audiences without ours": _with({"aud": ["another-api", "crmsys2"]}),
    "no audience": _with({"aud": None}),
    "no subject": _with({"sub": None}),
    "a number as subject": _with({"sub": 1}),
    "half a character as subject": _with({"sub": "\ud800"}),
    "the audience is the client": _with({"client_id": AUDIENCE}),
    "the audience is the authorised party": _with({"azp": AUDIENCE}),
    # 3.11: one kind of token in place of another
    "an ID token": _with({"at_hash": "x"}),
    "no type": _headed({"typ": None}),
    "a logout token": _headed({"typ": "logout+jwt"}),
    "a security event": _headed({"typ": "secevent+jwt"}),
    # RFC 7519, 4.1; RFC 7515, 4.1.11
    "expired": _with({"exp": int(time.time()) + _HOUR_AGO}),
    "no expiry": _with({"exp": None}),
    "a text as expiry": _with({"exp": "tomorrow"}),
    "valid from tomorrow": _with({"nbf": int(time.time()) + 86_400}),
    "a critical header that nobody knows": _headed({"crit": ["later"], "later": 1}),
    "an unencoded payload": _headed({"crit": ["b64"], "b64": False}),
}
