"""What a handler says, in its signature, that its caller must have."""

from typing import Annotated

from service_kit.web.auth import Principal, needs

CanErasePackages = Annotated[Principal, needs("packages:erase")]
CanReadPackages = Annotated[Principal, needs("packages:read")]
CanReadStock = Annotated[Principal, needs("stock:read")]
CanRepair = Annotated[Principal, needs("stock:repair")]
CanWriteStock = Annotated[Principal, needs("stock:write")]
CanWritePackages = Annotated[Principal, needs("packages:write")]
