"""What the integration reads from its environment; `.env.example` lists it all."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator

from integration_service.routes.definitions import DEFAULT, Route
from integration_service.routes.file import read_routes
from integration_service.routes.mistakes import RoutesFileError
from integration_service.webhook_secrets import missing_secrets
from service_kit.process.configured_tokens import is_demo
from service_kit.process.environment import Refused
from service_kit.process.setting_values import BaseAddress
from service_kit.process.settings import (
    SECRETS_DIR,
    Days,
    IntrospectionSettings,
    Roles,
    Token,
    revealed,
)
from service_kit.web.roles import roles_of

SCOPES = frozenset({"sync:read", "sync:operate", "audit:read"})
# What a route may lead to; each has settings below, or in its route.
TARGETS = ("inventory", "webhook")


class Settings(IntrospectionSettings):
    roles: ClassVar[Roles] = roles_of(SCOPES)

    port: int = Field(8002, ge=1, le=65535, description="Port to listen on.")
    database_url: str = Field(
        "sqlite:///data/integration.db",
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
    crm_api_url: BaseAddress = Field("http://localhost:8000", description="Where the CRM is.")
    crm_api_token: Token | None = Field(
        None, description="A token of the CRM's role integration; integration123 in development."
    )
    inventory_api_url: BaseAddress = Field(
        "http://localhost:8001", description="Where Inventory is."
    )
    inventory_api_token: Token | None = Field(
        None, description="A token of Inventory's role integration; integration123 in development."
    )
    polling_interval_seconds: float = Field(
        10, gt=0, le=3600, description="The longest time between two polls of the feed."
    )
    long_poll_seconds: float = Field(
        10, ge=0, le=25, description="How long one poll may wait for news; 0 switches it off."
    )
    start_from: Literal["beginning", "now"] = Field(
        "beginning",
        description="Where to start in the feed: beginning or now; used at the first start only.",
    )
    routes_file: Path | None = Field(
        None, description="A TOML file of routes, docs/routes.md; by default the built-in route."
    )
    webhook_allow_private: bool = Field(
        False, description="Whether webhooks may go to private and loopback addresses."
    )
    delivery_concurrency: int = Field(
        4,
        ge=2,
        le=64,
        description="Batches under way to Inventory, and requests to each webhook, at once.",
    )
    batch_size: int = Field(
        500, ge=1, le=500, description="Events of a page, and package requests of a batch, at most."
    )
    lease_seconds: float = Field(
        15, ge=1, le=300, description="How long a poller that has died keeps others waiting."
    )

    reconcile_interval_seconds: float = Field(
        3600,
        ge=0,
        le=30 * 86400,
        description="How often both sides are compared by itself, and repaired; 0 switches it off.",
    )

    retention_attempts_days: Days = Field(
        90, description="Days after which attempts at deliveries are deleted; 0 keeps them."
    )

    @classmethod
    def from_environment(cls, secrets: Path = SECRETS_DIR) -> Self:
        """Read variables, secrets and the file of routes. Raises Refused with each fault."""
        settings = super().from_environment(secrets)
        try:
            settings.read_routes(secrets)
        except RoutesFileError as error:
            raise Refused(f"ROUTES_FILE can't be used:\n{error}") from None
        return settings

    def read_routes(self, secrets: Path = SECRETS_DIR) -> tuple[Route, ...]:
        """Read what events lead to. Raises RoutesFileError with every mistake."""
        if self.routes_file is None:
            return DEFAULT
        file = read_routes(self.routes_file, TARGETS)
        if mistakes := missing_secrets(file, secrets_dir=secrets):
            raise RoutesFileError(mistakes)
        return file.routes

    @model_validator(mode="after")
    def _a_file_says_where_its_routes_start(self) -> Self:
        if self.routes_file is not None and self.start_from != "beginning":
            raise ValueError(
                "START_FROM is the built-in route's: unset it, and use start_from in ROUTES_FILE"
            )
        return self

    @model_validator(mode="after")
    def _production_has_links_of_its_own(self) -> Self:
        if self.environment != "production":
            return self
        for variable, token in self._tokens_of_links().items():
            if variable == "INVENTORY_API_TOKEN" and not self._has_inventory_route():
                continue
            if token is None or is_demo(token.get_secret_value()):
                raise ValueError(f"set {variable}: production starts with no demo token")
        return self

    def _has_inventory_route(self) -> bool:
        """Whether anything goes to Inventory; said again, with words, where the file is wrong."""
        try:
            return any(route.target == "inventory" for route in self.read_routes())
        except RoutesFileError:
            return True

    def sent_tokens(self) -> dict[str, SecretStr | None]:
        return super().sent_tokens() | self._tokens_of_links()

    def _tokens_of_links(self) -> dict[str, SecretStr | None]:
        return {
            "CRM_API_TOKEN": self.crm_api_token,
            "INVENTORY_API_TOKEN": self.inventory_api_token,
        }

    @property
    def crm_token(self) -> str:
        return revealed(self.crm_api_token)

    @property
    def inventory_token(self) -> str:
        return revealed(self.inventory_api_token)
