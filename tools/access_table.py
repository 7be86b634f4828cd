"""Writes into docs/security.md which role may call which route: `python -m tools.access_table`.

From the services themselves: the scope that each route asks for, and the roles that have it.
"""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from service_kit.web import docs as pages
from service_kit.web.auth import GuardedRoute
from service_kit.web.roles import ROLES

DOCUMENT = Path(__file__).parents[1] / "docs" / "security.md"
BEGIN = "<!-- Written by `python -m tools.access_table`; it is lost when you change it here. -->"
END = "<!-- End of what `python -m tools.access_table` writes. -->"
_BETWEEN = re.compile(f"(?<={re.escape(BEGIN)}\n).*(?={re.escape(END)})", re.DOTALL)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
SERVICES = {
    "crm_api": "CRM",
    "inventory_api": "Inventory",
    "integration_service": "Integration",
}


def main() -> int:
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
    return 0


def updated(document: str) -> str:
    """Return the document with the tables as they are now."""
    if not _BETWEEN.search(document):
        raise SystemExit(f"{DOCUMENT} needs these two lines:\n{BEGIN}\n{END}")
    tables = "\n".join(line for service in SERVICES for line in _table(service))
    return _BETWEEN.sub(lambda _: f"\n{tables}\n", document)


def _table(service: str) -> Iterator[str]:
    settings = import_module(f"{service}.settings").Settings(database_url="sqlite:///nowhere")
    routes = import_module(f"{service}.app").create_app(settings).routes
    yield f"### {SERVICES[service]}"
    yield ""
    yield "| route | scope | roles |"
    yield "|---|---|---|"
    guarded = [route for route in routes if isinstance(route, GuardedRoute)]
    shown = [route for route in guarded if route.path not in pages.PATHS]
    lines = sorted(
        (route.is_public, route.path_format, _METHODS.index(method), _scope(route), _roles(route))
        for route in shown
        for method in route.methods or ()
    )
    for _, path, method, scope, roles in lines:
        yield f"| `{_METHODS[method]} {path}` | {scope} | {roles} |"
    yield ""


def _scope(route: GuardedRoute) -> str:
    return ", ".join(f"`{scope}`" for scope in sorted(route.required)) or "none"


def _roles(route: GuardedRoute) -> str:
    if route.is_public:
        return "anyone, without a token"
    if not route.required:
        return "any valid token"
    return ", ".join(role for role, scopes in ROLES.items() if route.required <= scopes)


if __name__ == "__main__":
    sys.exit(main())
