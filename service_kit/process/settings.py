"""What every service reads from its environment, or from files of the same names."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from service_kit.process.environment import Refused, near_misses
from service_kit.web.rates import Rate, parse_rate

# RFC 6750, section 2.1: what may stand after "Bearer", with a length that bounds the work.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,512}=*")

SECRETS_DIR = Path("/run/secrets")
PRODUCTION_RATE = Rate(50, 1)

Roles = Mapping[str, frozenset[str]]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


class ServiceSettings(BaseSettings):
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
    database_pool_size: int = Field(
        20, ge=2, le=500, description="PostgreSQL connections that one process may hold."
    )
    api_tokens: tuple[tuple[str, SecretStr], ...] = Field(
        (), description="role:token, comma-separated; by default demo tokens in development."
    )
    admin_token: SecretStr | None = Field(None, description="One more token with the role admin.")
    anonymous_scopes: frozenset[str] = Field(
        frozenset(), description="Scopes that a caller without a token has, comma-separated."
    )
    cors_origins: tuple[str, ...] = Field(
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

    @field_validator("api_tokens", mode="before")
    @classmethod
    def _split_tokens(cls, value: object) -> object:
        return (
            [_role_and_token(part) for part in _parts(value)] if isinstance(value, str) else value
        )

    @field_validator("anonymous_scopes", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        if not re.match(r"(sqlite:///|postgres(ql)?(\+\w+)?://)", value):
            raise ValueError("it must start with sqlite:/// or postgresql://")
        return value

    @model_validator(mode="after")
    def _roles_and_scopes_exist(self) -> Self:
        for place, (role, token) in enumerate(self.api_tokens, start=1):
            if role not in self.roles:
                # By its place, for who writes token:role has put the token here.
                known = ", ".join(self.roles)
                raise ValueError(f"API_TOKENS: the role of entry {place} is none of {known}")
            _check_token("API_TOKENS", token)
        if self.admin_token is not None:
            _check_token("ADMIN_TOKEN", self.admin_token)
        if unknown := self.anonymous_scopes - frozenset().union(*self.roles.values()):
            raise ValueError(f"ANONYMOUS_SCOPES: no scope {', '.join(sorted(unknown))}")
        return self

    @model_validator(mode="after")
    def _production_has_tokens_of_its_own(self) -> Self:
        if self.environment != "production":
            return self
        if not self.api_tokens and self.admin_token is None:
            raise ValueError("set API_TOKENS or ADMIN_TOKEN: production starts with no demo token")
        for variable, role, token in self._named_tokens():
            if is_demo(token):
                raise ValueError(
                    f"{variable} holds a demo token for the role {role}; "
                    "production starts with tokens of its own only"
                )
        return self

    @model_validator(mode="after")
    def _a_token_has_one_role(self) -> Self:
        roles: dict[str, str] = {}
        for variable, role, token in self._named_tokens():
            if roles.setdefault(token, role) != role:
                raise ValueError(
                    f"{variable}: the token for the role {role} is there for {roles[token]} too"
                )
        return self

    def _named_tokens(self) -> list[tuple[str, str, str]]:
        """Return variable, role and text of each token that the environment names."""
        named = [("API_TOKENS", role, token.get_secret_value()) for role, token in self.api_tokens]
        if self.admin_token is not None:
            named.append(("ADMIN_TOKEN", "admin", self.admin_token.get_secret_value()))
        return named

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

    def tokens(self) -> list[tuple[str, str]]:
        """Return every (role, token) that this environment names."""
        given = [(role, token) for _, role, token in self._named_tokens()]
        if self.uses_demo_tokens:
            given += [(role, demo_token(role)) for role in self.roles]
        return given


class DemoDataSettings(ServiceSettings):
    """For a service that can start with something to look at."""

    seed_demo_data: bool | None = Field(
        None,
        description="Whether an empty database starts with demo data; by default in development.",
    )

    @property
    def wants_demo_data(self) -> bool:
        if self.seed_demo_data is None:
            return self.environment == "development"
        return self.seed_demo_data


def demo_token(role: str) -> str:
    return f"{role}123"


def is_demo(token: str) -> bool:
    """Tell a demo token of any of the services; they stand in the README, so anyone has them."""
    return token in {f"{role}123" for role in ("agent", "admin", "viewer", "clerk", "integration")}


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


def _parts(value: str) -> list[str]:
    return [part for part in (part.strip() for part in value.split(",")) if part]


def _role_and_token(part: str) -> tuple[str, str]:
    role, colon, token = part.partition(":")
    if not colon:
        raise ValueError("each entry is role:token")
    return role.strip(), token.strip()


def _check_token(variable: str, token: SecretStr) -> None:
    if not TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError(f"{variable}: a token has 1 to 512 letters, digits or . _ ~ + / - =")
