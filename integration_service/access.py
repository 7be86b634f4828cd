"""What a handler says, in its signature, that its caller must have."""

from typing import Annotated

from service_kit.web.auth import Principal, needs

CanRead = Annotated[Principal, needs("sync:read")]
CanOperate = Annotated[Principal, needs("sync:operate")]
