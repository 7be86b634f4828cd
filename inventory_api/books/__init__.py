"""Do the books balance: levels against the ledger, reservations against live requests."""
