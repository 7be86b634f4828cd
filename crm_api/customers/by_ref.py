"""Customers by the key that they have in the system they come from."""

from typing import Any

from sqlalchemy import Connection

from crm_api.customers import service, store
from crm_api.customers.models import Customer
from crm_api.customers.schemas import CustomerPut
from service_kit.database import RunAgain
from service_kit.web.auth import Principal
from service_kit.web.etags import PreconditionFailed, check_version
from service_kit.web.problems import Problem


def put(
    db: Connection,
    wanted: CustomerPut,
    versions: frozenset[int] | None,
    who: Principal,
    *,
    must_exist: bool = False,
) -> tuple[Customer, bool]:
    """Make the customer with this external_ref be as wanted. Returns it, and whether it is new.

    What is not sent is emptied; what is as wanted already is not touched and leaves no event. An
    erased customer has given its external_ref back, so that the next one to bring it is new.

    Raises PreconditionFailed or EmailTaken.
    """
    assert wanted.external_ref is not None
    before = store.find_ref_for_change(db, wanted.external_ref)
    if before is None:
        if must_exist:
            raise PreconditionFailed("There is no customer with this external_ref.")
        [added] = service.register_all(db, [wanted], who)
        if not isinstance(added, Problem):
            return added, True
        before = _added_meanwhile(db, wanted.external_ref, added)
    check_version(versions, before.version)
    values: dict[str, Any] = wanted.model_dump()
    return service.change_row(db, before, values, who), False


def _added_meanwhile(db: Connection, external_ref: str, refusal: Problem) -> Customer:
    """Find the customer that was not there a moment ago; without one the refusal stands."""
    if (found := store.find_ref_for_change(db, external_ref)) is not None:
        return found
    if isinstance(refusal, service.ExternalRefTaken):
        raise RunAgain  # and gone again
    raise refusal
