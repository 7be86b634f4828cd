"""What the CRM's tables have in common."""

from sqlalchemy import MetaData

from service_kit.idempotency import idempotency_table

metadata = MetaData()
idempotency_keys = idempotency_table(metadata)
