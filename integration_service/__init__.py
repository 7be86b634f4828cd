"""The integration: owes every new customer of the CRM one welcome package from Inventory."""
