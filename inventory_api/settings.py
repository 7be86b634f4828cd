"""What Inventory reads from its environment; `.env.example` lists it all."""

from typing import ClassVar

from pydantic import Field

from service_kit.process.settings import IntrospectionSettings, PersonalDataSettings, Roles
from service_kit.web.roles import roles_of

SCOPES = frozenset(
    {
        "packages:read",
        "packages:write",
        "packages:erase",
        "stock:read",
        "stock:write",
        "stock:repair",
        "audit:read",
    }
)


class Settings(PersonalDataSettings, IntrospectionSettings):
    roles: ClassVar[Roles] = roles_of(SCOPES)

    port: int = Field(8001, ge=1, le=65535, description="Port to listen on.")
    database_url: str = Field(
        "sqlite:///data/inventory.db",
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
