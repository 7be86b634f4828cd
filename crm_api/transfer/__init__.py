"""Customers out of CSV files and into them, for people at a command line."""
