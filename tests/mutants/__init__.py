"""Planted bugs, room by room, each with the tests that must catch it. `make mutants` runs them."""

from tests.mutants import crm, database, inventory

MUTANTS = [*crm.MUTANTS, *database.MUTANTS, *inventory.MUTANTS]
