"""Planted bugs in the CRM."""

from tests.mutants import (
    crm_customers,
    crm_feed,
    crm_imports,
    crm_published,
    crm_stats,
    crm_tickets,
    crm_tokens,
    crm_transfer,
)

MUTANTS = [
    *crm_stats.MUTANTS,
    *crm_customers.MUTANTS,
    *crm_feed.MUTANTS,
    *crm_imports.MUTANTS,
    *crm_published.MUTANTS,
    *crm_tickets.MUTANTS,
    *crm_tokens.MUTANTS,
    *crm_transfer.MUTANTS,
]
