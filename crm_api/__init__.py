"""The CRM: customers, and a feed of everything that happens to them."""
