"""Planted bugs, room by room, each with the tests that must catch it. `make mutants` runs them."""

from tests.mutants import crm, database, integration, integration_deliveries, process, web

MUTANTS = [
    *crm.MUTANTS,
    *database.MUTANTS,
    *integration.MUTANTS,
    *integration_deliveries.MUTANTS,
    *process.MUTANTS,
    *web.MUTANTS,
]
