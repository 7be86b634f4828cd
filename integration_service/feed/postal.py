"""Where customers' packages go, as far as the CRM's answers say it."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from integration_service.routes.definitions import CHANGED
from integration_service.targets.http import Uid
from integration_service.targets.target import Destination
from service_kit.web.fields import Instant
from service_kit.web.postal import PostalAddress

_INSTANT: TypeAdapter[Any] = TypeAdapter(Instant)
_UID: TypeAdapter[str] = TypeAdapter(Uid)


def is_change(event: Any) -> bool:
    """Whether an event reports that a customer was changed."""
    return isinstance(event, dict) and event.get("type") == CHANGED


def destination_of(event: Any) -> Destination | None:
    """Read where a customer's packages go from now on; None where the event does not say it.

    An address that Inventory would not take counts as none: a package without one can be packed.
    """
    data = event.get("data")
    if not isinstance(data, dict) or "address" not in data:
        return None
    try:
        uid = _UID.validate_python(event.get("subject"))
        as_of = _INSTANT.validate_python(event.get("time"))
    except ValidationError:
        return None
    return Destination(uid, read_address(data["address"]), as_of)


def read_address(given: Any) -> dict[str, Any] | None:
    """Read an address that Inventory takes as well; None where it is none."""
    try:
        return PostalAddress.model_validate(given).model_dump()
    except ValidationError:
        return None
