"""Who may do what: a role is a bundle of scopes, the same on the whole platform.

A route asks for scopes, never for a role. A service has the roles that grant one of its scopes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Role = Literal["viewer", "agent", "clerk", "operator", "integration", "admin"]

_READS = {"customers:read", "tickets:read", "packages:read", "stock:read", "sync:read"}
_ADMINISTRATION = {
    "customers:delete",
    "tickets:delete",
    "tokens:manage",
    "audit:read",
    "imports:run",
    "stock:repair",
}
_AGENT = {
    "customers:create",
    "customers:read",
    "customers:write",
    "tickets:read",
    "tickets:write",
    "packages:read",
    "sync:read",
}
_CLERK = {"packages:read", "packages:write", "stock:read", "stock:write"}
_OPERATOR = _READS | {"sync:operate"}
_INTEGRATION = {
    "events:read",
    "customers:read",
    "tokens:introspect",
    "packages:read",
    "packages:write",
    "packages:erase",
}

ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "viewer": frozenset(_READS),
        "agent": frozenset(_AGENT),
        "clerk": frozenset(_CLERK),
        "operator": frozenset(_OPERATOR),
        "integration": frozenset(_INTEGRATION),
        "admin": frozenset(_READS | _AGENT | _CLERK | _OPERATOR | _INTEGRATION | _ADMINISTRATION),
    }
)
# A caller without any of them, such as an employee whose directory names no role of ours.
NO_ROLE = "none"
# Names of callers that are nobody's: no token and no person is shown under one of them.
RESERVED_NAMES = frozenset(ROLES) | {
    NO_ROLE,
    "anonymous",
    "command-line",
    "demo-data",
    "export-customers",
    "import-customers",
}


def roles_of(scopes: frozenset[str]) -> Mapping[str, frozenset[str]]:
    """Return the roles that a service with these scopes has, each with what it may do there."""
    return {role: granted & scopes for role, granted in ROLES.items() if granted & scopes}
