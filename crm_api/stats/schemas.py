"""The counts as callers get them."""

from pydantic import BaseModel, Field

from crm_api.tickets.lifecycle import Priority, Status


class TicketStats(BaseModel):
    """Tickets, counted."""

    total: int = Field(examples=[3])
    by_status: dict[Status, int] = Field(examples=[{"open": 2, "closed": 1}])
    by_priority: dict[Priority, int] = Field(examples=[{"normal": 2, "urgent": 1}])
    overdue: int = Field(description="With a deadline that has passed and is not met.")


class WaitingTickets(BaseModel):
    """How many tickets need a person."""

    unassigned: int = Field(description="Unfinished, and without an assignee.", examples=[2])
    overdue: int = Field(description="With a deadline that has passed unmet.", examples=[1])
    assigned: int | None = Field(
        description="Unfinished, and the assignee's that was asked for; else null.", examples=[3]
    )


class Stats(BaseModel):
    """Counts for a dashboard."""

    customers: int = Field(description="Without those who were erased.", examples=[2])
    tickets: TicketStats
    feed_head: int = Field(description="The newest position of the change feed.", examples=[5])
