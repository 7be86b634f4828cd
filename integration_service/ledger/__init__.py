"""What is owed and what was done about it; all that the poller knows survives in here."""
