"""What programs read about the CRM's events: JSON Schemas, webhooks in OpenAPI, and AsyncAPI."""
