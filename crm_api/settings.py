"""What the CRM reads from its environment; `.env.example` lists it all."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from crm_api.tickets.sla import Policy, parse_targets
from service_kit.process.oidc_settings import OidcClientSettings
from service_kit.process.setting_values import BaseAddress
from service_kit.process.settings import Days, PersonalDataSettings, Roles
from service_kit.web.roles import roles_of

SCOPES = frozenset(
    {
        "customers:create",
        "customers:read",
        "customers:write",
        "customers:delete",
        "tickets:read",
        "tickets:write",
        "tickets:delete",
        "events:read",
        "tokens:manage",
        "tokens:introspect",
        "audit:read",
        "imports:run",
    }
)


class Settings(OidcClientSettings, PersonalDataSettings):
    roles: ClassVar[Roles] = roles_of(SCOPES)

    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    database_url: str = Field(
        "sqlite:///data/crm.db",
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
    sla_targets: Annotated[Policy, BeforeValidator(parse_targets)] = Field(
        parse_targets("urgent=1h/4h,high=4h/1d,normal=8h/3d,low=1d/7d"),
        description="For each priority how long a response and the resolution may take.",
    )
    import_max_bytes: int = Field(
        50 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="The largest file that POST /api/imports takes, in bytes.",
    )
    retention_feed_days: Days = Field(
        0, description="Days after which events are deleted as prune-feed does; 0 keeps them."
    )
    csv_file_path: Path | None = Field(
        None, description="The file that import-customers takes when it is told none; - is stdin."
    )
    console: bool | None = Field(
        None,
        description="Whether the console is there, at /console; by default in development, and in "
        "production where ALLOWED_HOSTS is set.",
    )
    public_url: BaseAddress | None = Field(
        None, description="The address that browsers reach the CRM at, where a proxy hides it."
    )
    inventory_api_url: BaseAddress | None = Field(
        None, description="Where the console calls Inventory; by default it shows nothing of it."
    )
    integration_api_url: BaseAddress | None = Field(
        None, description="Where the console calls the integration; by default likewise."
    )

    @model_validator(mode="after")
    def _oidc_client_is_whole(self) -> Self:
        if self.oidc_client_id is None:
            if self.oidc_client_secret is not None:
                raise ValueError("OIDC_CLIENT_SECRET says nothing without OIDC_CLIENT_ID")
        elif self.oidc_issuer is None or self.public_url is None:
            raise ValueError("OIDC_CLIENT_ID needs OIDC_ISSUER and PUBLIC_URL too")
        elif "openid" not in self.oidc_scopes.split():
            raise ValueError("OIDC_SCOPES: openid must be among them")
        return self

    @model_validator(mode="after")
    def _console_has_host_names(self) -> Self:
        """Refuse a console that answers under any name: a page may give one to this machine."""
        if self.environment == "production" and self.console and not self.allowed_hosts:
            raise ValueError("set ALLOWED_HOSTS: in production the console takes it")
        return self

    @property
    def has_console(self) -> bool:
        by_default = self.environment == "development" or bool(self.allowed_hosts)
        return by_default if self.console is None else self.console
