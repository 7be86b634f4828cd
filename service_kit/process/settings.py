"""What every service reads from its environment, or from files of the same names."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict, SettingsError

from service_kit.process.configured_tokens import (
    HASHED,
    SHORTEST,
    TOKEN,
    demo_token,
    digest_of,
    is_demo,
    is_short,
)
from service_kit.process.environment import Refused, near_misses
from service_kit.process.oidc_settings import OidcSettings
from service_kit.process.outgoing import refuse_unusable_ssl_cert_file, refuse_without_certificate
from service_kit.process.rates import Rate, parse_rate
from service_kit.process.setting_values import Address, HostNames, parts

SECRETS_DIR = Path("/run/secrets")
PRODUCTION_RATE = Rate(50, 1)


def _sendable(token: SecretStr) -> SecretStr:
    if not TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError("a token has 1 to 512 letters, digits or . _ ~ + / - =")
    return token


def _sendable_or_hashed(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if text.startswith("sha256:") and not HASHED.fullmatch(text):
        raise ValueError("after sha256: there must be 64 hexadecimal digits")
    return token if HASHED.fullmatch(text) else _sendable(token)


def _roles_and_tokens(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    entries = [part.partition(":") for part in parts(value)]
    if not all(colon for _, colon, _ in entries):
        raise ValueError("each entry is role:token")
    return [(role.strip(), token.strip()) for role, _, token in entries]


Roles = Mapping[str, frozenset[str]]
Days = Annotated[int, Field(ge=0, le=36_500)]
Token = Annotated[SecretStr, AfterValidator(_sendable)]
AcceptedToken = Annotated[SecretStr, AfterValidator(_sendable_or_hashed)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


class ServiceSettings(OidcSettings):
    """The variables all three services share; a service adds its own and says its roles."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # an error at the start must not print the tokens
        env_ignore_empty=True,
        enable_decoding=False,  # lists are separated by commas, and no JSON
    )

    roles: ClassVar[Roles] = {}

    environment: Literal["development", "production"] = Field(
        "development", description="In production no demo token is accepted and logs are JSON."
    )
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in the images.")
    port: int = Field(ge=1, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=64, description="Processes that serve requests.")
    log_level: LogLevel = Field("INFO", description="The least severe level that is logged.")
    log_format: Literal["text", "json"] | None = Field(
        None, description="text or json; by default text in development and json in production."
    )
    database_url: str = Field(description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.")
    database_direct_url: str | None = Field(
        None, description="The same PostgreSQL past a pooler that DATABASE_URL leads through."
    )
    database_pool_size: int = Field(
        20, ge=2, le=500, description="PostgreSQL connections that one process holds at most."
    )
    snapshots: int = Field(
        3, ge=0, le=100, description="Copies of a SQLite file from before migrations to keep."
    )
    retention_snapshots_days: Days = Field(
        90, description="Days after which such a copy is deleted; 0 keeps them."
    )
    retention_audit_days: Days = Field(
        365, description="Days after which entries of the audit are deleted; 0 keeps them for ever."
    )
    api_tokens: Annotated[
        tuple[tuple[str, AcceptedToken], ...], BeforeValidator(_roles_and_tokens)
    ] = Field(
        (),
        description="role:token or role:sha256:HEX, comma-separated; by default demo tokens in "
        "development.",
    )
    admin_token: Token | None = Field(None, description="One more token with the role admin.")
    anonymous_scopes: Annotated[frozenset[str], BeforeValidator(parts)] = Field(
        frozenset(), description="Scopes that a caller without a token has, comma-separated."
    )
    allowed_hosts: HostNames = Field(
        (), description="Host names that this service answers to; by default to any, unchecked."
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(parts)] = Field(
        (), description="Web origins whose pages may call this service, comma-separated."
    )
    rate_limit: Annotated[Rate | Literal["off"] | None, BeforeValidator(parse_rate)] = Field(
        None, description="Requests a caller may send; 50/second in production, else off."
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="Where to send traces, by OTLP over HTTP; by default nowhere."
    )
    forwarded_allow_ips: str = Field(
        "", description="Proxies, by address or network, whose X-Forwarded-For is believed."
    )
    ca_file: Annotated[Path, AfterValidator(refuse_without_certificate)] | None = Field(
        None, description="Authorities that outgoing https:// calls trust besides the public ones."
    )

    @classmethod
    def from_environment(cls, secrets: Path = SECRETS_DIR) -> Self:
        """Read variables and secrets. Raises Refused with a line for each fault."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # of secrets that it would leave out
                return cls(_secrets_dir=secrets if secrets.is_dir() else None)
        except ValidationError as error:
            lines = [explain(error), *near_misses(cls.model_fields)]
            raise Refused("\n".join(lines)) from None
        except SettingsError as error:
            raise Refused(_explain_file(error, secrets)) from None

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != ""}

    @field_validator("database_url")
    @classmethod
    def _known_engine(cls, url: str) -> str:
        if not re.match(r"(sqlite:///|postgres(ql)?(\+\w+)?://)", url):
            raise ValueError("it must start with sqlite:/// or postgresql://")
        return url

    @field_validator("database_direct_url")
    @classmethod
    def _postgres(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"postgres(ql)?(\+\w+)?://", url):
            raise ValueError("it must start with postgresql://")
        return url

    @field_validator("api_tokens")
    @classmethod
    def _roles_exist(
        cls, entries: tuple[tuple[str, SecretStr], ...]
    ) -> tuple[tuple[str, SecretStr], ...]:
        for place, (role, _) in enumerate(entries, start=1):
            if role not in cls.roles:
                # By its place, for who writes token:role has put the token here.
                raise ValueError(f"the role of entry {place} is none of {', '.join(cls.roles)}")
        return entries

    @field_validator("anonymous_scopes")
    @classmethod
    def _scopes_exist(cls, scopes: frozenset[str]) -> frozenset[str]:
        if unknown := scopes - frozenset().union(*cls.roles.values()):
            raise ValueError(f"no scope {', '.join(sorted(unknown))}")
        return scopes

    @model_validator(mode="after")
    def _tokens_are_its_own(self) -> Self:
        """Refuse a token of two roles, and in production one that anybody may know."""
        is_production = self.environment == "production"
        named, roles = self._named_tokens(), dict[bytes, str]()
        if is_production and not named:
            raise ValueError("set API_TOKENS or ADMIN_TOKEN: production starts with no demo token")
        if is_production and self.anonymous_scopes:
            raise ValueError("unset ANONYMOUS_SCOPES: in production every caller has a token")
        for variable, role, token in named:
            if is_production and is_demo(token):
                raise ValueError(
                    f"{variable} holds a demo token for the role {role}; "
                    "production starts with tokens of its own only"
                )
            if (other := roles.setdefault(digest_of(token), role)) != role:
                raise ValueError(
                    f"{variable}: the token for the role {role} is there for {other} too"
                )
        return self

    @model_validator(mode="after")
    def _direct_url_has_a_pooler(self) -> Self:
        if self.database_direct_url is not None and self.database_url.startswith("sqlite:"):
            raise ValueError("DATABASE_DIRECT_URL says nothing while DATABASE_URL names a file")
        return self

    @model_validator(mode="after")
    def _authorities_are_there(self) -> Self:
        """Refuse an unusable SSL_CERT_FILE, which is no setting of ours, where it is needed."""
        if any(isinstance(value, str) and value.startswith("https:") for _, value in self):
            refuse_unusable_ssl_cert_file()
        return self

    def _named_tokens(self) -> list[tuple[str, str, str]]:
        """Return variable, role and text of each token that the environment names."""
        named = [("API_TOKENS", role, token.get_secret_value()) for role, token in self.api_tokens]
        if self.admin_token is not None:
            named.append(("ADMIN_TOKEN", "admin", self.admin_token.get_secret_value()))
        return named

    @property
    def session_url(self) -> str:
        """Where to do what takes a session of its own, or one transaction for long."""
        return self.database_direct_url or self.database_url

    @property
    def uses_demo_tokens(self) -> bool:
        return self.environment == "development" and not self.api_tokens

    @property
    def log_style(self) -> str:
        return self.log_format or ("json" if self.environment == "production" else "text")

    @property
    def caller_rate(self) -> Rate | None:
        if self.rate_limit is None:
            return PRODUCTION_RATE if self.environment == "production" else None
        return None if self.rate_limit == "off" else self.rate_limit

    def deprecations(self) -> list[str]:
        """Say what a later version refuses, by variable and place; never a token."""
        if self.environment == "development" or not (short := self._short_tokens()):
            return []
        found = f"Tokens with fewer than {SHORTEST} characters: {', '.join(short)}."
        return [f"{found} From 0.5.0 production refuses them."]

    def _short_tokens(self) -> list[str]:
        named = {
            f"API_TOKENS (entry {place}, {role})": token
            for place, (role, token) in enumerate(self.api_tokens, start=1)
        }
        named |= {
            name: token
            for name, token in {"ADMIN_TOKEN": self.admin_token, **self.sent_tokens()}.items()
            if token is not None
        }
        return [name for name, token in named.items() if is_short(token.get_secret_value())]

    def sent_tokens(self) -> dict[str, SecretStr | None]:
        """Return, by variable, the tokens that this service shows to others."""
        return {}

    def tokens(self) -> list[tuple[str, str]]:
        """Return every (role, token) that this environment names; `digest_of` reads both forms."""
        given = [(role, token) for _, role, token in self._named_tokens()]
        if self.uses_demo_tokens:
            given += [(role, demo_token(role)) for role in self.roles if is_demo(demo_token(role))]
        return given


class PersonalDataSettings(ServiceSettings):
    """For a service that keeps personal data, and can start with some to look at."""

    audit_reads: bool = Field(
        False, description="Whether the audit also says who has read personal data."
    )

    seed_demo_data: bool | None = Field(
        None,
        description="Whether an empty database starts with demo data; by default in development.",
    )

    @property
    def wants_demo_data(self) -> bool:
        by_default = self.environment == "development"
        return by_default if self.seed_demo_data is None else self.seed_demo_data


class IntrospectionSettings(ServiceSettings):
    """For a service that accepts the tokens that the CRM issues."""

    token_introspection_url: Address | None = Field(
        None, description="Where the CRM tells whose token it is: …/api/tokens/introspect."
    )
    token_introspection_token: Token | None = Field(
        None, description="A token of the CRM's role integration; integration123 in development."
    )

    @model_validator(mode="after")
    def _introspection_is_whole(self) -> Self:
        token = self.token_introspection_token
        if self.token_introspection_url is None:
            if token is not None:
                raise ValueError(
                    "TOKEN_INTROSPECTION_TOKEN says nothing without TOKEN_INTROSPECTION_URL"
                )
        elif self.environment == "production" and (
            token is None or is_demo(token.get_secret_value())
        ):
            raise ValueError("set TOKEN_INTROSPECTION_TOKEN: production starts with no demo token")
        return self

    def sent_tokens(self) -> dict[str, SecretStr | None]:
        return {"TOKEN_INTROSPECTION_TOKEN": self.token_introspection_token}

    @property
    def introspection_token(self) -> str:
        return revealed(self.token_introspection_token)


def revealed(token: SecretStr | None) -> str:
    """Return a token for another service's role integration: the demo token unless one is set."""
    return demo_token("integration") if token is None else token.get_secret_value()


def explain(error: ValidationError) -> str:
    """Say in one line a fault what to change in the environment; never what was in it."""
    lines = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(fault["loc"][0]).upper() + ": " if fault["loc"] else ""
        lines.append(name + fault["msg"].removeprefix("Value error, "))
    return "\n".join(lines)


def _explain_file(error: SettingsError, secrets: Path) -> str:
    """Say which file can't be read; the text of another error may hold a part of the secret."""
    match error.__cause__:
        case OSError() as cause:
            return f"{cause.filename or secrets} can't be read: {cause.strerror}"
        case UserWarning() as cause:
            return str(cause)
    return f"A file in {secrets} is no text: {error}"
