"""What the CRM reads from its environment; `.env.example` lists it all."""

from typing import ClassVar

from pydantic import Field

from crm_api.roles import ROLES
from service_kit.settings import DemoDataSettings, Roles


class Settings(DemoDataSettings):
    roles: ClassVar[Roles] = ROLES

    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    database_url: str = Field(
        "sqlite:///data/crm.db",
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
