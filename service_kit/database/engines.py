"""Chooses the engine by its URL, and loads no other."""

from service_kit.database.interface import Database


def open_database(url: str, name: str = "crmsys", *, pool_size: int = 20) -> Database:
    """Choose the engine for a `sqlite:///…` or `postgresql://…` URL. Nothing is connected yet.

    `name` is the service's; PostgreSQL shows it as the application_name of its connections.
    """
    if url.startswith("sqlite:"):
        from service_kit.database.sqlite.database import SqliteDatabase

        return SqliteDatabase(url)
    from service_kit.database.postgres.database import PostgresDatabase

    return PostgresDatabase(url, name, pool_size=pool_size)
