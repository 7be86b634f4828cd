"""What the CRM's tables have in common."""

from sqlalchemy import MetaData

from service_kit.database import production
from service_kit.web.audit import Audit
from service_kit.web.idempotency import StoredAnswers

# What an index of some rows is of stands in its info: as the option of an engine it would load all
# that SQLAlchemy has for that engine. The migrations make the indexes.
metadata = MetaData()
production.add_table(metadata)
stored_answers = StoredAnswers(metadata)
audit = Audit(metadata, subject_length=36)
