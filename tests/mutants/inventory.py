"""Planted bugs in Inventory."""

from tests.mutants import inventory_books, inventory_packages, inventory_stock

MUTANTS = [*inventory_books.MUTANTS, *inventory_packages.MUTANTS, *inventory_stock.MUTANTS]
