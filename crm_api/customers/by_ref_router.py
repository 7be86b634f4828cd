"""The routes for systems that know customers by a key of their own."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from crm_api.access import CanReadCustomers, CanWriteCustomers
from crm_api.customers import service
from crm_api.customers.models import Customer
from crm_api.customers.router import registered
from crm_api.customers.schemas import CustomerOut, CustomerPut, ExternalRef
from service_kit.problems import InvalidRequest
from service_kit.web.auth import GuardedRoute
from service_kit.web.etags import (
    NOT_MODIFIED,
    IfMatch,
    IfNoneMatch,
    PreconditionFailed,
    set_etag,
    unless_known,
)
from service_kit.web.health import DatabaseDep
from service_kit.web.openapi import ETAG, LOCATION, answering, documented

router = APIRouter(prefix="/api/customers", route_class=GuardedRoute, tags=["customers"])

RefInPath = Annotated[
    ExternalRef, Path(description="The customer's key in the system it came from.")
]


# A key may hold a slash.
BY_REF = "/by-ref/{external_ref:path}"


@router.get(
    BY_REF,
    summary="Look up a customer by its external_ref",
    response_model=CustomerOut,
    responses=documented(service.CustomerNotFound) | NOT_MODIFIED,
)
async def get_customer_by_ref(
    external_ref: RefInPath,
    database: DatabaseDep,
    _: CanReadCustomers,
    known: IfNoneMatch,
    response: Response,
) -> Customer | Response:
    """Look up one customer by the key that it has in the system it came from."""
    found = await database.read(service.get_ref, external_ref)
    return unless_known(known, response, found.version, found)


@router.put(
    BY_REF,
    summary="Create or update a customer by its external_ref",
    response_model=CustomerOut,
    responses={
        201: {
            "model": CustomerOut,
            "description": "There was none; it is created.",
            **answering(201, LOCATION, ETAG)[201],
        },
        **documented(service.EmailTaken, PreconditionFailed),
        **answering(200, ETAG),
    },
)
async def put_customer(
    external_ref: RefInPath,
    wanted: CustomerPut,
    request: Request,
    database: DatabaseDep,
    who: CanWriteCustomers,
    versions: IfMatch,
    response: Response,
) -> object:
    """Create or replace the customer with this external_ref; fields that are not sent are emptied.

    Safe to repeat: sending the same again changes nothing and leaves no event. A new customer gets
    a welcome package as any other. Erasing a customer frees its external_ref.
    """
    if wanted.external_ref not in {None, external_ref}:
        raise InvalidRequest(
            "The body names another external_ref than the path.",
            errors=[{"loc": ["body", "external_ref"], "msg": "Not the one of the path"}],
        )
    customer, is_new = await database.write(
        service.put,
        wanted.model_copy(update={"external_ref": external_ref}),
        versions,
        who,
        must_exist="if-match" in request.headers,
    )
    if is_new:
        return registered(customer).response()
    set_etag(response, customer.version)
    return customer
