"""The services that a delivery goes to, and whether they can be reached."""
