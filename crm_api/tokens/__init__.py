"""Tokens: who may call, as an admin has decided while the CRM runs."""
