"""Do the books balance? Levels against the ledger, reservations against live requests."""
