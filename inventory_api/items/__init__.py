"""Items, their levels, and the ledger of every movement."""
