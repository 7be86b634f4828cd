"""Who may do what in Inventory: a role is a bundle of scopes, and a route asks for scopes."""

READING = frozenset({"packages:read", "stock:read"})
WRITING = frozenset({"packages:write", "stock:write"})

ROLES = {
    "clerk": READING | WRITING,
    "admin": READING | WRITING | {"packages:erase", "stock:repair"},
    "viewer": READING,
    "integration": frozenset({"packages:read", "packages:write", "packages:erase"}),
}
