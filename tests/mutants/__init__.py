"""Planted bugs, room by room, each with the tests that must catch it. `make mutants` runs them."""

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
