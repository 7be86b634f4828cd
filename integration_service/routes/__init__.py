"""What an event leads to. Pure: no database, no network."""
