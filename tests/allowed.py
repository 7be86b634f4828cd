"""Who may do what, by hand, as the contract has it: roles, their scopes, and the routes of each."""

from collections.abc import Iterator

from service_kit.web import docs as pages

READS = {"customers:read", "tickets:read", "packages:read", "stock:read", "sync:read"}
AGENT = {
    *("customers:create", "customers:read", "customers:write", "tickets:read", "tickets:write"),
    *("packages:read", "sync:read"),
}
CLERK = {"packages:read", "packages:write", "stock:read", "stock:write"}
INTEGRATION = {
    *("events:read", "customers:read", "tokens:introspect"),
    *("packages:read", "packages:write", "packages:erase"),
}
ADMIN_ALONE = {
    *("customers:delete", "tickets:delete", "tokens:manage", "audit:read", "imports:run"),
    "stock:repair",
}
CONTRACT: dict[str, set[str]] = {
    "viewer": READS,
    "agent": AGENT,
    "clerk": CLERK,
    "operator": READS | {"sync:operate"},
    "integration": INTEGRATION,
    "admin": READS | AGENT | CLERK | {"sync:operate"} | INTEGRATION | ADMIN_ALONE,
}
ANY_TOKEN = "any token"
NO_TOKEN = "no token"
CUSTOMER, TICKET = "/api/customers/{customer}", "/api/tickets/{ticket_id}"
BY_REF = "/api/customers/by-ref/{external_ref:text}"
PACKAGES, DELIVERIES = "/package-requests", "/deliveries"
OF_ROUTE = "/routes/{name}/deliveries"
FOR_ALL = {
    ANY_TOKEN: {"GET /me"},
    NO_TOKEN: {
        f"GET {path}" for path in ("/", "/health", "/health/ready", "/metrics", *pages.PATHS)
    },
}
# What one service alone answers to anybody.
PUBLIC_AT = {"crm_api": {"GET /asyncapi.json"}}
# For each service, by scope, the routes that ask for it.
TABLE: dict[str, dict[str, set[str]]] = {
    "crm_api": {
        "customers:create": {"POST /api/customers", "POST /api/customers/batch"},
        "customers:read": {
            *("GET /api/customers", f"GET {CUSTOMER}", f"GET {BY_REF}", "GET /api/events/head"),
        },
        "customers:write": {f"PATCH {CUSTOMER}", f"PUT {BY_REF}"},
        "customers:delete": {f"DELETE {CUSTOMER}"},
        "tickets:read": {
            *("GET /api/tickets", f"GET {TICKET}", f"GET {CUSTOMER}/tickets"),
            *(f"GET {TICKET}/notes", f"GET {TICKET}/history", "GET /api/stats"),
            "GET /api/stats/tickets",
        },
        "tickets:write": {
            *("POST /api/tickets", f"PATCH {TICKET}"),
            *(f"POST {TICKET}/notes", "POST /api/notes/{ticket_id}"),
        },
        "tickets:delete": {f"DELETE {TICKET}"},
        "events:read": {
            *("GET /api/events", "GET /api/events/{sequence}"),
            *("GET /api/events/schemas", "GET /api/events/schemas/{event_type}"),
            *("GET /api/feed-readers", "PUT /api/feed-readers/{name}"),
            "DELETE /api/feed-readers/{name}",
        },
        "tokens:manage": {
            *("GET /api/tokens", "POST /api/tokens", "DELETE /api/tokens/{token_id}"),
        },
        "tokens:introspect": {"POST /api/tokens/introspect"},
        "audit:read": {"GET /api/audit"},
        "imports:run": {
            *("GET /api/imports", "POST /api/imports", "GET /api/imports/{import_id}"),
            "GET /api/imports/{import_id}/report",
        },
    },
    "inventory_api": {
        "packages:read": {
            *(f"GET {PACKAGES}", f"GET {PACKAGES}/{{request_id}}", "GET /pick-list"),
        },
        "packages:write": {
            *(f"POST {PACKAGES}", f"POST {PACKAGES}/batch", f"POST {PACKAGES}/moves"),
            f"POST {PACKAGES}/addresses",
            f"POST {PACKAGES}/{{request_id}}/{{move}}",
        },
        "packages:erase": {f"POST {PACKAGES}/erasures"},
        "stock:read": {
            *("GET /items", "GET /items/{sku}", "GET /items/{sku}/movements"),
            *("GET /kits", "GET /verify", "GET /stats"),
        },
        "stock:write": {
            *("POST /items", "PATCH /items/{sku}", "POST /items/{sku}/movements"),
            "PUT /kits/{package_type}",
        },
        "stock:repair": {"POST /verify/repair"},
        "audit:read": {"GET /audit"},
    },
    "integration_service": {
        "sync:read": {
            *("GET /status", f"GET {DELIVERIES}", f"GET {DELIVERIES}/{{customer_uid}}"),
            *(f"GET {DELIVERIES}/{{customer_uid}}/wait", "GET /reconcile"),
            f"GET {DELIVERIES}/per-minute",
            *("GET /routes", "GET /routes/{name}"),
            *(f"GET {OF_ROUTE}", f"GET {OF_ROUTE}/{{subject}}"),
        },
        "sync:operate": {
            *(f"POST {DELIVERIES}/{{customer_uid}}/retry", f"POST {DELIVERIES}/retry"),
            f"POST {DELIVERIES}/{{customer_uid}}/dismiss",
            *("POST /poll", "POST /pause", "POST /resume", "POST /reconcile"),
            *("POST /routes/{name}/pause", "POST /routes/{name}/resume"),
            *(f"POST {OF_ROUTE}/{{subject}}/retry", f"POST {OF_ROUTE}/{{subject}}/dismiss"),
            f"POST {DELIVERIES}/replay",
        },
        "audit:read": {"GET /audit"},
    },
}


def public_at(service: str) -> set[str]:
    """Name the routes of a service that anybody may call."""
    return FOR_ALL[NO_TOKEN] | PUBLIC_AT.get(service, set())


def asking(service: str) -> Iterator[tuple[str, str]]:
    """List each guarded route of a service with what it takes."""
    for scope, routes in {**TABLE[service], ANY_TOKEN: FOR_ALL[ANY_TOKEN]}.items():
        for route in sorted(routes):
            yield route, scope


def roles_at(service: str) -> list[str]:
    return [role for role, scopes in CONTRACT.items() if scopes & TABLE[service].keys()]
