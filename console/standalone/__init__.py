"""The console as a process of its own, which keeps sessions in a database of its own."""
