"""Planted bugs by package, each with the tests that must catch it; see `make mutants`."""

from tests.mutants import (
    crm,
    database,
    integration,
    integration_deliveries,
    inventory,
    process,
    web,
    web_audit,
    web_identity,
    web_oidc,
)

MUTANTS = [
    *crm.MUTANTS,
    *inventory.MUTANTS,
    *integration.MUTANTS,
    *integration_deliveries.MUTANTS,
    *web.MUTANTS,
    *web_audit.MUTANTS,
    *web_identity.MUTANTS,
    *web_oidc.MUTANTS,
    *process.MUTANTS,
    *database.MUTANTS,
]
