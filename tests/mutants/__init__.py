"""Planted bugs by package, each with the tests that must catch it; see `make mutants`."""

from tests.mutants import (
    crm,
    database,
    integration,
    integration_deliveries,
    inventory,
    process,
    web,
)

MUTANTS = [
    *crm.MUTANTS,
    *inventory.MUTANTS,
    *integration.MUTANTS,
    *integration_deliveries.MUTANTS,
    *web.MUTANTS,
    *process.MUTANTS,
    *database.MUTANTS,
]
