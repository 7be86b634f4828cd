"""Routes as they are shown."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from integration_service.routes.definitions import Condition, Present, Route, WebhookRoute


def receiver_of(route: Route) -> str | None:
    """Return scheme, host and port of a webhook's address; the rest of it may be a secret."""
    if not isinstance(route, WebhookRoute):
        return None
    parts = urlsplit(route.url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def shown_conditions(conditions: Mapping[str, Condition]) -> dict[str, Any]:
    """Write conditions as a file has them."""
    return {path: _shown(condition) for path, condition in conditions.items()}


def _shown(condition: Condition) -> Any:
    match condition:
        case Present(present):
            return {"present": present}
        case tuple():
            return list(condition)
    return condition
