"""What the console is told when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OidcClient:
    """The console as a client of an OpenID provider."""

    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    redirect_uri: str
    scopes: str


@dataclass(frozen=True, slots=True)
class Config:
    """Where the services are, and what signing in takes.

    Without the address of a service its part of the menu is not there.
    """

    is_production: bool = False
    # None where the console is mounted in the CRM's own app.
    crm_url: str | None = None
    inventory_url: str | None = None
    integration_url: str | None = None
    # Under which address browsers reach the console, where a proxy hides it.
    public_url: str | None = None
    ca_file: Path | None = None
    oidc: OidcClient | None = None
    # By role, what the buttons of a development environment sign in with.
    demo_tokens: Mapping[str, str] = field(default_factory=dict)
