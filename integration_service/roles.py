"""Who may see and steer the integration."""

ROLES = {
    "admin": frozenset({"sync:read", "sync:operate"}),
    "viewer": frozenset({"sync:read"}),
}
