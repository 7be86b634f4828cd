"""Which OpenID provider's access tokens a service accepts, and what they may do."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from service_kit.process.setting_values import Address, parts


def _values_and_roles(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    entries = [part.rpartition("=") for part in parts(value)]
    if not all(named.strip() and role.strip() for named, _, role in entries):
        raise ValueError("each entry is VALUE=role, a value of the claim and a role")
    return [(named.strip(), role.strip()) for named, _, role in entries]


class OidcSettings(BaseSettings):
    """The four settings of an OpenID provider, which go together."""

    oidc_issuer: Address | None = Field(
        None, description="The OpenID provider whose access tokens are accepted, by its issuer."
    )
    oidc_audience: str | None = Field(
        None, description="What its tokens name as their audience: this platform, never a client."
    )
    oidc_role_claim: str = Field(
        "roles",
        description="The claim that holds roles: its name, or a JSON Pointer such as /realm/roles.",
    )
    oidc_roles: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_values_and_roles)] = Field(
        (), description="VALUE=role, comma-separated: the first whose value the claim has counts."
    )

    @field_validator("oidc_role_claim")
    @classmethod
    def _name_or_pointer(cls, claim: str) -> str:
        escapes = claim.replace("~0", "").replace("~1", "")
        if claim.startswith("/") and "~" in escapes:
            raise ValueError("in a JSON Pointer ~ is written ~0, and / within a name ~1")
        return claim

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        given = {"OIDC_AUDIENCE": self.oidc_audience, "OIDC_ROLES": self.oidc_roles}
        if self.oidc_issuer is None:
            named = [variable for variable, value in given.items() if value]
            if named:
                raise ValueError(f"{named[0]} says nothing without OIDC_ISSUER")
        elif missing := [variable for variable, value in given.items() if not value]:
            raise ValueError(f"OIDC_ISSUER needs {' and '.join(missing)} too")
        return self


class OidcClientSettings(BaseSettings):
    """The settings of the console as a client of the OpenID provider, wherever it runs."""

    oidc_client_id: str | None = Field(
        None, description="The console's id at the OpenID provider; then people sign in there."
    )
    oidc_client_secret: SecretStr | None = Field(
        None, description="The console's secret at the OpenID provider, if it has one."
    )
    oidc_scopes: str = Field(
        "openid profile",
        description="What the console asks the OpenID provider for, separated by spaces.",
    )
