"""Customers out of CSV files that come over HTTP, imported in the background."""
