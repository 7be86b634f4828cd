"""Targets that deliveries go to. Another one is a file in targets/, a line here, its settings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from integration_service.routes.definitions import Route, WebhookRoute
from integration_service.settings import Settings
from integration_service.targets.addresses import AddressRefused, checked_url
from integration_service.targets.circuit import Circuit
from integration_service.targets.inventory import Inventory
from integration_service.targets.signatures import key_of
from integration_service.webhook_secrets import secret_values
from service_kit.process.environment import Refused

if TYPE_CHECKING:
    from integration_service.targets.webhook import Webhook


class WithCircuit(Protocol):
    circuit: Circuit

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Targets:
    inventory: Inventory
    # By the names of their routes.
    webhooks: dict[str, "Webhook"]

    def __iter__(self) -> Iterator[WithCircuit]:
        yield self.inventory
        yield from self.webhooks.values()

    async def close(self) -> None:
        for target in self:
            await target.close()


def open_targets(
    settings: Settings, routes: Sequence[Route], monotonic: Callable[[], float]
) -> Targets:
    """Make what the routes send to. Raises Refused for a webhook that can't be one."""
    check_webhooks(settings, routes)
    reported = [route for route in routes if isinstance(route, WebhookRoute)]
    return Targets(
        inventory=Inventory(settings, monotonic),
        webhooks=_webhooks(settings, reported, monotonic) if reported else {},
    )


def _webhooks(
    settings: Settings, routes: Sequence[WebhookRoute], monotonic: Callable[[], float]
) -> dict[str, "Webhook"]:
    # Loaded only where there are any: what posts to them is eleven megabytes in memory.
    from integration_service.targets.webhook import Webhook

    return {
        route.name: Webhook(
            route.name,
            route.url,
            secret_values(route.secrets),
            allow_private=settings.webhook_allow_private,
            ca_file=settings.ca_file,
            monotonic=monotonic,
        )
        for route in routes
    }


def check_webhooks(settings: Settings, routes: Sequence[Route]) -> None:
    """Raise Refused for an address where none may go, or a secret that is malformed."""
    for route in routes:
        if not isinstance(route, WebhookRoute):
            continue
        try:
            checked_url(route.url, allow_private=settings.webhook_allow_private)
            for secret in secret_values(route.secrets):
                key_of(secret)
        except (AddressRefused, ValueError) as error:
            raise Refused(f"ROUTES_FILE can't be used: route {route.name}: {error}") from None
