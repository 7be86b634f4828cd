"""Who may see and steer the integration."""

from typing import Annotated

from service_kit.auth import Principal, needs

ROLES = {
    "admin": frozenset({"sync:read", "sync:operate"}),
    "viewer": frozenset({"sync:read"}),
}

CanRead = Annotated[Principal, needs("sync:read")]
CanOperate = Annotated[Principal, needs("sync:operate")]
