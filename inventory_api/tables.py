"""What Inventory's tables have in common."""

from sqlalchemy import MetaData

from service_kit.web.idempotency import StoredAnswers

metadata = MetaData()
stored_answers = StoredAnswers(metadata)
