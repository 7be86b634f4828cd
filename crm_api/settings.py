"""What the CRM reads from its environment; `.env.example` lists it all."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from crm_api.tickets.sla import Policy, parse_targets
from service_kit.process.settings import PersonalDataSettings, Roles
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


class Settings(PersonalDataSettings):
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
