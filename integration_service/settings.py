"""What the integration reads from its environment; `.env.example` lists it all."""

from typing import ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator

from service_kit.process.configured_tokens import is_demo
from service_kit.process.setting_values import BaseAddress
from service_kit.process.settings import IntrospectionSettings, Roles, Token, revealed
from service_kit.web.roles import roles_of

SCOPES = frozenset({"sync:read", "sync:operate", "audit:read"})


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
    delivery_concurrency: int = Field(
        4, ge=2, le=64, description="Batches under way to Inventory at once."
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

    @model_validator(mode="after")
    def _production_has_links_of_its_own(self) -> Self:
        for variable, token in self._tokens_of_links().items():
            if self.environment == "production" and (
                token is None or is_demo(token.get_secret_value())
            ):
                raise ValueError(f"set {variable}: production starts with no demo token")
        return self

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
