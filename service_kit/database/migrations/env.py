"""Alembic runs this: every missing migration, in the transaction that the caller has begun."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # on SQLite too, since the transaction is begun by hand
)
context.run_migrations()
