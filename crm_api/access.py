"""What a handler says, in its signature, that its caller must have."""

from typing import Annotated

from service_kit.web.auth import Principal, needs

CanCreateCustomers = Annotated[Principal, needs("customers:create")]
CanReadCustomers = Annotated[Principal, needs("customers:read")]
CanWriteCustomers = Annotated[Principal, needs("customers:write")]
CanDeleteCustomers = Annotated[Principal, needs("customers:delete")]
CanReadTickets = Annotated[Principal, needs("tickets:read")]
CanWriteTickets = Annotated[Principal, needs("tickets:write")]
CanDeleteTickets = Annotated[Principal, needs("tickets:delete")]
CanReadEvents = Annotated[Principal, needs("events:read")]
CanManageTokens = Annotated[Principal, needs("tokens:manage")]
CanIntrospectTokens = Annotated[Principal, needs("tokens:introspect")]
CanRunImports = Annotated[Principal, needs("imports:run")]
