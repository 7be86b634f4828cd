"""Inventory: one package request for each customer, in batches."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from opentelemetry.trace import SpanKind
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from integration_service.settings import Settings
from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import Misconfigured, Transient, classify_item
from integration_service.targets.http import Link, ListPage, Uid, read_page
from integration_service.targets.target import DeliveryRequest, Destination, Made, Result
from service_kit.process import tracing

THRESHOLD = 5
PROBE_SECONDS = 5.0
LONGEST_PROBE_SECONDS = 60.0
_CREATED_OR_THERE = frozenset({200, 201})
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,36}")


class PackageRequest(BaseModel):
    """A package request as Inventory lists it."""

    request_id: str
    customer_id: Uid
    status: str


_REQUESTS = TypeAdapter(list[PackageRequest])


class _Erased(BaseModel):
    model_config = ConfigDict(strict=True)

    dry_run: bool
    customer_ids: list[str]


class _Readdressed(BaseModel):
    model_config = ConfigDict(strict=True)

    status: int


# 410 says that the customer was erased: there is nothing left to tell.
_TAKEN = frozenset({200, 410})
_READDRESSED = TypeAdapter(list[_Readdressed])


class Inventory:
    """Makes packages, cancels those of erased customers, and lists what it has."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float]) -> None:
        self.link = Link(
            settings.inventory_api_url, settings.inventory_token, ca_file=settings.ca_file
        )
        self.circuit = Circuit(
            target="inventory",
            label="Inventory",
            threshold=THRESHOLD,
            first_probe_seconds=PROBE_SECONDS,
            longest_probe_seconds=LONGEST_PROBE_SECONDS,
            monotonic=monotonic,
        )

    async def close(self) -> None:
        await self.link.close()

    async def deliver(self, requests: Sequence[DeliveryRequest], *, once: bool) -> list[Result]:
        """Ask for a package each. Raises CallFailed when the answer as a whole is none."""
        traced = [request.traceparent for request in requests]
        size = {"messaging.batch.message_count": len(requests)}
        with tracing.span("send package requests", SpanKind.PRODUCER, traced, **size):
            answer = await self.link.call(
                "POST",
                "/package-requests/batch",
                body=[_document(request) for request in requests],
                once=once,
            )
        if not isinstance(answer.body, list) or len(answer.body) != len(requests):
            raise Misconfigured("its answer is not one result an item", status=answer.status)
        return [
            _result(request, given) for request, given in zip(requests, answer.body, strict=True)
        ]

    async def erase(self, customer_ids: Sequence[str], *, dry_run: bool = False) -> set[str]:
        """Erase customers, by any of their ids. Raises CallFailed.

        Returns those for whom this changed something, or in a dry run would change something.
        """
        body = {"customer_ids": list(customer_ids), "dry_run": dry_run}
        answer = await self.link.call("POST", "/package-requests/erasures", body=body)
        try:
            erased = _Erased.model_validate(answer.body)
        except ValidationError:
            erased = None
        if erased is None or erased.dry_run is not dry_run:
            raise Transient("its answer does not say what was erased", status=answer.status)
        return set(erased.customer_ids)

    async def readdress(self, destinations: Sequence[Destination]) -> list[str]:
        """Give what is not packed yet its customers' new addresses. Raises CallFailed.

        Returns the customers whose address Inventory refuses.
        """
        body = [{**one._asdict(), "as_of": _written(one.as_of)} for one in destinations]
        for change in body:
            change["customer_id"] = change.pop("customer_uid")
        answer = await self.link.call("POST", "/package-requests/addresses", body=body)
        try:
            results = _READDRESSED.validate_python(answer.body)
        except ValidationError:
            results = []
        if len(results) != len(destinations):
            raise Transient("its answer is not one result an address", status=answer.status)
        return [
            one.customer_uid
            for one, result in zip(destinations, results, strict=True)
            if result.status not in _TAKEN
        ]

    async def requests(self, package_type: str, cursor: str | None) -> ListPage[PackageRequest]:
        """Read a page of all requests for a type of package. Raises CallFailed."""
        return await read_page(
            self.link, "/package-requests", _REQUESTS, cursor, package_type=package_type
        )

    async def count(self, package_type: str, customer_uid: str, *, cancelled: bool) -> int:
        """Count one customer's requests, with or without cancelled ones. Raises CallFailed."""
        page = await read_page(
            self.link,
            "/package-requests",
            _REQUESTS,
            None,
            package_type=package_type,
            customer_id=customer_uid,
        )
        found = {
            one.request_id
            for one in page.items
            if one.customer_id == customer_uid and (cancelled or one.status != "cancelled")
        }
        return len(found)


def _written(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def _document(request: DeliveryRequest) -> dict[str, Any]:
    document: dict[str, Any] = {
        "customer_id": request.subject,
        **request.send,
        "occurrence": request.occurrence,
    }
    if request.name is not None:
        document["customer_name"] = request.name
    if request.destination is not None and request.destination.ship_to is not None:
        document["ship_to"] = request.destination.ship_to
        document["ship_to_as_of"] = _written(request.destination.as_of)
    return document


def _result(request: DeliveryRequest, given: Any) -> Result:
    """Believe a success only when it names the customer and the package that were asked for."""
    status = given.get("status") if isinstance(given, dict) else None
    if type(status) is not int or not 100 <= status <= 599:  # noqa: PLR2004 (HTTP's range)
        return Misconfigured("the result has no status")
    if status not in _CREATED_OR_THERE:
        return classify_item(status, given.get("problem"), request.subject)
    made = given.get("package_request")
    if (
        isinstance(made, dict)
        and made.get("customer_id") == request.subject
        and made.get("package_type") == request.send["package_type"]
        and isinstance(request_id := made.get("request_id"), str)
        and _REQUEST_ID.fullmatch(request_id)
    ):
        return Made(status, request_id)
    return Misconfigured("the result is of another package", status=status)
