"""The one poller of a database: holds the lease and runs the loops."""
