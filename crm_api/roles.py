"""Who may do what in the CRM: a role is a bundle of scopes, and a route asks for scopes."""

from typing import Literal

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
