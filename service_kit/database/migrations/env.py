"""What Alembic runs: every missing migration, inside the transaction that the caller has begun."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # on SQLite too, since the transaction is begun by hand
)
context.run_migrations()
