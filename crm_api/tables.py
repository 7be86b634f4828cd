"""What the CRM's tables have in common."""

from sqlalchemy import MetaData

from service_kit.idempotency import idempotency_table

# What an index of some rows is of stands in its info: as the option of an engine it would load all
# that SQLAlchemy has for that engine. The migrations make the indexes.
metadata = MetaData()
idempotency_keys = idempotency_table(metadata)
