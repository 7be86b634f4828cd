"""The services that a delivery goes to, and whether they can be reached.

The HTTP client, the classes of failures and the circuit are those of the CRM's client too.
"""
