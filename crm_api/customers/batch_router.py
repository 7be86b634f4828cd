"""The route that registers many customers at once."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic_core import to_json

from crm_api.access import CanCreateCustomers
from crm_api.customers import service
from crm_api.customers.models import Customer
from crm_api.customers.schemas import BatchResult, CustomerNew, as_shown
from service_kit.problems import Problem
from service_kit.web.auth import GuardedRoute
from service_kit.web.body import LARGEST_BATCH, merge, read_items
from service_kit.web.idempotency import Answer, Idempotent

router = APIRouter(prefix="/api/customers", route_class=GuardedRoute, tags=["customers"])

Items = Annotated[
    list[Any],
    Body(
        min_length=1,
        max_length=LARGEST_BATCH,
        description="Customers as POST /api/customers takes them.",
        json_schema_extra={"items": {"$ref": "#/components/schemas/CustomerNew"}},
        examples=[
            [
                {"name": "Ada Lovelace", "email": "ada@example.com"},
                {"name": "Grace Hopper", "email": "grace@example.com"},
            ]
        ],
    ),
]


@router.post(
    "/batch",
    summary="Register up to 500 customers",
    response_model=list[BatchResult],
)
async def register_customers(items: Items, who: CanCreateCustomers, once: Idempotent) -> Response:
    """Add each customer on its own, and answer the result of each, in order."""
    read = read_items(CustomerNew, items)
    new = [item for item in read if isinstance(item, CustomerNew)]
    return await once.write(
        service.register_all, lambda done: _answer_all(merge(read, done)), new, who
    )


def _answer_all(done: Sequence[Customer | Problem]) -> Answer:
    body = to_json([_result(one) for one in done]).decode()
    uids = [None if isinstance(one, Problem) else one.uid for one in done]
    return Answer(200, body, item_subjects=uids)


def _result(found: Customer | Problem) -> dict[str, Any]:
    """Return what `BatchResult` describes."""
    if isinstance(found, Problem):
        return {"status": found.status.value, "problem": found.document()}
    return {"status": 201, "customer": as_shown(found)}
