"""Who may do what in Inventory: a role is a bundle of scopes, and a route asks for scopes."""

from typing import Annotated

from service_kit.auth import Principal, needs

READING = frozenset({"packages:read", "stock:read"})
WRITING = frozenset({"packages:write", "stock:write"})

ROLES = {
    "clerk": READING | WRITING,
    "admin": READING | WRITING | {"stock:repair"},
    "viewer": READING,
    "integration": frozenset({"packages:read", "packages:write"}),
}

CanReadPackages = Annotated[Principal, needs("packages:read")]
CanReadStock = Annotated[Principal, needs("stock:read")]
CanRepair = Annotated[Principal, needs("stock:repair")]
CanWriteStock = Annotated[Principal, needs("stock:write")]
CanWritePackages = Annotated[Principal, needs("packages:write")]
