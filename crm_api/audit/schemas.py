"""What the audit answers."""

from datetime import datetime

from pydantic import BaseModel, Field

from crm_api.event_types import Action


class AuditEntry(BaseModel):
    """One change, and who made it."""

    id: int
    at: datetime
    actor: str = Field(description="The caller's name.", examples=["agent"])
    action: Action = Field(examples=["customer.created"])
    subject: str = Field(
        description="The uid of the customer or ticket, or the id of the token.",
        examples=["019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"],
    )
    request_id: str = Field(description="Of the request; the log's lines of it have the same.")
