"""Who may do what in the CRM: a role is a bundle of scopes, and a route asks for scopes."""

from typing import Annotated, Literal

from service_kit.auth import Principal, needs

CUSTOMERS = {"customers:create", "customers:read", "customers:write"}
TICKETS = {"tickets:read", "tickets:write"}
ADMINISTRATION = {
    "customers:delete",
    "tickets:delete",
    "tokens:manage",
    "audit:read",
    "imports:run",
}

Role = Literal["agent", "admin", "viewer", "integration"]
ROLES = {
    "agent": frozenset(CUSTOMERS | TICKETS),
    "admin": frozenset(CUSTOMERS | TICKETS | ADMINISTRATION | {"events:read"}),
    "viewer": frozenset({"customers:read", "tickets:read"}),
    "integration": frozenset({"events:read", "customers:read"}),
}

CanCreateCustomers = Annotated[Principal, needs("customers:create")]
CanReadCustomers = Annotated[Principal, needs("customers:read")]
CanWriteCustomers = Annotated[Principal, needs("customers:write")]
CanDeleteCustomers = Annotated[Principal, needs("customers:delete")]
CanReadTickets = Annotated[Principal, needs("tickets:read")]
CanWriteTickets = Annotated[Principal, needs("tickets:write")]
CanDeleteTickets = Annotated[Principal, needs("tickets:delete")]
CanReadEvents = Annotated[Principal, needs("events:read")]
CanManageTokens = Annotated[Principal, needs("tokens:manage")]
CanReadAudit = Annotated[Principal, needs("audit:read")]
