"""What the console reads from its environment where it runs by itself."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from service_kit.process.oidc_settings import OidcClientSettings
from service_kit.process.setting_values import BaseAddress
from service_kit.process.settings import Roles, ServiceSettings


class Settings(OidcClientSettings, ServiceSettings):
    """It accepts no token itself: whoever signs in is known to the services, or is not."""

    roles: ClassVar[Roles] = {}

    port: int = Field(8003, ge=1, le=65535, description="Port to listen on.")
    database_url: str = Field(
        "sqlite:///data/console.db",
        description="Where sessions are: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
    crm_api_url: BaseAddress = Field("http://localhost:8000", description="Where the CRM is.")
    inventory_api_url: BaseAddress | None = Field(
        None, description="Where Inventory is; by default the console shows nothing of it."
    )
    integration_api_url: BaseAddress | None = Field(
        None, description="Where the integration is; by default likewise."
    )
    public_url: BaseAddress | None = Field(
        None, description="The address that browsers reach the console at, where a proxy hides it."
    )

    @model_validator(mode="after")
    def _tokens_are_its_own(self) -> Self:
        """Refuse tokens, which would let nobody in."""
        named = {
            "API_TOKENS": self.api_tokens,
            "ADMIN_TOKEN": self.admin_token,
            "ANONYMOUS_SCOPES": self.anonymous_scopes,
        }
        if given := [name for name, value in named.items() if value]:
            raise ValueError(f"unset {given[0]}: the services know who may do what")
        return self

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        """Let the issuer stand alone: it is the services that check the provider's tokens."""
        if self.oidc_audience or self.oidc_roles:
            raise ValueError("unset OIDC_AUDIENCE and OIDC_ROLES: the services check tokens")
        return self

    @model_validator(mode="after")
    def _oidc_client_is_whole(self) -> Self:
        named = (self.oidc_issuer, self.oidc_client_id)
        if any(named) and not (all(named) and self.public_url):
            raise ValueError("OIDC_ISSUER, OIDC_CLIENT_ID and PUBLIC_URL go together")
        if self.oidc_client_secret is not None and self.oidc_client_id is None:
            raise ValueError("OIDC_CLIENT_SECRET says nothing without OIDC_CLIENT_ID")
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("OIDC_SCOPES: openid must be among them")
        return self

    @model_validator(mode="after")
    def _has_host_names(self) -> Self:
        """Refuse to answer under any name: a page may give one to this machine."""
        if self.environment == "production" and not self.allowed_hosts:
            raise ValueError("set ALLOWED_HOSTS: in production the console takes it")
        return self
