"""The CRM: customers, their tickets, and a feed of everything that happens to them."""
