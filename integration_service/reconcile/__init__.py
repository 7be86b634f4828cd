"""Compares the CRM's customers with Inventory's package requests, and repairs."""
