"""The CRM's feed, read without gaps."""
